"""Adaptive clipping against a slow twin that goes through the units one by one."""

import math
from typing import Any

import pytest
import torch

from poise.core.context import Context
from poise.core.rng import Rng, key
from poise.core.select import Role
from poise.gradient import AdaptiveClip
from poise.testing import check_regularizer

SHAPES = {
    "conv.weight": (4, 3, 2, 2), "conv.bias": (4,), "mid.weight": (5, 4), "head.weight": (2, 5), "head.bias": (2,),
}  # fmt: skip
ROLES = {name: Role("weight" if name.endswith("weight") else "bias") for name in SHAPES}


def draw(seed: int, size: float = 1.0) -> dict[str, torch.Tensor]:
    own = torch.Generator().manual_seed(seed)
    return {name: size * torch.randn(*shape, generator=own, dtype=torch.float64) for name, shape in SHAPES.items()}


def clip(part: AdaptiveClip, grads: dict[str, Any], params: dict[str, Any], roles: Any = ROLES) -> dict[str, Any]:
    return part.gradient(grads, {}, Context(0, Rng(key(0)), params=params, roles=roles))[0]


def slow(grad: torch.Tensor, weight: torch.Tensor, limit: float) -> torch.Tensor:
    """Brock 2021, equation 3, unit by unit."""
    if grad.dim() < 2:
        size, most = math.sqrt(sum(float(v) ** 2 for v in grad)), limit * max(float(weight.norm()), 1e-3)
        return grad if size <= most else grad * (most / size)
    units = zip(grad, weight, strict=True)
    return torch.stack([slow(g.flatten(), w.flatten(), limit).reshape(g.shape) for g, w in units])


def test_it_passes_the_battery() -> None:
    assert check_regularizer(AdaptiveClip(0.05)).count >= 17


@pytest.mark.parametrize("limit", [0.01, 0.5, 1.0])
def test_units_are_those_of_the_slow_twin(limit: float) -> None:
    grads, params = draw(0), draw(1)
    params["mid.weight"][0] = 0  # a unit of zeros counts as 0.001
    found = clip(AdaptiveClip(limit, output=True), grads, params)
    for name in SHAPES:
        torch.testing.assert_close(found[name], slow(grads[name], params[name], limit), rtol=1e-12, atol=1e-15)


def test_the_last_layer_is_left_alone_unless_asked() -> None:
    grads, params = draw(0), draw(1)
    found = clip(AdaptiveClip(0.01), grads, params)
    assert [name for name in SHAPES if found[name] is grads[name]] == ["head.weight", "head.bias"]


def test_gradients_within_the_limit_are_not_touched() -> None:
    grads, params = draw(0, size=1e-4), draw(1)
    assert all(torch.equal(g, grads[name]) for name, g in clip(AdaptiveClip(0.1), grads, params).items())


def test_a_unit_that_is_not_finite_is_left_and_the_others_are_clipped() -> None:
    grads, weight = torch.tensor([[math.nan, 1.0], [math.inf, 1.0], [3.0, 4.0]]), torch.ones(3, 2)
    found = clip(AdaptiveClip(1.0, output=True), {"w": grads}, {"w": weight}, {"w": Role("weight")})["w"]
    assert torch.equal(found[:2].nan_to_num(7), grads[:2].nan_to_num(7))
    assert float(found[2].norm()) == pytest.approx(math.sqrt(2))


def test_rows_of_a_sparse_gradient_meet_their_own_weights() -> None:
    weight = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]])
    sparse = torch.sparse_coo_tensor([[2, 1, 2]], torch.full((3, 2), 10.0), (3, 2), check_invariants=True)
    found = clip(AdaptiveClip(0.5, output=True), {"w": sparse}, {"w": weight}, {"w": Role("embedding")})["w"]
    assert found.is_sparse
    torch.testing.assert_close(found.to_dense().norm(dim=1), torch.tensor([0.0, 1.0, 2.5]))


def test_norms_do_not_overflow_in_float16() -> None:
    half = {"w": torch.full((1, 4), 300.0, dtype=torch.float16)}
    found = clip(AdaptiveClip(0.5, output=True), half, half, {"w": Role("weight")})["w"]
    assert found.dtype == torch.float16
    assert found.tolist() == [[150.0] * 4]
