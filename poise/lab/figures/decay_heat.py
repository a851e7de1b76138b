"""A penalty in the gradient against decoupled decay, over learning rate and strength: one population for each map."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from poise.core.recipe import Recipe
from poise.core.regularizer import Regularizer
from poise.core.schedule import Cosine
from poise.lab.base import Figure
from poise.lab.controls import Choice, Control, Preset, Range, State
from poise.lab.samples import bumps
from poise.lab.scene import Axis, Dots, Frame, Heat, Line, Mark, Number, Plot, Role, Table
from poise.objective import L2
from poise.train.losses import SquaredError
from poise.train.optimizers import Adam, Sgd
from poise.train.population import Population
from poise.update import Decay

__all__ = ["RATES", "RECORD", "STRENGTHS", "DecayHeat", "measured", "record"]

RATES = tuple(10 ** (place / 4 - 3.5) for place in range(13))  # four learning rates a decade
STRENGTHS = tuple(10 ** (place / 2 - 3) for place in range(11))  # two a decade
SETS, ROWS, STEPS, WIDTH = 4, 40, 200, 16
KINDS: dict[str, tuple[Regularizer, str]] = {"L2": (L2(0.1), "l2.weight"), "decay": (Decay(0.1), "decay.rate")}
ROLES: dict[str, Role] = {"L2": "train", "decay": "valid"}
OPTIMIZERS = {"adam": Adam(), "sgd": Sgd()}
RECORD = Path(__file__).with_name("data") / "decay_heat.json"  # written by `python tools/lab_data.py decay_heat`
WORST = 2.4  # of the error's colour scale: twice a good error


def measured(
    sample: int, optimizer: str, kind: str, rates: Sequence[float], strengths: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Train a network for each rate, strength and training set, all in one population.

    Return the squared error on new rows and the length of all weights, means over the sets. Shapes: (rates,
    strengths); what diverged is inf.
    """
    part, dial = KINDS[kind]
    train, new = bumps(sample, SETS)
    cells = torch.cartesian_prod(torch.tensor(rates), torch.tensor(strengths), torch.arange(float(SETS)))
    sets = cells[:, 2].long()
    population = Population(
        lambda: nn.Sequential(nn.Linear(8, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1)),
        Recipe(part),
        SquaredError(),
        lr=cells[:, 0].double(),
        dials={dial: cells[:, 1]},
        members=sets.tolist(),
        seed=sample,
        optimizer=OPTIMIZERS[optimizer],
        schedule=Cosine(1.0, 0.0, STEPS),
    )
    population.train(train, STEPS, ROWS, sets[:, None] * ROWS + torch.arange(ROWS))
    scores = population.evaluate(new, lambda outputs, batch: torch.square(outputs - batch.targets).mean((1, 2)))
    sizes = torch.stack([w.flatten(1).square().sum(1) for name, w in population.weights().items() if "weight" in name])
    shape = (len(rates), len(strengths), SETS)
    return scores.view(shape).mean(-1), sizes.sum(0).sqrt().view(shape).mean(-1)


def record() -> None:
    """Measure every map and write the record that the figure reads: half a minute of one core."""
    maps: dict[str, Any] = {}
    for sample in range(3):
        for optimizer in OPTIMIZERS:
            for kind in KINDS:
                both = measured(sample, optimizer, kind, RATES, STRENGTHS)
                for what, values in zip(("error", "size"), both, strict=True):
                    rows = [[float(f"{v:.5g}") if math.isfinite(v) else None for v in row] for row in values.T.tolist()]
                    maps[f"{sample}/{optimizer}/{kind}/{what}"] = rows
    RECORD.write_text(json.dumps(maps, separators=(",", ":")) + "\n", encoding="utf-8")


@lru_cache(maxsize=1)
def _recorded() -> Mapping[str, list[list[float]]]:
    maps = json.loads(RECORD.read_text(encoding="utf-8"))
    return {name: [[math.nan if v is None else v for v in row] for row in rows] for name, rows in maps.items()}


class DecayHeat(Figure):
    """Two maps of the error over learning rate and strength."""

    id: ClassVar[str] = "decay_heat"
    title: ClassVar[str] = "Under Adam, an L2 penalty and weight decay of the same strength are two different things"
    caption: ClassVar[str] = (
        "Each cell is the mean of four small networks trained for 200 steps; 572 networks a map, in one population of "
        "the library, recorded beforehand. In the first map the penalty is part of the gradient; in the second, decay "
        "shrinks the weights beside it. Framed: the best strength at each learning rate; crossed cells diverged."
    )
    tries: ClassVar[tuple[str, ...]] = (
        "Switch to plain gradient descent, without Adam: how will the two maps differ?",
        "Take the best L2 strength under Adam and use it as decay. What does the cut say you would get?",
    )
    presets: ClassVar[tuple[Preset, ...]] = (
        Preset("Adam", {"optimizer": "adam"}),
        Preset("plain gradient descent", {"optimizer": "sgd", "rate": 0.1}),
        Preset("size of the weights", {"show": "size"}),
        Preset("another sample", {"sample": "1"}),
    )

    @property
    def controls(self) -> Sequence[Control]:
        return (
            Choice("optimizer", "Optimizer", (("adam", "Adam"), ("sgd", "plain gradient descent")), "adam"),
            Choice("show", "Colour", (("error", "error on new rows"), ("size", "size of the weights")), "error"),
            Range("rate", "Learning rate of the cut", RATES[0], RATES[-1], RATES[6], 4, log=True, export=13),
            Choice("sample", "Sample", tuple((str(place), str(place)) for place in range(3)), "0"),
        )

    def compute(self, state: State) -> Frame:
        column = _column(float(state["rate"]))
        what = str(state["show"])
        maps = {kind: _map(state, kind, what) for kind in KINDS}
        errors = {kind: _map(state, kind, "error") for kind in KINDS}
        numbers: list[Number] = []
        for kind, role in ROLES.items():
            error, row = _lowest(errors[kind], column)
            numbers += [
                Number(f"best {kind} strength", STRENGTHS[row], f"{STRENGTHS[row]:.3g}", role),
                Number(f"error with {kind}", error, f"{error:.3f}", role),
            ]
        high = WORST if what == "error" else 12.0
        panels = (
            _heat("L2 in the gradient", maps["L2"], errors["L2"], what, high),
            _heat("Decay beside the gradient", maps["decay"], errors["decay"], what, high),
            _cut(maps, column, what, high),
        )
        return Frame(panels, numbers, _notice(errors, column))

    def table(self, frame: Frame) -> Table:
        heats = [panel for panel in frame.panels if isinstance(panel, Heat)]
        rows: list[list[str | float]] = [
            [heat.title, float(f"{strength:.3g}"), *row]
            for heat in heats
            for strength, row in zip(STRENGTHS, heat.values, strict=True)
        ]
        return Table(("map", "strength", *(f"rate {rate:.2g}" for rate in RATES)), rows)

    def code(self, state: State) -> str:
        rate = RATES[_column(float(state["rate"]))]
        return f"""\
import torch

import poise
from poise.core.schedule import Cosine
from poise.lab.samples import bumps
from poise.train.losses import SquaredError
from poise.train.optimizers import Adam, Sgd
from poise.train.population import Population

train, new = bumps({state["sample"]}, sets=4)  # four training sets of 40 rows
strengths = torch.tensor([10 ** (place / 2 - 3) for place in range(11)]).repeat_interleave(4)
sets = torch.arange(4).repeat(11)
for name, part, dial in (("L2", poise.L2(), "l2.weight"), ("decay", poise.Decay(), "decay.rate")):
    population = Population(
        lambda: torch.nn.Sequential(torch.nn.Linear(8, {WIDTH}), torch.nn.ReLU(), torch.nn.Linear({WIDTH}, 1)),
        poise.Recipe(part),
        SquaredError(),
        lr=[{rate!r}] * 44,
        dials={{dial: strengths}},
        members=sets.tolist(),
        seed={state["sample"]},
        optimizer={"Adam()" if state["optimizer"] == "adam" else "Sgd()"},
        schedule=Cosine(1.0, 0.0, {STEPS}),
    )
    population.train(train, {STEPS}, {ROWS}, rows=sets[:, None] * {ROWS} + torch.arange({ROWS}))
    errors = population.evaluate(new, lambda outputs, batch: (outputs - batch.targets).square().mean((1, 2)))
    error, best = errors.view(11, 4).mean(1).min(0)
    print(f"best {{name}} strength", float(strengths[4 * best]))
    print(f"error with {{name}}", float(error))
"""

    def describe(self, state: State, frame: Frame) -> str:
        strength, error, rate, other = (number.text for number in frame.numbers)
        name = {"adam": "Adam", "sgd": "plain gradient descent"}[str(state["optimizer"])]
        return (
            f"With {name} at learning rate {RATES[_column(float(state['rate']))]:.3g} the best L2 strength is "
            f"{strength} (error {error}), the best decay {rate} (error {other})."
        )


def _column(rate: float) -> int:
    return min(range(len(RATES)), key=lambda place: abs(math.log(RATES[place] / rate)))


def _lowest(errors: list[list[float]], column: int) -> tuple[float, int]:
    """Return the lowest error of a column and its row; every column has a cell that did not diverge."""
    return min((rows[column], row) for row, rows in enumerate(errors) if math.isfinite(rows[column]))


def _map(state: State, kind: str, what: str) -> list[list[float]]:
    return _recorded()[f"{state['sample']}/{state['optimizer']}/{kind}/{what}"]


def _heat(title: str, values: list[list[float]], errors: list[list[float]], what: str, high: float) -> Heat:
    marked = [(column, _lowest(errors, column)[1]) for column in range(len(RATES))]
    x = Axis("learning rate", ticks=tuple((float(place), f"{RATES[place]:.2g}") for place in range(2, 13, 4)))
    y = Axis("strength", ticks=tuple((float(place), f"{STRENGTHS[place]:.3g}") for place in range(0, 11, 2)))
    low = 1.0 if what == "error" else 0.0
    label = "squared error on new rows" if what == "error" else "length of all weights"
    return Heat(title, x, y, values, label, low, high, marked=marked)


def _cut(maps: Mapping[str, list[list[float]]], column: int, what: str, high: float) -> Plot:
    marks: list[Mark] = []
    for kind, role in ROLES.items():
        values = [row[column] for row in maps[kind]]
        drawn = [min(value, high) if math.isfinite(value) else math.nan for value in values]
        marks += [
            Line(kind, STRENGTHS, drawn, role, dashed=kind == "decay"),
            Dots("", STRENGTHS, drawn, role, "dot" if kind == "L2" else "square"),
        ]
    low = 1.0 if what == "error" else 0.0
    y = Axis("error on new rows" if what == "error" else "size of the weights", low, high)
    return Plot(
        f"The cut at learning rate {RATES[column]:.2g}",
        Axis("strength", STRENGTHS[0], STRENGTHS[-1], log=True),
        y,
        marks,
    )


def _notice(errors: Mapping[str, list[list[float]]], column: int) -> str:
    lost = [kind for kind in KINDS if any(not math.isfinite(row[column]) for row in errors[kind])]
    if not lost:
        return ""
    return (
        "At this learning rate the strongest settings diverged (crossed): once rate x strength is above 2, each step "
        "throws the weights further out than they were. Lower one of the two."
    )
