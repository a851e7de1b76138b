"""Gradient vaccine against a slow loop of the paper's algorithm, the angle it promises, and surgery as its case."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.errors import ArgumentError
from poise.core.rng import Rng, key
from poise.gradient import GradVac, PcGrad
from poise.gradient.surgery import realigned

Gradients = dict[str, dict[str, Tensor]]
TASKS = ("a", "b", "c")


def draw(seed: int) -> Gradients:
    generator = torch.Generator().manual_seed(seed)
    return {task: {"w": torch.randn(7, generator=generator, dtype=torch.float64)} for task in TASKS}


def total(tasks: Gradients) -> dict[str, Tensor]:
    return {"w": torch.stack([own["w"] for own in tasks.values()]).sum(0)}


def context(tasks: Gradients, seed: int = 0, name: str = "grad_vac") -> Context:
    return Context(0, Rng(key(seed)).fold(name), tasks=tasks)


def slow(tasks: Gradients, order: list[list[int]], usual: Tensor, rate: float) -> tuple[list[Tensor], Tensor]:
    """Algorithm 1 with whole gradients; returns each task's new gradient and the new usual cosines."""
    originals = [own["w"] for own in tasks.values()]
    usual, found = usual.clone(), []
    for i, original in enumerate(originals):
        p = original.clone()
        for j in order[i]:
            if j == i:
                continue
            f, t = float(torch.cosine_similarity(p, originals[j], dim=0)), float(usual[i, j])
            if f < t:
                up = t * math.sqrt(1 - f * f) - f * math.sqrt(1 - t * t)
                p = p + float(p.norm()) * up / (float(originals[j].norm()) * math.sqrt(1 - t * t)) * originals[j]
            usual[i, j] = (1 - rate) * t + rate * f
        found.append(p)
    return found, usual


@pytest.mark.parametrize("seed", range(8))
def test_it_is_the_slow_loop_over_several_steps(seed: int) -> None:
    part = GradVac(1.0, 0.3, tasks=TASKS)
    memory, usual = part.remember({"w": torch.zeros(7, dtype=torch.float64)}), torch.zeros(3, 3, dtype=torch.float64)
    for step in range(5):
        tasks = draw(100 * seed + step)
        ctx = context(tasks, seed)
        order = [ctx.rng.permutation(f"order/{task}", 3).tolist() for task in TASKS]
        expected, usual = slow(tasks, order, usual, 0.3)
        after, memory = part.gradient(total(tasks), memory, ctx)
        torch.testing.assert_close(after["w"], torch.stack(expected).sum(0), rtol=1e-9, atol=1e-9)
        apart = ~torch.eye(3, dtype=torch.bool)
        torch.testing.assert_close(memory["cosine"][apart], usual[apart], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("wanted", [-0.5, 0.0, 0.7, 0.99])
def test_a_turned_gradient_meets_the_other_at_the_wanted_angle(seed: int, wanted: float) -> None:
    originals = torch.stack([own["w"] for own in draw(seed).values()])[:2]
    products = originals @ originals.T
    mixed, before = realigned(products, torch.tensor([[0, 1], [1, 0]]), torch.full_like(products, wanted))
    turned = mixed @ originals
    for i, j in ((0, 1), (1, 0)):
        cosine = float(torch.cosine_similarity(turned[i], originals[j], dim=0))
        assert cosine == pytest.approx(max(wanted, float(before[i, j])), abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_without_a_memory_of_angles_it_is_surgery(seed: int) -> None:
    tasks, part = draw(seed), GradVac(1.0, 0.0, tasks=TASKS)
    memory = part.remember({"w": torch.zeros(7, dtype=torch.float64)})
    for _ in range(2):
        after, memory = part.gradient(total(tasks), memory, context(tasks, seed))
    other, _ = PcGrad().gradient(total(tasks), {}, context(tasks, seed))
    torch.testing.assert_close(after["w"], other["w"], rtol=1e-12, atol=1e-12)


def test_equal_tasks_keep_their_sum_and_stay_finite() -> None:
    tasks, part = dict.fromkeys(TASKS, draw(0)["a"]), GradVac(1.0, 1.0, tasks=TASKS)
    memory = part.remember({"w": torch.zeros(7, dtype=torch.float64)})
    for _ in range(5):
        after, memory = part.gradient(total(tasks), memory, context(tasks))
        torch.testing.assert_close(after["w"], total(tasks)["w"], rtol=1e-9, atol=1e-9)


def test_a_task_without_labels_moves_no_angle_and_no_gradient() -> None:
    part = GradVac(1.0, 0.5, tasks=TASKS)
    memory = {"cosine": torch.full((3, 3), 0.4, dtype=torch.float64)}
    tasks = draw(1)
    tasks["b"] = {"w": torch.zeros(7, dtype=torch.float64)}
    after, new = part.gradient(total(tasks), memory, context(tasks))
    assert torch.equal(new["cosine"][1], memory["cosine"][1])
    assert torch.equal(new["cosine"][:, 1], memory["cosine"][:, 1])
    assert bool(torch.isfinite(after["w"]).all())


@pytest.mark.parametrize("tasks", [("a",), (), ("a", "a"), "ab", None])
def test_fewer_than_two_tasks_are_refused(tasks: Any) -> None:
    with pytest.raises(ArgumentError, match=r"`GradVac.tasks` must be a tuple of two or more distinct task names; got"):
        GradVac(tasks=tasks)


def test_other_tasks_than_those_of_the_loss_are_refused() -> None:
    part = GradVac(tasks=("a", "b", "x"))
    memory = part.remember({"w": torch.zeros(7, dtype=torch.float64)})
    with pytest.raises(ArgumentError, match=r"`GradVac.tasks` must be the tasks of the loss, a, b, c; got"):
        part.gradient(total(draw(0)), memory, context(draw(0)))
