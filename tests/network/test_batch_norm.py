"""Batch normalisation: torch's own layer forward, backward, in its running statistics and in evaluation."""

import copy

import pytest
import torch
from torch import Tensor, nn

from poise.core.errors import ArgumentError
from poise.core.select import roles_of
from poise.network import BatchNorm
from poise.network.batch_norm import BatchNormLayer
from poise.network.standardize import standardize, standardize_plainly
from poise.testing import check_regularizer

pytestmark = pytest.mark.usefixtures("seeded")

HOSTS = {
    "rows": (nn.Linear(3, 5), nn.BatchNorm1d(5), (16, 5)),
    "signals": (nn.Conv1d(3, 5, 1), nn.BatchNorm1d(5), (8, 5, 7)),
    "images": (nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5), (8, 5, 4, 3)),
    "volumes": (nn.Conv3d(3, 5, 1), nn.BatchNorm3d(5), (4, 5, 2, 3, 2)),
}


def randn(shape: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def pair(kind: str, dtype: torch.dtype) -> tuple[BatchNormLayer, nn.Module, tuple[int, ...]]:
    host, theirs, shape = HOSTS[kind]
    ours, theirs = BatchNorm().layer(copy.deepcopy(host).to(dtype)), copy.deepcopy(theirs).to(dtype)
    assert isinstance(ours, BatchNormLayer)
    ours = ours.to(dtype)
    for layer in (ours, theirs):
        layer.weight.data = randn((5,), 1, dtype)  # type: ignore[union-attr]
        layer.bias.data = randn((5,), 2, dtype)  # type: ignore[union-attr]
    return ours, theirs, shape


def test_battery() -> None:
    check_regularizer(BatchNorm(0.7))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
@pytest.mark.parametrize("kind", HOSTS)
def test_training_and_evaluation_are_torchs(kind: str, dtype: torch.dtype, tolerance: float) -> None:
    ours, theirs, shape = pair(kind, dtype)
    for step in range(3):
        x, g = 1 + 2 * randn(shape, 3 + step, dtype), randn(shape, 9, dtype)
        results = []
        for layer in (ours, theirs):
            leaf = x.clone().requires_grad_()
            y = layer(leaf)
            results.append([y, *torch.autograd.grad((y * g).sum(), [leaf, layer.weight, layer.bias])])
        for mine, other in zip(*results, strict=True):
            assert float((mine - other).detach().abs().max() / other.detach().abs().max()) <= tolerance
    torch.testing.assert_close(ours.running_mean, theirs.running_mean, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(ours.running_var, theirs.running_var, rtol=tolerance, atol=tolerance)
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(x), theirs(x), rtol=4 * tolerance, atol=4 * tolerance)


def test_bfloat16_rows_are_summed_in_float32() -> None:
    host = nn.Linear(3, 5, dtype=torch.bfloat16)
    x = (100 + randn((256, 5))).bfloat16()
    y = BatchNorm().layer(host)(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, nn.BatchNorm1d(5)(x.float()).bfloat16(), rtol=2e-2, atol=2e-2)


def test_features_of_a_linear_layer_are_last_also_in_sequences() -> None:
    ours, _, _ = pair("rows", torch.float64)
    x = randn((4, 6, 5), 0, torch.float64)
    torch.testing.assert_close(ours(x).reshape(24, 5), copy.deepcopy(ours)(x.reshape(24, 5)))


def test_an_unbatched_image_is_normalised_over_its_positions() -> None:
    ours, _, _ = pair("images", torch.float64)
    x = randn((5, 4, 3), 0, torch.float64)
    torch.testing.assert_close(ours(x), copy.deepcopy(ours)(x[None])[0])


def test_share_blends_input_and_normalised_values() -> None:
    ours, theirs, shape = pair("rows", torch.float64)
    x = randn(shape, 0, torch.float64)
    ours.share.fill_(0.25)
    torch.testing.assert_close(ours(x), 0.75 * x + 0.25 * theirs(x), rtol=1e-12, atol=1e-12)


def test_share_zero_is_the_identity_to_the_bit_in_both_modes() -> None:
    ours, _, shape = pair("rows", torch.float32)
    ours.share.fill_(0.0)
    x = 100 + randn(shape)
    assert torch.equal(ours(x), x)
    assert torch.equal(ours.eval()(x), x)


def test_running_statistics_of_a_population_are_those_of_its_members_alone(population) -> None:  # type: ignore[no-untyped-def]
    model = BatchNorm().network(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 1))).double()
    x = randn((4, 10, 3), 0, torch.float64)
    shares = torch.tensor([0.0, 0.3, 1.0, 1.0])
    before = {k: v.clone() for k, v in model.state_dict().items()}
    out, grads, buffers = population(model, x, share=shares)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    for member in range(4):
        alone = copy.deepcopy(model)
        layer = alone[0].poise_batch_norm
        layer.share.fill_(shares[member])
        y = alone(x[member])
        y.square().sum().backward()
        torch.testing.assert_close(out[member], y.detach(), rtol=1e-12, atol=1e-12)
        for name, parameter in alone.named_parameters():
            torch.testing.assert_close(grads[name][member], parameter.grad, rtol=1e-10, atol=1e-12)
        for name in ("running_mean", "running_var"):
            moved = buffers[f"0.poise_batch_norm.{name}"][member]
            same = torch.equal(moved, before[f"0.poise_batch_norm.{name}"])
            assert same is (member == 0), "the trap: an update lost in silence; a share of 0 has none"
            torch.testing.assert_close(moved, getattr(layer, name), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rest", [0.0, 0.4])
def test_first_and_second_derivatives_are_right(rest: float) -> None:
    x = randn((5, 3), 0, torch.float64).requires_grad_()
    gain, offset = randn((3,), 1, torch.float64).requires_grad_(), randn((3,), 2, torch.float64).requires_grad_()

    def whole(x: Tensor, gain: Tensor, offset: Tensor) -> tuple[Tensor, ...]:
        return standardize(x, gain, offset, torch.tensor(rest, dtype=torch.float64), 1e-5, (0,))

    assert torch.autograd.gradcheck(whole, (x, gain, offset))
    assert torch.autograd.gradgradcheck(whole, (x, gain, offset))


def test_by_hand_is_what_automatic_differentiation_gives() -> None:
    arguments = [randn(s, i, torch.float64).requires_grad_() for i, s in enumerate([(6, 4), (4,), (4,)])]
    rest, results = torch.tensor(0.3, dtype=torch.float64), []
    for way in (standardize, standardize_plainly):
        y, _, var = way(*arguments, rest, 1e-5, (0,))
        first = torch.autograd.grad((y.sin().sum() + var.sum()), arguments, create_graph=True)
        results.append([*first, *torch.autograd.grad(sum(f.square().sum() for f in first), arguments)])
    for hand, automatic in zip(*results, strict=True):
        torch.testing.assert_close(hand, automatic, rtol=1e-10, atol=1e-10)


def test_one_row_in_training_is_refused_and_fine_in_evaluation() -> None:
    ours, _, _ = pair("rows", torch.float32)
    before = copy.deepcopy(ours.state_dict())
    with pytest.raises(ArgumentError, match="drop_last=True to the data loader, or use LayerNorm"):
        ours(torch.ones(1, 5))
    assert all(torch.equal(before[k], v) for k, v in ours.state_dict().items())
    assert ours.eval()(torch.ones(1, 5)).shape == (1, 5)


def test_an_empty_batch_passes_and_leaves_the_statistics() -> None:
    ours, _, _ = pair("rows", torch.float32)
    assert ours(torch.ones(0, 5)).shape == (0, 5)
    assert torch.equal(ours.running_mean, torch.zeros(5))


def test_only_norm_parameters_and_running_statistics_are_added() -> None:
    bare = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    model = BatchNorm().network(copy.deepcopy(bare))
    added = set(model.state_dict()) - set(bare.state_dict())
    assert added == {f"0.poise_batch_norm.{n}" for n in ("weight", "bias", "running_mean", "running_var")}
    roles = roles_of(model)
    assert [roles[f"0.poise_batch_norm.{n}"].kind for n in ("weight", "bias")] == ["norm", "norm"]
    assert roles["0.weight"].inputs


def test_it_stands_between_the_layer_and_its_activation() -> None:
    model = BatchNorm().network(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))
    hidden = model[0](randn((50, 2)))
    torch.testing.assert_close(hidden.mean(0), torch.zeros(3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("field", [{"momentum": 0.0}, {"momentum": 1.5}, {"eps": 0.0}, {"eps": "small"}])
def test_structure_outside_its_range_is_refused(field: dict[str, object]) -> None:
    with pytest.raises(ArgumentError, match=rf"`BatchNorm\.{next(iter(field))}` must be"):
        BatchNorm(**field)  # type: ignore[arg-type]
