"""Lookahead against a slow twin in float64, and against plain gradient descent where it is that."""

from typing import Any

import pytest
import torch

from poise import Lookahead, Recipe
from poise.core.errors import ArgumentError
from poise.testing import check_regularizer

CURVATURE = torch.tensor([4.0, 1.0, 0.25], dtype=torch.float64)


def network() -> torch.nn.Module:
    model = torch.nn.Linear(3, 1, bias=False).double()
    torch.nn.init.constant_(model.weight, 1.0)
    return model


def descend(recipe: Recipe, steps: int, lr: float, momentum: float = 0.0) -> list[torch.Tensor]:
    """Gradient descent on sum(curvature w^2) / 2 through the loop; the weights after each step."""
    run = recipe.start(network())
    optimizer = torch.optim.SGD(run.model.parameters(), lr=lr, momentum=momentum)
    path = []
    for _ in range(steps):
        run.objective(0.5 * (CURVATURE * run.model.weight[0] ** 2).sum()).backward()
        run.update(optimizer)
        path.append(run.model.weight.detach()[0].clone())
    return path


def test_it_passes_the_battery() -> None:
    assert check_regularizer(Lookahead(2)).count >= 18


@pytest.mark.parametrize(("every", "share", "momentum"), [(5, 0.5, 0.0), (3, 0.8, 0.9), (1, 0.2, 0.5), (4, 1.0, 0.9)])
def test_it_is_the_slow_twin(every: int, share: float, momentum: float) -> None:
    fast, slow, velocity = [1.0] * 3, [1.0] * 3, [0.0] * 3
    for step, ours in enumerate(descend(Recipe(Lookahead(every, share)), 23, lr=0.2, momentum=momentum), start=1):
        for i, curvature in enumerate(CURVATURE.tolist()):
            velocity[i] = momentum * velocity[i] + curvature * fast[i]
            fast[i] -= 0.2 * velocity[i]
            if step % every == 0:
                slow[i] += share * (fast[i] - slow[i])
                fast[i] = slow[i]
        assert ours.tolist() == pytest.approx(fast, rel=1e-12)


def test_with_every_step_it_is_gradient_descent_at_a_share_of_the_rate() -> None:
    ours, plain = descend(Recipe(Lookahead(1, 0.25)), 10, lr=0.4), descend(Recipe(), 10, lr=0.1)
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=0)


def test_it_is_stable_at_a_rate_that_is_too_large_for_plain_descent() -> None:
    rate = 2.05 / 4.0  # beyond 2 / curvature, where descent on its own grows at every step
    plain, ours = descend(Recipe(), 40, rate), descend(Recipe(Lookahead(1, 0.5)), 40, rate)
    assert float(plain[-1].abs().max()) > 1
    assert float(ours[-1].abs().max()) < 0.1


def test_the_optimizers_momentum_is_left_as_it_is() -> None:
    run = Recipe(Lookahead(1, 0.0)).start(network())
    optimizer = torch.optim.SGD(run.model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        run.objective(run.model.weight.sum()).backward()
        run.update(optimizer)
    assert torch.equal(run.model.weight, torch.ones(1, 3, dtype=torch.float64))  # share 0: never leaves the start
    assert torch.allclose(optimizer.state[run.model.weight]["momentum_buffer"], torch.tensor(1.9).double())


def test_two_groups_are_each_pulled_once_a_step() -> None:
    model = torch.nn.Linear(1, 1).double()
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    run = Recipe(Lookahead(2, 0.5)).start(model)
    groups = [{"params": [model.weight], "lr": 1.0}, {"params": [model.bias], "lr": 3.0}]
    optimizer = torch.optim.SGD(groups)
    for _ in range(2):
        run.objective(-(model.weight.sum() + model.bias.sum())).backward()
        run.update(optimizer)
    assert (model.weight.item(), model.bias.item()) == (1.0, 3.0)  # half of the way to 2 and to 6


def test_a_run_does_not_warn_before_the_first_pull() -> None:
    path = descend(Recipe(Lookahead(8)), 9, lr=0.1)  # warnings are errors here; the run watches its first five steps
    assert not torch.equal(path[6], path[7])


@pytest.mark.parametrize("every", [0, -1, 1.5, True, "5"])
def test_every_must_be_a_count_of_steps(every: Any) -> None:
    with pytest.raises(ArgumentError, match=r"`Lookahead.every` must be an int >= 1; got"):
        Lookahead(every)
