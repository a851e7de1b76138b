"""The no-op detector: parts that change nothing say so after five steps, and only those."""

import warnings
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise import (
    L1,
    L2,
    ClipNorm,
    Cosine,
    Decay,
    DropConnect,
    Dropout,
    Ema,
    LabelSmoothing,
    MaxNorm,
    Mixup,
    Patience,
    PoiseWarning,
    Recipe,
    SwitchOff,
)
from poise.train.population import Rows
from poise.train.run import Run


class Functional(nn.Module):
    """Calls no activation module, and never runs one of its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.unused = nn.Linear(7, 8), nn.Linear(8, 3), nn.ReLU()

    def forward(self, x: Tensor) -> Any:
        return self.last(F.relu(self.first(x)))


def steps(run: Run, table: Rows, count: int = 6, lr: float = 0.1) -> Run:
    optimizer = torch.optim.SGD(run.model.parameters(), lr=lr)
    for _ in range(count):
        inputs, targets = run.batch(table.inputs, table.targets)
        outputs = run.model(inputs)
        run.objective(F.cross_entropy(outputs, targets), outputs=outputs).backward()
        run.update(optimizer)
    return run


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(7, 8), nn.ReLU(), nn.Linear(8, 3))


def test_a_recipe_whose_parts_all_act_is_silent(table: Rows) -> None:
    recipe = Recipe(
        Dropout(0.5), DropConnect(0.5), Mixup(0.4), LabelSmoothing(0.1), L2(1e-3), L1(1e-4), Ema(0.9), Patience(3),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "averaged weights are not exactly zero")
        run = steps(recipe.start(mlp(), classes=3), table)
    assert run.acted == {name: name != "patience" for name in run.acted}


def test_layers_that_the_forward_never_calls_are_found(table: Rows) -> None:
    with pytest.warns(PoiseWarning, match="dropout had no effect in the first 5 steps: its layers were never called"):
        steps(Recipe(Dropout(0.5)).start(Functional()), table)


@pytest.mark.filterwarnings("ignore:decay has no effect:poise.PoiseWarning")
def test_a_selection_of_nothing_is_found(table: Rows) -> None:
    with pytest.warns(PoiseWarning, match="decay had no effect in the first 5 steps: it changed no"):
        steps(Recipe(Decay(0.1, where="norms")).start(mlp()), table)


@pytest.mark.parametrize("warm_up", [True, False])
def test_decay_too_small_to_be_seen_is_no_mistake_while_the_rate_rises(warm_up: bool, table: Rows) -> None:
    run = Recipe(Decay(0.01)).start(mlp())
    optimizer = torch.optim.SGD(run.model.parameters(), lr=1e-7)  # 1 - 1e-9 is 1 in float32
    with pytest.warns(PoiseWarning, match="decay had no effect") if not warm_up else nullcontext():
        for _ in range(5):
            run.objective(F.cross_entropy(run.model(table.inputs), table.targets)).backward()
            run.update(optimizer)
            optimizer.param_groups[0]["lr"] += 1e-7 * warm_up


def test_smoothing_of_numbers_is_found(table: Rows) -> None:
    run = Recipe(LabelSmoothing(0.1)).start(mlp())  # no `classes`: float targets are numbers
    with pytest.warns(PoiseWarning, match="label_smoothing had no effect"):
        steps(run, table)


def test_a_decay_at_a_learning_rate_of_zero_is_found(table: Rows) -> None:
    with pytest.warns(PoiseWarning, match="decay had no effect"):
        steps(Recipe(Decay(0.1)).start(mlp()), table, lr=0.0)


def test_a_model_left_in_evaluation_mode_is_found(table: Rows) -> None:
    with pytest.warns(PoiseWarning, match="dropout had no effect.*never called in a training forward pass"):
        steps(Recipe(Dropout(0.5)).start(mlp().eval()), table)


def test_parts_at_neutral_or_that_act_on_occasion_are_not_warned_of(table: Rows) -> None:
    recipe = Recipe(Dropout(0.0), Mixup(0.4, share=0.0), ClipNorm(1e6), MaxNorm(1e6), L2(SwitchOff(0.0, 9, after=0.1)))
    run = steps(recipe.start(mlp(), classes=3), table)
    assert not any(run.acted.values())


def test_the_watch_lets_go_of_the_model(table: Rows) -> None:
    run = steps(Recipe(Dropout(Cosine(0.5, 0.1, 20))).start(mlp()), table)
    layer = run.model[1].poise_dropout
    assert not layer._forward_hooks
    assert not layer.watched


def test_watching_changes_no_result(table: Rows) -> None:
    recipe = Recipe(Dropout(0.5), Mixup(0.4), Decay(0.1), Ema(0.9))
    watched, blind = recipe.start(mlp(), classes=3), recipe.start(mlp(), classes=3)
    blind._watch.left = 0
    for one, two in zip(steps(watched, table).model.parameters(), steps(blind, table).model.parameters(), strict=True):
        assert torch.equal(one, two)
