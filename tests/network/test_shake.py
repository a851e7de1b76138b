"""ShakeDrop and shake-shake: the laws of their factors forward, backward and in evaluation, and slow twins."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from poise.core.kinds import inserted_layers
from poise.core.rng import Rng, key
from poise.network import ShakeDrop, ShakeShake
from poise.network.branches import BranchLayer, scaled
from poise.testing import check_regularizer
from poise.testing.oracles import chi_square
from poise.testing.residual_networks import OneBranch, TwoBranches

N = 1_000_000
pytestmark = pytest.mark.usefixtures("seeded")


def factors(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the forward and backward factor of each of N rows, in float64."""
    x = torch.ones(N, 1, dtype=torch.float64, requires_grad=True)
    y = layer(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    return y.detach().flatten(), gradient.flatten()


def uniform_p_value(values: Tensor, low: float, high: float) -> float:
    counts = torch.histc(values, bins=50, min=low, max=high)
    assert int(counts.sum()) == values.numel(), "a value is outside the range"
    return chi_square(counts.tolist(), [values.numel() / 50] * 50)


def correlation_p_value(one: Tensor, two: Tensor) -> float:
    r = float(torch.corrcoef(torch.stack([one, two]))[0, 1])
    return math.erfc(abs(r) * math.sqrt(one.numel() / 2))


def test_battery() -> None:
    report = check_regularizer(ShakeDrop(0.5))
    assert report.not_applicable["gradient"] == "the backward pass is not the forward's derivative, by design"
    check_regularizer(ShakeShake(0.5))


@pytest.mark.parametrize("p", [0.2, 0.5])
def test_shake_drop_factors_are_those_of_the_law(p: float) -> None:
    forward, backward = factors(ShakeDrop(p).layer(nn.Identity()))
    shaken = forward != 1
    assert torch.equal(shaken, backward != 1), "one b for both passes"
    zeros = int(shaken.sum())
    assert chi_square([zeros, N - zeros], [p * N, (1 - p) * N]) > 1e-6
    assert uniform_p_value(forward[shaken], -1, 1) > 1e-6
    assert uniform_p_value(backward[shaken], 0, 1) > 1e-6
    assert correlation_p_value(forward[shaken], backward[shaken]) > 1e-6


def test_samplers_that_are_slightly_wrong_are_caught() -> None:
    forward, backward = factors(ShakeDrop(0.5).layer(nn.Identity()))
    shaken = forward[forward != 1]
    assert uniform_p_value(shaken.abs().sqrt(), 0, 1) < 1e-6
    assert correlation_p_value(forward, backward) < 1e-6  # b is shared, so that these are not independent
    zeros = int((factors(ShakeDrop(0.505).layer(nn.Identity()))[0] != 1).sum())
    assert chi_square([zeros, N - zeros], [N / 2, N / 2]) < 1e-6


def test_shake_drop_evaluates_at_the_mean_factor_of_its_depth() -> None:
    model = ShakeDrop(0.5).network(nn.Sequential(OneBranch(3), OneBranch(3)))
    for (_, layer), expected in zip(inserted_layers(model), (0.75, 0.5), strict=True):
        forward, _ = factors(layer)
        assert float(forward.mean()) == pytest.approx(expected, abs=5e-3)
        assert torch.equal(layer.eval()(torch.ones(2)), torch.full((2,), expected))


def test_shake_shake_factors_are_uniform_sum_to_one_and_differ_forward_and_backward() -> None:
    model = ShakeShake().network(TwoBranches(3))
    (one, two) = [factors(layer) for _, layer in inserted_layers(model)]
    for here, there in zip(one, two, strict=True):
        assert uniform_p_value(here, 0, 1) > 1e-6
        assert float((here + there - 1).abs().max()) < 1e-15
    assert correlation_p_value(one[0], one[1]) > 1e-6
    assert correlation_p_value(one[0], two[0]) < 1e-6  # two independent factors would be caught


def test_shake_shake_evaluates_half_of_each_branch() -> None:
    bare = TwoBranches(3).eval()
    x = torch.randn(5, 3)
    model = ShakeShake().network(copy.deepcopy(bare))
    torch.testing.assert_close(model(x), x + 0.5 * bare.first(x) + 0.5 * bare.second(x), rtol=1e-6, atol=1e-6)


def test_shake_shake_goes_to_sums_of_two_branches_only() -> None:
    model = nn.Sequential(OneBranch(3), TwoBranches(3))
    assert [path for path, _ in ShakeShake().find(model)] == ["1.first", "1.second"]


def _by_rows(part: Any, bare: nn.Module, x: Tensor, weights: Tensor) -> list[Tensor]:
    """The gradient of sum(weights * outputs) for a block, row by row: branches recomputed with the backward factors."""
    names = ["branch"] if isinstance(bare, OneBranch) else ["first", "second"]
    label = f"{part.name}/{names[0]}/0"
    rng, size = Rng(key(0), label), (len(x), 1)
    beta = rng.uniform("beta", size, torch.float64)
    if isinstance(part, ShakeDrop):
        beta = torch.where(rng.keep("keep", size, part.p), torch.ones_like(beta), beta)
    sides = [beta, 1 - beta]
    total = torch.zeros((), dtype=torch.float64)
    for row in range(len(x)):
        for name, side in zip(names, sides, strict=False):
            total = total + (weights[row] * side[row] * getattr(bare, name)(x[row])).sum()
    return list(torch.autograd.grad(total, list(bare.parameters())))


@pytest.mark.parametrize("part", [ShakeDrop(0.5), ShakeShake()], ids=["drop", "shake"])
def test_gradients_of_the_branch_are_those_of_the_backward_factors(part: Any) -> None:
    bare = (OneBranch(3) if isinstance(part, ShakeDrop) else TwoBranches(3)).double()
    x, weights = torch.randn(2, 9, 3, dtype=torch.float64)
    model = part.network(copy.deepcopy(bare))
    found = torch.autograd.grad((weights * model(x)).sum(), list(model.parameters()))
    for ours, slow in zip(found, _by_rows(part, bare, x, weights), strict=True):
        torch.testing.assert_close(ours, slow, rtol=1e-12, atol=1e-12)


def test_scaled_is_differentiable_twice_and_maps_over_members() -> None:
    x = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2).requires_grad_()
    forward, backward = torch.tensor([[2.0]]).double(), torch.tensor([[3.0]]).double()
    (first,) = torch.autograd.grad((scaled(x, forward, backward) ** 2).sum(), x, create_graph=True)
    torch.testing.assert_close(first, 2 * 2 * x * 3)
    (second,) = torch.autograd.grad(first.sum(), x)
    torch.testing.assert_close(second, torch.full_like(x, 2 * 3 * 3))  # the factor of x within is the backward one too
    mapped = torch.vmap(scaled)(x.detach(), forward.expand(3, 1), backward.expand(3, 1))
    assert torch.equal(mapped, 2 * x.detach())


def test_an_infinite_branch_that_is_kept_stays_infinite() -> None:
    layer = ShakeDrop(0.0).layer(nn.Identity())
    assert isinstance(layer, BranchLayer)
    assert torch.equal(layer(torch.tensor([math.inf, -0.0])), torch.tensor([math.inf, -0.0]))
