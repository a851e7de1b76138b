"""What all weightings hold: weights of one are the sum of losses, foreign tasks are refused, others stay."""

from typing import Any

import pytest
import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.errors import ArgumentError
from poise.core.rng import Rng, key
from poise.objective import DynamicWeights, GradNorm, TaskWeight, UncertaintyWeights
from poise.objective.weighting import Weighting

CTX = Context(0, Rng(key(0)))
PARAMS = {"w": torch.zeros(3, dtype=torch.float64)}
KINDS = [TaskWeight, UncertaintyWeights, DynamicWeights, GradNorm]


def terms(scale: float = 1.0) -> dict[str, Tensor]:
    values = {"data/a": 3.0, "data/b": 0.7, "l2": 0.1, "data/c": 11.0}
    return {name: torch.tensor(scale * value, dtype=torch.float64) for name, value in values.items()}


def made(kind: Any, **fields: Any) -> Any:
    return kind(tasks=("a", "b"), **fields)


@pytest.mark.parametrize("kind", KINDS)
def test_at_neutral_the_objective_is_the_sum_of_the_losses_bit_for_bit(kind: type[Weighting]) -> None:
    part = made(kind).neutral()
    memory = part.remember(PARAMS)
    tasks = {"a": {"w": torch.tensor([1.0, 0.0, 2.0])}, "b": {"w": torch.tensor([1.0, 1.0, 0.0])}}
    for step in range(500):
        given = terms(1 / (1 + step))
        after, memory = part.objective(given, memory, Context(step, Rng(key(0))))
        assert all(torch.equal(after[name], given[name]) for name in given)
        assert float(after.get(part.name, torch.tensor(0.0))) == 0.0
        _, memory = part.gradient({}, memory, Context(step, Rng(key(0)), tasks=tasks))


@pytest.mark.parametrize("kind", KINDS)
def test_other_tasks_and_terms_stay(kind: type[Weighting]) -> None:
    part, given = made(kind), terms()
    after, _ = part.objective(given, part.remember(PARAMS), CTX)
    assert after["data/c"] is given["data/c"]
    assert after["l2"] is given["l2"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_memory_holds_no_graph(kind: type[Weighting]) -> None:
    part, given = made(kind), {name: term.requires_grad_() for name, term in terms().items()}
    _, memory = part.objective(given, part.remember(PARAMS), CTX)
    assert not any(leaf.requires_grad for leaf in memory.values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_that_the_loss_does_not_have_is_refused(kind: type[Weighting]) -> None:
    part: Any = kind(tasks=("a", "typo"))  # type: ignore[call-arg]  # the base declares no dial
    with pytest.raises(ArgumentError, match=rf"`{kind.__name__}.tasks` must be tasks of the loss, a, b, c; got 'typo'"):
        part.objective(terms(), part.remember(PARAMS), CTX)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tasks", [(), "a", ("a", "a"), ["a", "b"], (1,), None])
def test_tasks_that_are_no_names_are_refused(kind: Any, tasks: Any) -> None:
    with pytest.raises(ArgumentError, match=rf"`{kind.__name__}.tasks` must be a tuple of distinct task names; got"):
        kind(tasks=tasks)


def test_a_single_loss_is_the_task_data() -> None:
    after, _ = TaskWeight(0.25, tasks=("data",)).objective({"data": torch.tensor(2.0)}, {}, CTX)
    assert float(after["data"]) == 0.5


def test_a_weight_scales_the_gradient_of_its_tasks_alone() -> None:
    w = torch.tensor([2.0, 3.0], requires_grad=True)
    given = {"data/a": w[0].square(), "data/b": w[1].square()}
    after, _ = TaskWeight(0.1, tasks=("b",)).objective(given, {}, CTX)
    torch.stack([*after.values()]).sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == pytest.approx([4.0, 0.6])


def test_two_weights_of_different_tasks_live_in_one_recipe() -> None:
    from poise import Recipe

    recipe = Recipe(TaskWeight(2.0, tasks=("a",), name="weight_a"), TaskWeight(0.5, tasks=("b", "c"), name="weight_b"))
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    after, _ = recipe.fold("objective", terms(), recipe.remember(PARAMS), CTX)
    assert [round(float(after[f"data/{t}"]), 6) for t in "abc"] == [6.0, 0.35, 5.5]
