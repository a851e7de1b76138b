"""Ghost batch normalisation: torch's batch normalisation of each ghost batch by itself."""

import copy

import pytest
import torch
from torch import nn

from poise.core.errors import ArgumentError
from poise.core.select import roles_of
from poise.network import BatchNorm, GhostBatchNorm, reestimate
from poise.network.ghost_batch_norm import GhostBatchNormLayer
from poise.testing import check_regularizer

pytestmark = pytest.mark.usefixtures("seeded")

HOSTS = {
    "rows": (nn.Linear(3, 5), nn.BatchNorm1d(5), (5,)),
    "signals": (nn.Conv1d(3, 5, 1), nn.BatchNorm1d(5), (5, 7)),
    "images": (nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5), (5, 4, 3)),
}


def pair(
    kind: str, size: int, dtype: torch.dtype = torch.float64
) -> tuple[GhostBatchNormLayer, nn.Module, tuple[int, ...]]:
    host, theirs, shape = HOSTS[kind]
    ours = GhostBatchNorm(size=size).layer(copy.deepcopy(host).to(dtype)).to(dtype)
    theirs = copy.deepcopy(theirs).to(dtype)
    assert isinstance(ours, GhostBatchNormLayer)
    weight, bias = torch.randn(5, dtype=dtype), torch.randn(5, dtype=dtype)
    for layer in (ours, theirs):
        layer.weight.data, layer.bias.data = weight.clone(), bias.clone()  # type: ignore[union-attr]
    return ours, theirs, shape


def test_battery() -> None:
    check_regularizer(GhostBatchNorm(0.7, size=3))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 5e-6)])
@pytest.mark.parametrize(
    ("rows", "size", "ghosts"), [(12, 4, [4, 4, 4]), (11, 4, [6, 5]), (3, 4, [3]), (14, 4, [5, 5, 4])]
)
@pytest.mark.parametrize("kind", HOSTS)
def test_training_and_evaluation_are_torchs_by_ghost_batch(
    kind: str, rows: int, size: int, ghosts: list[int], dtype: torch.dtype, tolerance: float
) -> None:
    ours, theirs, shape = pair(kind, size, dtype)
    for _ in range(3):
        x, g = 1 + 2 * torch.randn(rows, *shape, dtype=dtype), torch.randn(rows, *shape, dtype=dtype)
        one, other = x.clone().requires_grad_(), x.clone().requires_grad_()
        y = ours(one)
        mine = [y, *torch.autograd.grad((y * g).sum(), [one, ours.weight, ours.bias])]
        copies = [copy.deepcopy(theirs) for _ in ghosts]
        parts = [layer(part) for layer, part in zip(copies, other.split(ghosts), strict=True)]
        expected = torch.cat(parts)
        leaves = [other, *[t for layer in copies for t in (layer.weight, layer.bias)]]
        found = torch.autograd.grad((expected * g).sum(), leaves)
        theirs_all = [expected, found[0], sum(found[1::2]), sum(found[2::2])]
        for ours_one, theirs_one in zip(mine, theirs_all, strict=True):
            torch.testing.assert_close(ours_one, theirs_one, rtol=tolerance, atol=10 * tolerance)
        with torch.no_grad():
            for name in ("running_mean", "running_var"):
                moved = sum(getattr(c, name) * n for c, n in zip(copies, ghosts, strict=True)) / rows
                getattr(theirs, name).copy_(moved)
                torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=4 * tolerance, atol=4 * tolerance)


def test_one_ghost_batch_is_batch_normalisation_to_the_bit() -> None:
    ours, _, shape = pair("images", 100)
    whole = BatchNorm().layer(copy.deepcopy(HOSTS["images"][0]).double()).double()
    whole.weight.data, whole.bias.data = ours.weight.data, ours.bias.data
    x = torch.randn(6, *shape, dtype=torch.float64)
    assert torch.equal(ours(x), whole(x))
    assert torch.equal(ours.running_var, whole.running_var)


def test_a_row_depends_on_its_ghost_batch_alone() -> None:
    ours, _, shape = pair("rows", 4)
    x = torch.randn(8, *shape, dtype=torch.float64)
    other = x.clone()
    other[4:] = 100
    assert torch.equal(ours(x)[:4], ours(other)[:4])
    assert not torch.equal(ours(x)[4:], ours(other)[4:])


def test_an_unbatched_image_is_one_ghost_batch_of_its_positions() -> None:
    ours, theirs, shape = pair("images", 2)
    x = torch.randn(*shape, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x[None])[0], rtol=1e-12, atol=1e-12)


def test_share_zero_is_the_identity_to_the_bit_in_both_modes() -> None:
    ours, _, shape = pair("rows", 3, torch.float32)
    ours.share.fill_(0.0)
    x = 100 + torch.randn(11, *shape)
    assert torch.equal(ours(x), x)
    assert torch.equal(ours.eval()(x), x)


def test_statistics_can_be_estimated_anew() -> None:
    model = GhostBatchNorm(size=4).network(nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 1)))
    x = torch.randn(30, 3)
    assert reestimate(model, [x]) == 1
    hidden = nn.functional.linear(x, model[0].weight, model[0].bias)
    torch.testing.assert_close(model[0].poise_ghost_batch_norm.running_mean, hidden.mean(0).detach())
    torch.testing.assert_close(model[0].poise_ghost_batch_norm.running_var, hidden.var(0).detach())


def test_running_statistics_of_a_population_are_those_of_its_members_alone(population) -> None:  # type: ignore[no-untyped-def]
    model = GhostBatchNorm(size=3).network(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 1))).double()
    x, shares = torch.randn(3, 10, 3, dtype=torch.float64), torch.tensor([0.0, 0.3, 1.0])
    out, grads, buffers = population(model, x, share=shares)
    for member in range(3):
        alone = copy.deepcopy(model)
        layer = alone[0].poise_ghost_batch_norm
        layer.share.fill_(shares[member])
        y = alone(x[member])
        y.square().sum().backward()
        torch.testing.assert_close(out[member], y.detach(), rtol=1e-12, atol=1e-12)
        for name, parameter in alone.named_parameters():
            torch.testing.assert_close(grads[name][member], parameter.grad, rtol=1e-10, atol=1e-12)
        for name in ("running_mean", "running_var"):
            moved = buffers[f"0.poise_ghost_batch_norm.{name}"][member]
            torch.testing.assert_close(moved, getattr(layer, name), rtol=1e-12, atol=1e-12)


def test_one_row_in_training_is_refused_and_fine_in_evaluation() -> None:
    ours, _, shape = pair("rows", 2)
    with pytest.raises(ArgumentError, match="2 rows or more in a training batch; got 1"):
        ours(torch.ones(1, *shape, dtype=torch.float64))
    assert ours.eval()(torch.ones(1, *shape, dtype=torch.float64)).shape == (1, 5)
    assert ours.train()(torch.ones(0, *shape, dtype=torch.float64)).shape == (0, 5)


def test_its_parameters_are_norms() -> None:
    roles = roles_of(GhostBatchNorm().network(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))))
    assert [roles[f"0.poise_ghost_batch_norm.{n}"].kind for n in ("weight", "bias")] == ["norm", "norm"]


@pytest.mark.parametrize("field", [{"size": 1}, {"size": 2.0}, {"size": True}, {"momentum": 0.0}, {"eps": 0.0}])
def test_structure_outside_its_range_is_refused(field: dict[str, object]) -> None:
    with pytest.raises(ArgumentError, match=rf"`GhostBatchNorm\.{next(iter(field))}` must be"):
        GhostBatchNorm(**field)  # type: ignore[arg-type]
