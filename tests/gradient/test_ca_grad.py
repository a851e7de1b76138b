"""Conflict-averse gradients against SciPy's constrained optimizer, in the dual and in the plane."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from poise.core.context import Context
from poise.core.errors import ArgumentError
from poise.core.rng import Rng, key
from poise.gradient import CaGrad
from poise.gradient.ca_grad import worst_mixture


def draw(tasks: int, seed: int, size: int = 9) -> Tensor:
    """Gradients of different lengths that often conflict."""
    generator = torch.Generator().manual_seed(seed)
    scales = 10 ** (torch.rand(tasks, 1, generator=generator, dtype=torch.float64) - 0.5)
    return scales * torch.randn(tasks, size, generator=generator, dtype=torch.float64)


def ours(gradients: Tensor, radius: float, penalty: float = 0.0) -> Tensor:
    """The direction d: a T-th of what the sum of the gradients becomes."""
    tasks = {f"t{i}": {"w": g} for i, g in enumerate(gradients)}
    ctx = Context(0, Rng(key(0)), tasks=tasks)
    return CaGrad(radius).gradient({"w": gradients.sum(0) + penalty}, {}, ctx)[0]["w"] / len(gradients)


def dual(weights: np.ndarray, gradients: Tensor, radius: float) -> float:
    mean, mixed = gradients.mean(0), torch.from_numpy(weights) @ gradients
    return float(mixed @ mean + radius * mean.norm() * mixed.norm())


def scipys(gradients: Tensor, radius: float) -> float:
    """The dual's minimum, from several starts."""
    count = len(gradients)
    starts = [np.full(count, 1 / count), *(0.9 * np.eye(count) + 0.1 / count)]
    found = [
        minimize(
            dual,
            start,
            args=(gradients, radius),
            bounds=[(0, 1)] * count,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            options={"ftol": 1e-14, "maxiter": 500},
        ).fun
        for start in starts
    ]
    return float(min(found))


@pytest.mark.parametrize("count", [2, 3, 5, 8])
@pytest.mark.parametrize("radius", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("seed", range(4))
def test_the_mixture_is_scipys(count: int, radius: float, seed: int) -> None:
    gradients = draw(count, seed)
    mixture = worst_mixture(gradients @ gradients.T, radius * gradients.mean(0).norm())
    assert float(mixture.sum()) == pytest.approx(1.0, abs=1e-12)
    size = float(gradients.mean(0).norm() * gradients.norm(dim=1).max())
    assert dual(mixture.numpy(), gradients, radius) <= scipys(gradients, radius) + 1e-5 * size


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("radius", [0.2, 0.8])
def test_in_the_plane_no_other_direction_of_the_ball_helps_the_worst_task_more(seed: int, radius: float) -> None:
    gradients = draw(3, seed, size=2)
    mean, found = gradients.mean(0), ours(gradients, radius)
    angles = torch.linspace(0, 2 * math.pi, 20_001, dtype=torch.float64)
    around = mean + radius * mean.norm() * torch.stack([angles.cos(), angles.sin()], 1)
    best = float((around @ gradients.T).min(1).values.max())
    assert float((gradients @ found).min()) == pytest.approx(best, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_the_step_is_a_radius_away_from_the_mean_and_the_worst_task_gains(seed: int) -> None:
    gradients = draw(4, seed)
    mean, found = gradients.mean(0), ours(gradients, 0.5)
    assert float((found - mean).norm()) == pytest.approx(0.5 * float(mean.norm()), rel=1e-9)
    assert float((gradients @ found).min()) > float((gradients @ mean).min())


def test_equal_tasks_give_one_and_a_radius_times_their_sum() -> None:
    gradients = draw(1, 0).expand(3, -1)
    torch.testing.assert_close(ours(gradients, 0.3), 1.3 * gradients[0], rtol=1e-12, atol=1e-12)


def test_at_radius_0_it_is_the_sum_bit_for_bit() -> None:
    gradients = draw(4, 1)
    assert torch.equal(ours(gradients, 0.0), gradients.sum(0) / 4)


def test_the_penalties_part_stays() -> None:
    gradients = draw(3, 2)
    torch.testing.assert_close(ours(gradients, 0.4, 6.0), ours(gradients, 0.4) + 2.0, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("gradients", [torch.zeros(3, 4), torch.tensor([[1.0, 2.0], [-1.0, -2.0]])])
def test_gradients_that_cancel_give_no_step_and_stay_finite(gradients: Tensor) -> None:
    assert not ours(gradients.double(), 0.5).any()


def test_a_task_without_labels_is_no_reason_to_divide_by_zero() -> None:
    gradients = draw(3, 3)
    gradients[1] = 0
    assert bool(torch.isfinite(ours(gradients, 0.5)).all())


def test_each_member_has_its_own_mixture() -> None:
    several = torch.stack([draw(3, seed) for seed in range(5)])
    radii = torch.tensor([0.0, 0.1, 0.4, 0.6, 0.9], dtype=torch.float64)
    mapped = torch.vmap(worst_mixture)(several @ several.mT, radii)
    for place, gradients in enumerate(several):
        alone = worst_mixture(gradients @ gradients.T, radii[place])
        torch.testing.assert_close(mapped[place], alone, rtol=1e-9, atol=1e-9)


def test_a_loss_that_is_not_given_by_task_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"`CaGrad` must have the loss of each task; got one loss"):
        CaGrad().gradient({"w": torch.ones(2)}, {}, Context(0, Rng(key(0)), tasks={"data": {"w": torch.ones(2)}}))
