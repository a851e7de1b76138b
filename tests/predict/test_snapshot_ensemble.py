"""Snapshots against copies that the test keeps itself."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.func import functional_call
from torch.optim.swa_utils import update_bn

from poise import ArgumentError, Ema, PoiseWarning, Recipe, SnapshotEnsemble
from poise.testing import check_regularizer


def test_it_passes_the_battery() -> None:
    assert check_regularizer(SnapshotEnsemble(cycles=3, steps=1, last=2)).count >= 14


@pytest.mark.parametrize(
    ("part", "steps", "places"),
    [
        (SnapshotEnsemble(cycles=3, steps=4), 12, [3, 7, 11]),
        (SnapshotEnsemble(cycles=3, steps=4), 17, [3, 7, 11]),  # what comes after the last cycle is not kept
        (SnapshotEnsemble(cycles=3, steps=4), 9, [3, 7]),  # stopped in the third
        (SnapshotEnsemble(cycles=5, steps=2, last=2), 10, [7, 9]),
        (SnapshotEnsemble(cycles=5, steps=2, last=2), 7, [3, 5]),
        (SnapshotEnsemble(cycles=4, steps=3, last=3), 12, [5, 8, 11]),
    ],
)
def test_the_mean_is_over_the_last_cycles(
    part: SnapshotEnsemble, steps: int, places: list[int], trained: Callable, rows: tuple
) -> None:
    run, path = trained(Recipe(part), steps)
    outputs = [functional_call(run.model, path[place], (rows[0],)) for place in places]
    expected = torch.stack([torch.softmax(one, 1) for one in outputs]).mean(0)
    predictor = run.predictor()
    torch.testing.assert_close(predictor(rows[0]).exp(), expected.detach(), rtol=1e-12, atol=1e-14)
    assert len(predictor.predictors) == len(places)
    assert not predictor.training


def test_numbers_are_averaged_for_a_regression(trained: Callable, rows: tuple) -> None:
    run, path = trained(Recipe(SnapshotEnsemble(cycles=2, steps=2, space="output")), 4)
    expected = sum(functional_call(run.model, path[place], (rows[0],)) for place in (1, 3)) / 2
    torch.testing.assert_close(run.predictor()(rows[0]), expected.detach(), rtol=1e-12, atol=1e-14)


def test_training_and_evaluation_stay_as_they_are(trained: Callable) -> None:
    with_copies, plain = trained(Recipe(SnapshotEnsemble(2, 2)), 5), trained(Recipe(), 5)
    assert all(torch.equal(a, plain[1][-1][name]) for name, a in with_copies[1][-1].items())
    with with_copies[0].evaluation() as model:
        assert torch.equal(model[0].weight, plain[0].model[0].weight)


def test_the_raw_weights_are_copied_beside_a_part_that_averages(trained: Callable) -> None:
    run, path = trained(Recipe(Ema(0.9, name="a"), SnapshotEnsemble(1, 3, name="b")), 3)
    (member,) = run.predictor().predictors
    assert torch.equal(member[0].weight, path[2]["0.weight"])
    assert not torch.equal(run.averaged["0.weight"], path[2]["0.weight"])


def test_before_the_first_cycle_ends_the_predictor_is_the_network(trained: Callable) -> None:
    run, path = trained(Recipe(SnapshotEnsemble(2, 10)), 4)
    with pytest.warns(PoiseWarning, match="snapshot_ensemble takes its first copy after 10 steps, but .* after 4"):
        predictor = run.predictor()
    assert torch.equal(predictor[0].weight, path[-1]["0.weight"])


@pytest.mark.parametrize("size", [35, 32], ids=["equal batches", "a short last batch"])
def test_each_copy_gets_batch_statistics_of_its_own(size: int, trained: Callable, rows: tuple) -> None:
    run, path = trained(Recipe(SnapshotEnsemble(3, 2)), 6, norm=True)
    predictor = run.predictor(iter(rows[0].split(size)))  # a generator, which one network would use up
    for member, place in zip(predictor.predictors, (1, 3, 5), strict=True):
        hidden = torch.nn.functional.linear(rows[0], path[place]["0.weight"], path[place]["0.bias"])
        torch.testing.assert_close(member[1].running_mean, hidden.mean(0), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(member[1].running_var, hidden.var(0), rtol=1e-12, atol=1e-12)
        twin = copy.deepcopy(member)
        update_bn(rows[0].split(size), twin)
        agrees = bool((twin[1].running_mean - member[1].running_mean).abs().max() < 1e-12)
        assert agrees == (size == 35)  # torch's counts batches alike, so a short one weighs too much
    assert not torch.equal(predictor.predictors[0][1].running_mean, predictor.predictors[2][1].running_mean)


def test_copies_without_statistics_of_their_own_are_warned_of(trained: Callable) -> None:
    run, _ = trained(Recipe(SnapshotEnsemble(1, 2)), 2, norm=True)
    with pytest.warns(PoiseWarning, match=r"snapshot_ensemble .* run.predictor\(batches\)"):
        run.predictor()


def test_the_predictor_is_saved_and_loaded(trained: Callable, rows: tuple) -> None:
    predictor = trained(Recipe(SnapshotEnsemble(2, 2)), 4)[0].predictor()
    again = pickle.loads(pickle.dumps(predictor))
    assert torch.equal(again(rows[0]), predictor(rows[0]))
    again.load_state_dict({name: 0 * tensor for name, tensor in predictor.state_dict().items()})
    assert torch.equal(again(rows[0]).exp(), torch.full((70, 2), 0.5, dtype=torch.float64))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cycles": 0, "steps": 1}, "`SnapshotEnsemble.cycles` must be an int >= 1; got 0"),
        ({"cycles": 2, "steps": 1.5}, "`SnapshotEnsemble.steps` must be an int >= 1; got 1.5"),
        ({"cycles": 2, "steps": 1, "last": -1}, "`SnapshotEnsemble.last` must be an int >= 0; got -1"),
        ({"cycles": 2, "steps": 1, "last": 3}, r"`SnapshotEnsemble.last` must be at most cycles \(2\); got 3"),
        ({"cycles": 2, "steps": 1, "space": "logit"}, "`SnapshotEnsemble.space` must be"),
    ],
)
def test_settings_that_keep_no_copies_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        SnapshotEnsemble(**settings)
