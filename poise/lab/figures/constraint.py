"""A penalty as a budget: where the rings of the loss first touch the diamond and the disc."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from poise.lab.base import Figure
from poise.lab.controls import Control, Preset, Range, State
from poise.lab.linear import Quadratic, minimum
from poise.lab.scene import Axis, Dots, Frame, Line, Mark, Number, Plot, Shape, Table

__all__ = ["Constraint", "loss_of", "touched", "within"]

DISTANCE = 2.0  # of the loss's minimum from 0
REACH = (-1.6, 2.8)  # of the axes: the minimum is never left of 0 nor below it


def loss_of(angle: float, correlation: float) -> tuple[Tensor, Tensor]:
    """Return the curvature (2, 2) of the loss 1/2 (w - m)' curvature (w - m), and its minimum m (2,)."""
    curvature = torch.tensor([[1.0, correlation], [correlation, 1.0]], dtype=torch.float64)
    turned = math.radians(angle)
    return curvature, DISTANCE * torch.tensor([math.cos(turned), math.sin(turned)], dtype=torch.float64)


def within(
    budget: float, solve: Callable[[Tensor], Tensor], size: Callable[[Tensor], Tensor], most: float
) -> tuple[Tensor, float]:
    """Return the weights of `size` budget and the strength of the penalty that leads to them; 0 if none is needed.

    `solve` maps strengths (K,) to weights (K, 2), `size` those to (K,), which falls as the strength grows and is
    within the budget at `most`.
    """
    low, high = 0.0, most
    found = solve(torch.zeros(1, dtype=torch.float64))[0]
    if float(size(found)) <= budget:
        return found, 0.0
    for _ in range(4):  # each narrows the strength down by a factor of 256
        tried = torch.linspace(low, high, 257, dtype=torch.float64)
        weights = solve(tried)
        first = max(1, int((size(weights) <= budget).to(torch.int64).argmax()))
        found, low, high = weights[first], float(tried[first - 1]), float(tried[first])
    return found, high


@lru_cache(maxsize=64)
def touched(budget: float, angle: float, correlation: float) -> tuple[tuple[Tensor, float], tuple[Tensor, float]]:
    """Return the best weights on the diamond and on the disc, each with its strength."""
    curvature, best = loss_of(angle, correlation)
    whole = torch.eye(3, dtype=torch.float64)  # coordinate 0, the bias, stands apart
    whole[1:, 1:] = curvature
    slope = curvature @ best
    data = Quadratic(whole, torch.cat([torch.zeros(1, dtype=torch.float64), slope]))
    # L1 of the steepest pull leaves nothing; L2 makes the weights shorter than |slope| / strength.
    diamond = within(
        budget, lambda tried: minimum(data, 0.0, tried)[:, 1:], lambda w: w.abs().sum(-1), float(slope.abs().max())
    )
    disc = within(
        budget, lambda tried: minimum(data, tried)[:, 1:], lambda w: w.norm(dim=-1), float(slope.norm()) / budget
    )
    return diamond, disc


class Constraint(Figure):
    """The diamond and the disc."""

    id: ClassVar[str] = "constraint"
    title: ClassVar[str] = "The diamond is touched at its corner, where a weight is zero; the disc has no corners"
    caption: ClassVar[str] = (
        "Two weights, one on each axis. Rings: equal loss, least at the cross. Every penalty has its budget: the sum "
        "of the weights' sizes (L1, the diamond) or their length (L2, the disc). The best weights within the budget "
        "are where a ring first touches the shape (square). They are found as the minimum of the loss with `poise.L1` "
        "or `poise.L2` of just the right strength."
    )
    tries: ClassVar[tuple[str, ...]] = (
        "Turn the minimum through 90 degrees. Over how many of them does the diamond keep one weight at zero?",
        "Make the budget smaller. Does the disc ever give an exact zero?",
    )
    presets: ClassVar[tuple[Preset, ...]] = (
        Preset("a corner", {"angle": 20.0, "budget": 1.0}),
        Preset("an edge", {"angle": 45.0, "budget": 1.5}),
        Preset("correlated", {"angle": 30.0, "correlation": 0.8}),
        Preset("budget to spare", {"angle": 20.0, "budget": 3.0}),
    )

    @property
    def controls(self) -> Sequence[Control]:
        return (
            Range("budget", "Budget", 0.1, 3.0, 1.0, 0.1, export=8),
            Range("angle", "Direction of the minimum (degrees)", 0.0, 90.0, 20.0, 5.0, export=7),
            Range("correlation", "Correlation of the two columns", -0.9, 0.9, 0.0, 0.1, export=5),
        )

    def compute(self, state: State) -> Frame:
        budget = float(state["budget"])
        angle, correlation = float(state["angle"]), float(state["correlation"])
        curvature, best = loss_of(angle, correlation)
        (diamond, l1), (disc, l2) = touched(budget, angle, correlation)
        numbers = (
            Number("L1: first weight", float(diamond[0]), f"{float(diamond[0]):.3f}", "train"),
            Number("L1: second weight", float(diamond[1]), f"{float(diamond[1]):.3f}", "train"),
            Number("L1 strength", l1, f"{l1:.3f}"),
            Number("L2: first weight", float(disc[0]), f"{float(disc[0]):.3f}", "train"),
            Number("L2: second weight", float(disc[1]), f"{float(disc[1]):.3f}", "train"),
            Number("L2 strength", l2, f"{l2:.3f}"),
        )
        corners = Shape("budget of L1", [budget, 0, -budget, 0], [0, budget, 0, -budget])
        turn = torch.linspace(0, 2 * math.pi, 61, dtype=torch.float64)
        round_ = Shape("budget of L2", (budget * turn.cos()).tolist(), (budget * turn.sin()).tolist())
        panels = (
            _panel("L1: the diamond", curvature, best, corners, diamond),
            _panel("L2: the disc", curvature, best, round_, disc),
        )
        spare = [name for name, strength in (("L1", l1), ("L2", l2)) if strength == 0]
        notice = f"The minimum lies within the budget of {' and '.join(spare)}: no penalty is needed." if spare else ""
        return Frame(panels, numbers, notice)

    def table(self, frame: Frame) -> Table:
        rows: list[list[str | float]] = [[number.label, number.value] for number in frame.numbers]
        return Table(("number", "value"), rows)

    def code(self, state: State) -> str:
        strengths = {number.label: number.value for number in self.compute(state).numbers}
        return f"""\
import math

import torch

import poise

curvature = torch.tensor([[1.0, {state["correlation"]!r}], [{state["correlation"]!r}, 1.0]], dtype=torch.float64)
turned = math.radians({state["angle"]!r})
best = 2 * torch.tensor([math.cos(turned), math.sin(turned)], dtype=torch.float64)
x = torch.linalg.cholesky(curvature).T  # two rows whose mean squared error is the loss
y = x @ best
strengths = {{"L1": {strengths["L1 strength"]!r}, "L2": {strengths["L2 strength"]!r}}}
for name, strength in strengths.items():
    model = torch.nn.Linear(2, 1, bias=False, dtype=torch.float64)
    run = poise.Recipe(poise.L1(strength) if name == "L1" else poise.L2(strength)).start(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    for step in range(600):
        run.objective(((model(x)[:, 0] - y) ** 2).mean()).backward()
        run.update(optimizer)
    first, second = model.weight[0].tolist()
    print(f"{{name}}: first weight", first)
    print(f"{{name}}: second weight", second)
    print(f"{{name}} strength", strength)
"""

    def describe(self, state: State, frame: Frame) -> str:
        a, b, l1, c, d, l2 = (number.text for number in frame.numbers)
        return (
            f"Within a budget of {state['budget']:g} the best weights are ({a}, {b}) for L1, as with strength {l1}, "
            f"and ({c}, {d}) for L2, as with strength {l2}."
        )


def _panel(title: str, curvature: Tensor, best: Tensor, shape: Shape, found: Tensor) -> Plot:
    marks: list[Mark] = [shape]
    away = found - best
    touching = math.sqrt(float(away @ curvature @ away))
    values, vectors = torch.linalg.eigh(curvature)
    turn = torch.linspace(0, 2 * math.pi, 49, dtype=torch.float64)
    circle = torch.stack([turn.cos(), turn.sin()])
    outline = vectors @ (circle / values.sqrt()[:, None])
    for share in (0.5, 1.0, 1.4):
        ring = best[:, None] + share * touching * outline
        label = "equal loss" if share == 1.0 else ""
        marks.append(Line(label, ring[0].tolist(), ring[1].tolist(), "valid", thin=share != 1.0, closed=True))
    marks += [
        Dots("least loss", [float(best[0])], [float(best[1])], "valid", "cross"),
        Dots("best within the budget", [float(found[0])], [float(found[1])], "truth", "square"),
    ]
    first, second = (Axis(f"{place} weight", *REACH) for place in ("first", "second"))
    return Plot(title, first, second, marks, height=320, square=True)
