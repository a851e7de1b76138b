"""What differs by member, what a population keeps of each, and what it refuses."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from poise import (
    L1,
    ArgumentError,
    BatchNorm,
    Decay,
    Dropout,
    Ema,
    GroupLasso,
    Linear,
    Patience,
    Recipe,
    Swa,
)  # fmt: skip
from poise.core.context import Batch
from poise.models.tabular import Mlp
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows

STEPS, SIZE = 300, 16


def small(**rest: Any) -> nn.Module:
    return Mlp(7, 3, width=8, depth=2, **rest)


def plain(
    recipe: Recipe | None = None, members: int = 2, build: Callable[[], nn.Module] = small, **rest: Any
) -> Population:
    return Population(build, recipe or Recipe(), CrossEntropy(), lr=[1e-2] * members, classes=3, **rest)


def zero_score(outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
    return torch.zeros(len(outputs))


def test_members_differ_by_learning_rate_and_by_dial_alone(table: Rows) -> None:
    population = Population(small, Recipe(Decay(0.0)), CrossEntropy(), lr=[1e-2, 0.0, 1e-2], members=[4, 4, 4],
                            dials={"decay.rate": torch.tensor([0.0, 0.0, 5.0])})  # fmt: skip
    before = population.state.flat.data.clone()
    population.train(table, 20, SIZE)
    after = population.state.flat.data
    assert torch.equal(before[1], after[1])
    assert after[2].square().sum() < after[0].square().sum()


def test_a_tensor_in_the_recipe_is_one_number_a_member(table: Rows) -> None:
    inside = plain(Recipe(Dropout(torch.tensor([0.0, 0.9])), Decay(0.1)))
    beside = plain(Recipe(Dropout(0.5), Decay(0.1)), dials={"dropout.p": torch.tensor([0.0, 0.9])})
    for population in (inside, beside):
        population.train(table, 5, SIZE)
    assert torch.equal(inside.state.flat.data, beside.state.flat.data)


def test_a_schedule_on_a_dial_moves_with_the_step_also_in_the_network(table: Rows) -> None:
    off_later = plain(Recipe(Dropout(Linear(0.0, 0.9, steps=10)), L1(Linear(0.0, 1.0, steps=10))))
    off_later.train(table, 1, SIZE)
    never = plain()
    never.train(table, 1, SIZE)
    assert torch.equal(off_later.state.flat.data, never.state.flat.data)
    for population in (off_later, never):
        population.train(table, 3, SIZE)
    assert not torch.equal(off_later.state.flat.data, never.state.flat.data)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dials": {"dropout.p": torch.zeros(3)}}, "must have one number a member \\(2\\); got shape \\(3,\\)"),
        ({"dials": {"dropout.p": torch.tensor(0.5)}}, "must have one number a member \\(2\\); got shape \\(\\)"),
        ({"dials": {"dropout.q": torch.zeros(2)}}, "knows the dials dropout.p; got 'dropout.q'"),
        ({"dials": {"dropout.p": torch.tensor([0.5, 1.5])}}, "`Dropout.p` must be in \\[0, 1\\]; got 1.5"),
        ({"recipe": Recipe(Dropout(torch.zeros(3)))}, "one number a member \\(2\\)"),
        ({"recipe": Recipe(Dropout(Linear(torch.zeros(2), 0.5, steps=3)))}, "a schedule of plain numbers"),
        ({"lr": [1e-3, float("nan")]}, "`Population.lr` must have one finite number >= 0 a member"),
        ({"lr": [1e-3, -1.0]}, "`Population.lr`"),
        ({"lr": []}, "`Population.lr`"),
        ({"members": [0]}, "`Population.members` must have one id for each of 2 learning rates; got 1"),
        ({"columns": torch.zeros(7)}, "`columns` must be an int64 tensor"),
        ({"columns": torch.full((7,), 7)}, "group numbers from 0 to 6"),
        ({"columns": torch.zeros(5, dtype=torch.int64), "recipe": Recipe(GroupLasso(0.1, where="inputs"))},
         "one group for each of the 7 inputs of layers.0.weight, which group_lasso reads; got 5"),
        ({"build": lambda: small().requires_grad_(False)}, "trainable parameters of one dtype; got set\\(\\)"),
        ({"build": lambda: nn.Sequential(nn.Linear(7, 3), nn.Linear(3, 3).double())}, "of one dtype"),
        ({"build": lambda: nn.Linear(7, 3, device="meta")}, "must return real weights"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"build": small, "recipe": Recipe(Dropout(0.5)), "loss": CrossEntropy(), "lr": [1e-3, 1e-3]}
    with pytest.raises(ArgumentError, match=message):
        Population(**(given | arguments))


def test_rows_of_different_lengths_are_refused() -> None:
    with pytest.raises(ArgumentError, match="one input, target and weight a row"):
        Rows(torch.zeros(3, 2), torch.zeros(2, 1))
    with pytest.raises(ArgumentError, match="1 row or more"):
        Rows(torch.zeros(0, 2), torch.zeros(0, 1))


def test_patience_keeps_weights_and_buffers_of_each_members_best_evaluation(table: Rows) -> None:
    population = plain(Recipe(BatchNorm(), Patience(2)))
    scripted = torch.tensor([[3.0, 3.0], [2.0, 4.0], [2.5, 1.0], [2.6, 5.0], [0.0, 5.0]])
    weights, buffers, stopped = [], [], []
    for scores in scripted:
        population.train(table, 2, SIZE)
        population.evaluate(table, lambda outputs, batch, scores=scores: scores)
        weights.append(population.state.flat.data.clone())
        buffers.append(population.state.buffers["layers.0.poise_batch_norm.running_mean"].clone())
        stopped.append(population.stopped.tolist())
    assert stopped == [[False, False], [False, False], [False, False], [True, False], [True, True]]
    assert population.best_step.tolist() == [4, 6]
    assert population.best_score.tolist() == [2.0, 1.0]
    stack = population.stack()
    for place, evaluation in ((0, 1), (1, 2)):
        expected = population.state.flat.named(weights[evaluation])
        assert all(torch.equal(stack.weights[name][place], expected[name][place]) for name in expected)
        mean = stack.buffers["layers.0.poise_batch_norm.running_mean"][place]
        assert torch.equal(mean, buffers[evaluation][place])


def test_without_a_stopping_part_the_last_weights_are_kept(table: Rows) -> None:
    population = plain(Recipe(Patience(float("inf"))))
    for score in (1.0, 2.0):
        population.train(table, 2, SIZE)
        population.evaluate(table, lambda outputs, batch, score=score: torch.full((2,), score))
    assert population.best_step.tolist() == [4, 4]
    assert torch.equal(population.stack().weights["layers.0.weight"], population.weights()["layers.0.weight"])


def test_a_score_that_is_no_number_is_infinite_and_keeps_nothing_of_a_watched_member(table: Rows) -> None:
    population = plain(Recipe(Patience(5)))
    for scores in ([1.0, 1.0], [float("nan"), 0.5]):
        population.train(table, 2, SIZE)
        found = population.evaluate(table, lambda outputs, batch, scores=scores: torch.tensor(scores))
    assert found.tolist() == [float("inf"), 0.5]
    assert population.best_step.tolist() == [2, 4]


@pytest.mark.parametrize("neutral", [False, True])
def test_stack_and_network_predict_what_the_population_does(neutral: bool, table: Rows, tools: Any) -> None:
    settings = tools["spread"](3)
    recipe = tools["everything"]()
    if neutral:  # the parts are then left out of the population, but not out of what is saved
        settings["dials"] = {name: torch.full((3,), dial.neutral) for name, dial in recipe.declared().items()}
    population = Population(small, recipe, CrossEntropy(), classes=3, **settings)
    population.train(table, 6, SIZE)
    population.evaluate(table, tools["mean_loss"])
    expected = population.outputs(table.inputs, best=True)
    stack = population.stack()
    assert torch.allclose(stack.outputs(table.inputs), expected, atol=1e-6)
    part = stack.select(torch.tensor([2]))
    assert len(part) == 1
    for place in range(3):
        assert torch.allclose(stack.network(place)(table.inputs), expected[place], atol=1e-5)
    before = stack.weights["layers.0.weight"].clone()
    population.train(table, 2, SIZE)
    assert torch.equal(stack.weights["layers.0.weight"], before), "a stack must not share memory with training"


def test_outputs_come_in_chunks_and_for_each_members_own_rows(table: Rows) -> None:
    population = plain()
    whole = population.outputs(table.inputs)
    assert torch.allclose(population.outputs(table.inputs, chunk=7), whole, atol=1e-6)
    rows = torch.stack([torch.arange(5), torch.arange(20, 25)])
    own = population.outputs(table.inputs, rows)
    assert torch.allclose(own[1], whole[1, 20:25], atol=1e-6)


@pytest.mark.parametrize("part", [Ema(0.8, warmup=False), Swa(start=3)])
def test_averaged_weights_are_evaluated_with_batch_statistics_of_their_own(part: Any, table: Rows) -> None:
    population = plain(Recipe(BatchNorm(), part))
    population.train(table, 8, SIZE)
    network = population.stack().network(1)
    with torch.no_grad():
        hidden = F.linear(table.inputs, network.layers[0].weight, network.layers[0].bias)
    norm = network.layers[0].poise_batch_norm
    assert torch.allclose(norm.running_mean, hidden.mean(0), atol=1e-5)
    assert torch.allclose(norm.running_var, hidden.var(0), atol=1e-5)
    raw = population.state.buffers["layers.0.poise_batch_norm.running_mean"][1]
    assert not torch.allclose(raw, hidden.mean(0), atol=1e-3)
