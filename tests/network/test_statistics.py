"""Re-estimated batch statistics are those of all rows, however they are cut into batches."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from poise.core.errors import ArgumentError
from poise.network import BatchNorm, Dropout, reestimate

pytestmark = pytest.mark.usefixtures("seeded")


def rows(count: int = 70) -> torch.Tensor:
    return torch.randn(count, 3, dtype=torch.float64) + 2 * torch.arange(count)[:, None] / count


def network() -> nn.Sequential:
    bare = nn.Sequential(nn.BatchNorm1d(3, momentum=0.3), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    model = Dropout(0.5).network(BatchNorm(momentum=0.2).network(bare))
    assert isinstance(model, nn.Sequential)
    return model


def test_statistics_are_those_of_all_rows_also_with_a_short_last_batch() -> None:
    model, x = network(), rows()
    assert reestimate(model, x.split(32)) == 2
    torch.testing.assert_close(model[0].running_mean, x.mean(0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model[0].running_var, x.var(0), rtol=1e-12, atol=1e-12)


def test_a_model_whose_only_batch_normalisation_is_a_parts_has_it_counted_too() -> None:
    bare = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    model, x = BatchNorm().network(bare), rows()
    assert reestimate(model, x.split(32)) == 1
    hidden = torch.nn.functional.linear(x, bare[0].weight, bare[0].bias)
    torch.testing.assert_close(bare[0].poise_batch_norm.running_mean, hidden.mean(0), rtol=1e-12, atol=1e-12)


def test_dropout_is_off_on_the_way() -> None:
    bare = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.BatchNorm1d(4)).double().train()
    model, x = Dropout(0.5).network(bare), rows(64)
    reestimate(model, [x])
    hidden = torch.nn.functional.linear(x, bare[0].weight, bare[0].bias).relu()
    torch.testing.assert_close(bare[2].running_mean, hidden.mean(0), rtol=1e-12, atol=1e-12)


def test_inner_layers_see_batches_normalised_as_in_training() -> None:
    model, x = network(), rows(64)
    reestimate(model, [x])
    first = (x - x.mean(0)) / torch.sqrt(x.var(0, correction=0) + 1e-5)
    hidden = torch.nn.functional.linear(first, model[1].weight, model[1].bias)
    torch.testing.assert_close(model[1].poise_batch_norm.running_mean, hidden.mean(0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model[1].poise_batch_norm.running_var, hidden.var(0), rtol=1e-12, atol=1e-12)


def test_torchs_update_bn_counts_batches_alike_and_is_biased_by_a_short_one() -> None:
    x = torch.cat([torch.ones(9, 1), torch.full((2, 1), 10.0)])
    x = x + 0.1 * torch.randn(11, 1)
    ours, theirs = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    reestimate(ours, x.split(9))
    update_bn(x.split(9), theirs)
    true = float(x.mean())
    assert abs(float(ours.running_mean) - true) < 1e-6
    assert abs(float(theirs.running_mean) - true) > 2


def test_images_count_every_position() -> None:
    norm, x = nn.BatchNorm2d(3).double(), torch.randn(10, 3, 4, 5, dtype=torch.float64)
    reestimate(norm, [(part, "target") for part in x.split(4)])
    torch.testing.assert_close(norm.running_mean, x.mean((0, 2, 3)), rtol=1e-12, atol=1e-12)
    flat = x.movedim(1, 0).flatten(1)
    torch.testing.assert_close(norm.running_var, flat.var(1), rtol=1e-12, atol=1e-12)


def test_modes_momentum_and_counters_are_left_as_before() -> None:
    model = network()
    model[1].eval()
    modes = {name: m.training for name, m in model.named_modules()}
    reestimate(model, rows().split(20))
    assert modes == {name: m.training for name, m in model.named_modules()}
    assert (model[0].momentum, model[1].poise_batch_norm.momentum) == (0.3, 0.2)
    assert int(model[0].num_batches_tracked) == 0
    assert not model[0]._forward_pre_hooks


def test_no_batches_is_refused_and_changes_nothing() -> None:
    model = network()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ArgumentError, match="must give every batch normalisation 2 rows or more; got 0"):
        reestimate(model, iter(()))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_an_error_on_the_way_restores_the_statistics() -> None:
    model = network()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(RuntimeError):
        reestimate(model, [rows(), torch.ones(4, 7, dtype=torch.float64)])
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_model_without_batch_normalisation_is_left_alone() -> None:
    assert reestimate(nn.Linear(2, 2), []) == 0
