"""The pull to the start against its closed form on a quadratic, and what counts as the head."""

from typing import Any

import pytest
import torch
from torch import nn

from poise import Recipe
from poise.core.context import Context
from poise.core.rng import Rng, key
from poise.core.select import Role
from poise.objective import L2, PullToStart
from poise.testing import check_regularizer

SHAPES = {"body.weight": (3, 4), "body.bias": (3,), "head.weight": (2, 3), "head.bias": (2,)}
ROLES = {name: Role(name.rpartition(".")[2]) for name in SHAPES}


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def weights(seed: int) -> dict[str, torch.Tensor]:
    return {name: draw(*shape, seed=seed) for name, shape in SHAPES.items()}


def term(part: PullToStart, start: dict[str, Any], now: dict[str, Any], roles: Any = ROLES) -> torch.Tensor:
    terms, _ = part.objective({}, part.remember(start), Context(0, Rng(key(0)), params=now, roles=roles))
    return terms["pull_to_start"]


def test_it_passes_the_battery() -> None:
    assert check_regularizer(PullToStart(0.3, head=0.1)).count >= 21


def test_gradient_is_exactly_weight_times_the_distance_and_head_times_the_heads_weights() -> None:
    start, now = weights(0), weights(1)
    found = torch.func.grad(lambda now: term(PullToStart(0.25, head=0.5), start, now))(now)
    assert torch.equal(found["body.weight"], 0.25 * (now["body.weight"] - start["body.weight"]))
    assert torch.equal(found["head.weight"], 0.5 * now["head.weight"])
    assert not found["body.bias"].any()
    assert not found["head.bias"].any()


def test_without_a_new_head_every_selected_weight_is_pulled() -> None:
    start, now = weights(0), weights(1)
    found = torch.func.grad(lambda now: term(PullToStart(0.25, head=7.0, where="all", new_head=False), start, now))(now)
    for name in ROLES:
        assert torch.equal(found[name], 0.25 * (now[name] - start[name]))


def test_from_a_start_of_zeros_it_is_l2() -> None:
    start, now = {name: torch.zeros_like(w) for name, w in weights(0).items()}, weights(1)
    ctx = Context(0, Rng(key(0)), params=now, roles=ROLES)
    l2 = L2(0.3).objective({}, {}, ctx)[0]["l2"]
    torch.testing.assert_close(term(PullToStart(0.3, head=0.3), start, now), l2, rtol=1e-14, atol=0)


def test_minimum_of_a_quadratic_lies_between_the_goal_and_the_start() -> None:
    """The least of (w - goal)' H (w - goal) / 2 + a/2 |w - start|^2 is at (H + a I)^-1 (H goal + a start)."""
    root, goal, start, a = draw(4, 4), draw(4, seed=1), draw(4, seed=2), 0.7
    H, roles = root @ root.T, {"w": Role("weight")}
    part = PullToStart(a, new_head=False)

    def objective(w: torch.Tensor) -> torch.Tensor:
        return (w - goal) @ H @ (w - goal) / 2 + term(part, {"w": start[None]}, {"w": w[None]}, roles)

    found = start - torch.linalg.solve(
        torch.func.jacrev(torch.func.grad(objective))(start), torch.func.grad(objective)(start)
    )
    closed = torch.linalg.solve(H + a * torch.eye(4, dtype=torch.float64), H @ goal + a * start)
    torch.testing.assert_close(found, closed, rtol=1e-12, atol=1e-13)


def test_the_memory_is_a_copy_that_training_does_not_move() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False))
    run = Recipe(PullToStart(1.0, head=0.0)).start(model)
    start = model[0].weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        run.objective(model(torch.ones(1, 2)).sum()).backward()
        run.update(optimizer)
    assert torch.equal(run.memory["pull_to_start"]["start/0.weight"], start)
    assert not torch.equal(model[0].weight.detach(), start)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_distances_do_not_overflow_in_half_precision(dtype: torch.dtype) -> None:
    start, now = (torch.full((1, 4), value, dtype=dtype) for value in (0.0, 300.0))
    found = term(PullToStart(1.0, new_head=False), {"w": start}, {"w": now}, {"w": Role("weight")})
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(2 * 300.0**2, rel=1e-2)
