"""The weights of one linear model under L2, under L1, and under both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from poise.lab.base import Figure
from poise.lab.controls import Control, Preset, Range, Seed, State, Toggle
from poise.lab.linear import Quadratic, minimum
from poise.lab.samples import NEW, TRUE_WEIGHTS, columns
from poise.lab.scene import Axis, Bars, Dots, Frame, Mark, Number, Plot, Table

__all__ = ["NOISE", "ROWS", "Weights", "problem", "with_constant"]

ROWS = 40  # of training
NEW_ROWS = 400  # of the same law, for the error on new rows
NOISE = 2.0  # deviation of the targets from the true line
PLACES = tuple(float(place) for place in range(1, len(TRUE_WEIGHTS) + 1))


def with_constant(inputs: Tensor) -> Tensor:
    """Return the columns with a 1 before them."""
    return torch.cat([torch.ones_like(inputs[:, :1]), inputs], 1)


@lru_cache(maxsize=64)
def problem(seed: int) -> Quadratic:
    """Return the squared error on the training rows of a sample."""
    inputs, targets = columns(ROWS, NOISE, seed)
    return Quadratic.of(with_constant(inputs), targets)


class Weights(Figure):
    """Bars for fitted weights, rings for the true ones."""

    id: ClassVar[str] = "weights"
    title: ClassVar[str] = "L2 shrinks the weights and keeps them all, L1 sets weights to exactly zero"
    caption: ClassVar[str] = (
        "A linear model of 16 columns, of which six matter, trained on 40 rows under three recipes. Bars: fitted "
        "weights; rings: true ones; crosses: weights that are exactly zero. The bars are the minimum of the library's "
        "objective, where training ends; the zeros are made by the threshold of `poise.L1`."
    )
    tries: ClassVar[tuple[str, ...]] = (
        "Set L1 to 0.05. Ten of the true weights are zero: does L1 find all ten?",
        "Raise L2 as far as it goes. Is any weight exactly zero?",
        "Columns 5 and 6 nearly tell the same. Which of the three recipes treats them alike?",
    )
    presets: ClassVar[tuple[Preset, ...]] = (
        Preset("none", {"l1": 0.0, "l2": 0.0}),
        Preset("ridge", {"l1": 0.0, "l2": 2.0}),
        Preset("lasso", {"l1": 1.0, "l2": 0.0}),
        Preset("elastic net", {"l1": 0.8, "l2": 0.5}),
        Preset("all zero", {"l1": 20.0, "l2": 0.0}),
    )

    @property
    def controls(self) -> Sequence[Control]:
        return (
            Range("l2", "L2 strength", 0.01, 20.0, 1.0, 10, log=True, zero=True, export=8),
            Range("l1", "L1 strength", 0.01, 20.0, 1.0, 10, log=True, zero=True, export=8),
            Toggle("truth", "Show the true weights", start=True),
            Seed(),
        )

    def compute(self, state: State) -> Frame:
        l2, l1, seed = float(state["l2"]), float(state["l1"]), int(state["seed"])
        data = problem(seed)
        ridge, lasso, both = minimum(data, l2), minimum(data, 0.0, l1), minimum(data, l2, l1)
        new_inputs, new_targets = columns(NEW_ROWS, NOISE, seed + NEW)
        new = [
            float(torch.square(with_constant(new_inputs) @ own - new_targets).mean().sqrt())
            for own in (ridge, lasso, both)
        ]
        zeros = [int((own[1:] == 0).sum()) for own in (ridge, lasso, both)]
        count = len(TRUE_WEIGHTS)
        numbers = (
            Number("zeros with L2", zeros[0], f"{zeros[0]} of {count}", "zero"),
            Number("zeros with L1", zeros[1], f"{zeros[1]} of {count}", "zero"),
            Number("zeros with both", zeros[2], f"{zeros[2]} of {count}", "zero"),
            Number("error on new rows, L2", new[0], f"{new[0]:.3f}", "valid"),
            Number("error on new rows, L1", new[1], f"{new[1]:.3f}", "valid"),
            Number("error on new rows, both", new[2], f"{new[2]:.3f}", "valid"),
        )
        shows = bool(state["truth"])
        most = max(4.0, *(float(own[1:].abs().amax()) for own in (ridge, lasso, both)))
        panels = (
            _bars(f"L2 of {l2:.3g}", ridge, shows, most),
            _bars(f"L1 of {l1:.3g}", lasso, shows, most),
            _bars("both: elastic net", both, shows, most),
        )
        return Frame(panels, numbers, _notice(l2, l1, zeros))

    def table(self, frame: Frame) -> Table:
        fitted = [
            mark.value
            for panel in frame.panels
            if isinstance(panel, Plot)
            for mark in panel.marks[:1]
            if isinstance(mark, Bars)
        ]
        rows = [[place, *own] for place, own in zip(PLACES, zip(*fitted, TRUE_WEIGHTS, strict=True), strict=True)]
        return Table(("column", "L2", "L1", "both", "true weight"), rows)

    def code(self, state: State) -> str:
        recipes = {
            "L2": f"poise.L2({state['l2']!r})",
            "L1": f"poise.L1({state['l1']!r})",
            "both": f"poise.L2({state['l2']!r}), poise.L1({state['l1']!r})",
        }
        listed = "\n".join(f'    "{name}": poise.Recipe({parts}),' for name, parts in recipes.items())
        return f"""\
import torch

import poise
from poise.lab.samples import NEW, columns

x, y = columns({ROWS}, {NOISE}, seed={state["seed"]})
new_x, new_y = columns({NEW_ROWS}, {NOISE}, seed={state["seed"]} + NEW)
recipes = {{
{listed}
}}
zeros, errors = {{}}, {{}}
for name, recipe in recipes.items():
    model = torch.nn.Linear(16, 1, dtype=torch.float64)
    run = recipe.start(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    for step in range(700):
        run.objective(((model(x)[:, 0] - y) ** 2).mean()).backward()
        run.update(optimizer)
    with torch.no_grad():
        zeros[name] = int((model.weight == 0).sum())
        errors[name] = float(((model(new_x)[:, 0] - new_y) ** 2).mean().sqrt())
for name, count in zeros.items():
    print("zeros with", name, count)
for name, error in errors.items():
    print(f"error on new rows, {{name}}", error)
"""

    def describe(self, state: State, frame: Frame) -> str:
        of_l2, of_l1, of_both = (number.text for number in frame.numbers[:3])
        errors = ", ".join(number.text for number in frame.numbers[3:])
        return (
            f"L2 of strength {state['l2']:g} sets {of_l2} weights to exactly zero, L1 of strength {state['l1']:g} "
            f"sets {of_l1}, both together {of_both}; their errors on new rows: {errors}."
        )


def _bars(title: str, weights: Tensor, shows: bool, most: float) -> Plot:
    own = weights[1:]
    marks: list[Mark] = [Bars("fitted", PLACES, own.tolist(), "train", crossed=(own == 0).tolist())]
    if shows:
        marks.append(Dots("true", PLACES, TRUE_WEIGHTS, "truth", "ring"))
    ceiling = float(math.ceil(most))
    ticks = tuple((place, f"{place:.0f}") for place in PLACES[::3])
    return Plot(
        title, Axis("column", 0.3, 16.7, ticks=ticks), Axis("weight", -ceiling, ceiling), marks, height=220, small=True
    )


def _notice(l2: float, l1: float, zeros: Sequence[int]) -> str:
    if zeros[1] == len(TRUE_WEIGHTS):
        return (
            "L1 is so strong that no weight is worth its price: the model answers the mean, whatever the columns say."
        )
    if l1 == 0 and l2 == 0:
        return "Both strengths are 0: all three panels show plain least squares."
    return ""
