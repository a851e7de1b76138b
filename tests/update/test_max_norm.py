"""Max norm: the nearest point of the ball, found by a solver and by its optimality conditions."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from poise.core.context import Context
from poise.core.rng import Rng, key
from poise.core.select import Role
from poise.testing import check_regularizer
from poise.update import MaxNorm


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def apply(part: MaxNorm, w: torch.Tensor) -> torch.Tensor:
    ctx = Context(0, Rng(key(0)), roles={"w": Role("weight")})
    return part.update({"w": w}, {}, ctx)[0]["w"]


def test_it_passes_the_battery() -> None:
    assert check_regularizer(MaxNorm(0.5)).count >= 19


def test_each_row_is_the_nearest_point_of_the_ball() -> None:
    w = draw(3, 4)
    for row, new in zip(w.numpy(), apply(MaxNorm(1.2), w).numpy(), strict=True):
        ball = {"type": "ineq", "fun": lambda z: 1.2**2 - z @ z}
        nearest = minimize(lambda z, row=row: ((z - row) ** 2).sum(), np.zeros(4), constraints=ball, tol=1e-14)
        np.testing.assert_allclose(new, nearest.x, atol=1e-6)


def test_projection_obeys_its_variational_inequality() -> None:
    w, other = draw(50, 6), draw(50, 6, seed=1)
    new = apply(MaxNorm(1.5), w)
    inside = apply(MaxNorm(1.5), other)
    # (w - Pw) . (z - Pw) <= 0 for every z of the ball: no point of it is nearer.
    assert bool((((w - new) * (inside - new)).sum(1) <= 1e-12).all())
    assert bool((new.norm(dim=1) <= 1.5 * (1 + 1e-14)).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_projecting_twice_changes_at_most_the_last_bit(dtype: torch.dtype) -> None:
    once = apply(MaxNorm(0.7), draw(200, 9).to(dtype))
    twice = apply(MaxNorm(0.7), once)
    ulp = torch.nextafter(once.abs(), torch.tensor(math.inf, dtype=dtype)) - once.abs()
    assert bool(((twice - once).abs() <= ulp).all())


def test_a_unit_of_a_convolution_is_a_filter() -> None:
    w = draw(5, 3, 2, 2)
    new = apply(MaxNorm(1.0), w)
    torch.testing.assert_close(new.flatten(1), apply(MaxNorm(1.0), w.flatten(1)), rtol=0, atol=0)


def test_zero_rows_and_empty_weights_stay() -> None:
    assert torch.equal(apply(MaxNorm(0.1), torch.zeros(3, 4)), torch.zeros(3, 4))
    assert apply(MaxNorm(0.1), torch.zeros(0, 4)).shape == (0, 4)


def test_a_0_d_parameter_is_one_number() -> None:
    assert torch.equal(apply(MaxNorm(0.5), torch.tensor(-2.0)), torch.tensor(-0.5))


def test_no_limit_is_the_identity_bit_for_bit() -> None:
    w = draw(3, 4)
    w[0, 0] = math.inf
    w[1, 1] = 1e300
    assert torch.equal(apply(MaxNorm(math.inf), w), w)


def test_rows_inside_the_ball_are_not_touched() -> None:
    w = torch.tensor([[0.1, 0.7], [30.0, 40.0]])
    new = apply(MaxNorm(5.0), w)
    assert torch.equal(new[0], w[0])
    assert new[1].tolist() == pytest.approx([3.0, 4.0])


def test_a_float16_norm_does_not_overflow() -> None:
    new = apply(MaxNorm(200.0), torch.full((1, 4), 300.0, dtype=torch.float16))
    assert new.dtype == torch.float16
    assert new.flatten().tolist() == pytest.approx([100.0] * 4, rel=1e-3)
