"""Every weight of a linear model against the strength of a penalty."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from poise.lab.base import Figure
from poise.lab.controls import Control, Preset, Range, Seed, State
from poise.lab.figures.weights import NOISE, ROWS, problem
from poise.lab.linear import minimum
from poise.lab.samples import TRUE_WEIGHTS
from poise.lab.scene import Axis, Dots, Frame, Line, Mark, Number, Plot, Rule, Table

__all__ = ["Path", "paths"]

LOW, HIGH, POINTS = 0.01, 20.0, 34  # ten strengths a decade


def _strengths() -> Tensor:
    return torch.logspace(-2, torch.log10(torch.tensor(HIGH, dtype=torch.float64)).item(), POINTS, dtype=torch.float64)


@lru_cache(maxsize=32)
def paths(seed: int) -> tuple[Tensor, Tensor]:
    """Return the weights (strengths, 16) under L2 and under L1."""
    data, strengths = problem(seed), _strengths()
    return minimum(data, strengths)[:, 1:], minimum(data, 0.0, strengths)[:, 1:]


class Path(Figure):
    """The regularization path of L2 and of L1."""

    id: ClassVar[str] = "path"
    title: ClassVar[str] = "As the strength grows, L2's weights fade together and L1's leave one by one"
    caption: ClassVar[str] = (
        "The same 40 rows as above. Each line is one weight from a weak penalty (left) to a strong one (right): those "
        "whose true value is zero are grey and dashed. The upright line is the strength of the slider."
    )
    tries: ClassVar[tuple[str, ...]] = (
        "Which weight does L1 give up last? Is it the largest true one?",
        "At which strength has L1 sent every grey line to zero? What has it done to the others by then?",
    )
    presets: ClassVar[tuple[Preset, ...]] = (
        Preset("weak", {"strength": 0.05}),
        Preset("medium", {"strength": 1.0}),
        Preset("strong", {"strength": 6.0}),
    )

    @property
    def controls(self) -> Sequence[Control]:
        return (Range("strength", "Strength of either", LOW, HIGH, 1.0, 10, log=True, export=34), Seed())

    def compute(self, state: State) -> Frame:
        strength, seed = float(state["strength"]), int(state["seed"])
        data = problem(seed)
        ridge, lasso = minimum(data, strength)[1:], minimum(data, 0.0, strength)[1:]
        zeros = [int((own == 0).sum()) for own in (ridge, lasso)]
        size = [float(own.abs().amax()) for own in (ridge, lasso)]
        numbers = (
            Number("zeros with L2", zeros[0], f"{zeros[0]} of 16", "zero"),
            Number("zeros with L1", zeros[1], f"{zeros[1]} of 16", "zero"),
            Number("largest weight with L2", size[0], f"{size[0]:.3f}", "train"),
            Number("largest weight with L1", size[1], f"{size[1]:.3f}", "train"),
        )
        panels = [
            _panel(name, along, now, strength)
            for name, along, now in zip(("L2", "L1"), paths(seed), (ridge, lasso), strict=True)
        ]
        return Frame(panels, numbers)

    def table(self, frame: Frame) -> Table:
        now = [panel.marks[-1] for panel in frame.panels if isinstance(panel, Plot)]
        values = [mark.y for mark in now if isinstance(mark, Dots)]
        rows = [[column, *own] for column, own in enumerate(zip(*values, TRUE_WEIGHTS, strict=True), start=1)]
        return Table(("column", "L2", "L1", "true weight"), rows)

    def code(self, state: State) -> str:
        return f"""\
import torch

import poise
from poise.lab.samples import columns

x, y = columns({ROWS}, {NOISE}, seed={state["seed"]})
zeros, largest = {{}}, {{}}
for part in (poise.L2({state["strength"]!r}), poise.L1({state["strength"]!r})):
    model = torch.nn.Linear(16, 1, dtype=torch.float64)
    run = poise.Recipe(part).start(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    for step in range(700):
        run.objective(((model(x)[:, 0] - y) ** 2).mean()).backward()
        run.update(optimizer)
    name = type(part).__name__
    zeros[name], largest[name] = int((model.weight == 0).sum()), float(model.weight.detach().abs().max())
for name, count in zeros.items():
    print("zeros with", name, count)
for name, weight in largest.items():
    print("largest weight with", name, weight)
"""

    def describe(self, state: State, frame: Frame) -> str:
        of_l2, of_l1, size_l2, size_l1 = (number.text for number in frame.numbers)
        return (
            f"At strength {state['strength']:.3g} L2 has set {of_l2} weights to zero and its largest is {size_l2}; "
            f"L1 has set {of_l1} to zero and its largest is {size_l1}."
        )


def _panel(name: str, along: Tensor, now: Tensor, strength: float) -> Plot:
    strengths = _strengths().tolist()
    marks: list[Mark] = []
    for column in sorted(range(16), key=lambda place: TRUE_WEIGHTS[place] != 0):
        matters = TRUE_WEIGHTS[column] != 0
        line = Line("", strengths, along[:, column].tolist(), "train" if matters else "zero", not matters, thin=True)
        marks.append(line)
    marks.append(Rule(f"{strength:.3g}", x=strength, role="plain"))
    marks.append(Dots("each weight at this strength", [strength] * 16, now.tolist(), "train"))
    x = Axis(f"{name} strength", LOW, HIGH, log=True)
    return Plot(f"{name} alone", x, Axis("weight", -4, 4), marks, height=260)
