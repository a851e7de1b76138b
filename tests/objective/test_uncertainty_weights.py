"""Uncertainty weights against Kendall's objective, differentiated by torch and descended in small steps."""

import pytest
import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.rng import Rng, key
from poise.objective import UncertaintyWeights

CTX = Context(0, Rng(key(0)))
LOSSES = torch.tensor([4.0, 0.03, 0.5], dtype=torch.float64)
PARAMS = {"w": torch.zeros(1, dtype=torch.float64)}


def part(rate: float) -> UncertaintyWeights:
    return UncertaintyWeights(rate, tasks=("a", "b", "c"))


def objective(log_variance: Tensor, losses: Tensor) -> Tensor:
    """Kendall et al., with one half of the log-variance: log sigma."""
    return (torch.exp(-log_variance) * losses + log_variance / 2).sum()


def moved(rate: float, losses: Tensor, steps: int) -> Tensor:
    memory = part(rate).remember(PARAMS)
    for _ in range(steps):
        _, memory = part(rate).weigh(losses, memory, CTX)
    return memory["variance"]


def test_the_terms_are_kendalls_objective() -> None:
    memory = {"variance": torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64)}
    given = {f"data/{t}": loss for t, loss in zip("abc", LOSSES, strict=True)}
    after, _ = part(0.1).objective(given, memory, CTX)
    total = torch.stack([*after.values()]).sum()
    torch.testing.assert_close(total, objective(memory["variance"].log(), LOSSES), rtol=1e-12, atol=1e-12)


def test_it_is_gradient_descent_in_the_log_variance_as_torch_does_it_in_small_steps() -> None:
    log_variance = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    pieces = 20_000
    optimizer = torch.optim.SGD([log_variance], lr=1.0 / pieces)
    for _ in range(pieces):
        optimizer.zero_grad()
        objective(log_variance, LOSSES).backward()
        optimizer.step()
    torch.testing.assert_close(moved(1.0, LOSSES, 1).log(), log_variance.detach(), rtol=0, atol=2e-3)


def test_a_small_rate_is_one_gradient_step() -> None:
    log_variance = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(objective(log_variance, LOSSES), log_variance)
    torch.testing.assert_close(moved(1e-6, LOSSES, 1).log(), -1e-6 * slope, rtol=1e-4, atol=0)


def test_the_rest_point_is_where_each_weighted_loss_is_one_half() -> None:
    torch.testing.assert_close(LOSSES / moved(0.5, LOSSES, 200), torch.full_like(LOSSES, 0.5))


@pytest.mark.parametrize("rate", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("loss", [1e-12, 1.0, 1e12])
def test_it_is_stable_at_any_rate_and_loss(rate: float, loss: float) -> None:
    variance = moved(rate, torch.full((3,), loss, dtype=torch.float64), 50)
    low, high = sorted((1.0, 2 * loss))
    assert bool(((variance >= low * (1 - 1e-12)) & (variance <= high * (1 + 1e-12))).all())


def test_a_task_without_labels_in_the_batch_keeps_its_weight() -> None:
    variance = moved(0.5, torch.tensor([4.0, 0.0, 0.5], dtype=torch.float64), 3)
    assert float(variance[1]) == 1.0
    assert float(variance[0]) != 1.0


def test_units_of_a_task_cancel_out() -> None:
    """Metres or centimetres: after a while the weighted loss is the same."""
    weighted = LOSSES / moved(0.5, LOSSES, 200)
    scaled = 1e4 * LOSSES / moved(0.5, 1e4 * LOSSES, 200)
    torch.testing.assert_close(weighted, scaled)


def test_a_weight_is_that_of_the_step_before_its_own_loss() -> None:
    memory = part(1.0).remember(PARAMS)
    weights, _ = part(1.0).weigh(LOSSES, memory, CTX)
    assert weights.tolist() == [1.0, 1.0, 1.0]
