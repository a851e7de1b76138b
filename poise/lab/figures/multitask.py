"""One task learned alone, or together with others that are more or less like it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from poise.core.errors import counted
from poise.core.interval import Interval
from poise.core.recipe import Recipe
from poise.diagnosis.curves import over_seeds
from poise.lab.base import Figure
from poise.lab.controls import Choice, Control, Preset, Range, State
from poise.lab.scene import Axis, Band, Dots, Frame, Intervals, Line, Number, Plot, Role, Rule, Table
from poise.network import MultiTask
from poise.objective import TaskLosses
from poise.train.population import Population, Rows

__all__ = ["CELLS", "STORE", "MultiTaskFigure", "measured", "stored"]

STORE = Path(__file__).parent / "data" / "multitask.json"  # written by `python tools/lab_data.py multitask`
SEEDS = 24  # networks a cell, each with its own rows and first weights
RELATED = (0.0, 0.25, 0.5, 0.75, 1.0)
HELPERS = (1, 3)
LABELS = (15, 30, 60, 120)
WIDTHS = (3, 12)
CELLS = [(r, h, n, w) for r in RELATED for h in HELPERS for n in LABELS for w in WIDTHS]  # what is stored
INPUTS, FEATURES, MORE, STEPS, NOISE = 8, 3, 200, 400, 0.3
TEST = 1000


def _world(related: float, rows: int) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
    """Return inputs, the noisy labels of four tasks, test inputs and the main task's truth on them.

    Each task weighs three hidden features; those of a helper are `related` times the main task's directions and
    sqrt(1 - related^2) times directions of its own.
    """
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    common, own = normal(FEATURES, INPUTS), normal(4, FEATURES, INPUTS)
    weights = normal(4, FEATURES)
    weights = 1.5 * weights / weights.norm(dim=1, keepdim=True)
    x, test = normal(rows, INPUTS), normal(TEST, INPUTS)
    noise = NOISE * normal(4, rows, 1)

    def task(number: int, inputs: Tensor) -> Tensor:
        apart = (1 - related**2) ** 0.5
        directions = common if number == 0 else related * common + apart * own[number]
        labels: Tensor = torch.tanh(inputs @ directions.T / 2**0.5) @ weights[number][:, None]
        return labels

    return x, [task(number, x) + noise[number] for number in range(4)], test, task(0, test)


def measured(related: float, helpers: int, labels: int, width: int) -> tuple[list[float], list[float]]:
    """Return the main task's squared error alone and together, for each of 24 seeds: two populations of the library.

    Every network has `labels` rows with the main label; together, 200 more have the helpers' labels only.
    """
    count = labels + MORE
    x, y, test, right = _world(related, SEEDS * count)
    rows = torch.arange(SEEDS * count).reshape(SEEDS, count)
    known = y[0].clone()
    known[rows[:, labels:].flatten()] = torch.nan  # a missing label
    errors = []
    for names, own in ((["main"], rows[:, :labels]), (["main", *"abc"[:helpers]], rows)):
        targets = {name: known if place == 0 else y[place] for place, name in enumerate(names)}
        population = Population(
            lambda names=names: MultiTask(  # type: ignore[misc]  # bound now, as the loop goes on
                nn.Sequential(nn.Linear(INPUTS, width), nn.Tanh()), {name: nn.Linear(width, 1) for name in names}
            ),
            Recipe(),
            TaskLosses(dict.fromkeys(names, "numbers")),  # type: ignore[arg-type]  # of outputs by task
            lr=[0.01] * SEEDS,
        )
        population.train(Rows(x, targets), STEPS, 64, own)
        found = population.outputs(test)["main"]
        errors.append((found - right).square().double().mean((1, 2)).tolist())
    return errors[0], errors[1]


@lru_cache(maxsize=1)
def stored() -> dict[tuple[float, int, int, int], tuple[list[float], list[float]]]:
    """Return what `measured` gave for every cell; written by `python tools/lab_data.py`."""
    record = json.loads(STORE.read_text(encoding="utf-8"))
    return {tuple(cell["cell"]): (cell["alone"], cell["together"]) for cell in record["cells"]}


class MultiTaskFigure(Figure):
    """Error alone against error together, over how related the tasks are; 24 networks a point."""

    id: ClassVar[str] = "multitask"
    title: ClassVar[str] = "Related tasks act as data; unrelated ones hurt a narrow network"
    caption: ClassVar[str] = (
        "A task with few labels is learned alone, or by one trunk with helper tasks that have 200 rows more. Bands and "
        "bars are 95 % intervals over 24 networks, each with rows of its own."
    )
    tries: ClassVar[tuple[str, ...]] = (
        "Do unrelated helpers still hurt if the trunk is wide? Predict, then choose 12 units.",
        "With 15 labels, how related must the helpers be before they help? And with 120?",
        "Is one related helper as good as three?",
    )
    presets: ClassVar[tuple[Preset, ...]] = (
        Preset("related", {"related": 1.0}),
        Preset("unrelated", {"related": 0.0}),
        Preset("few labels", {"labels": "15", "related": 1.0}),
        Preset("many labels, unrelated", {"labels": "120", "related": 0.0}),
        Preset("wide trunk, unrelated", {"width": "12", "related": 0.0}),
    )

    @property
    def controls(self) -> Sequence[Control]:
        return (
            Range("related", "How related", 0.0, 1.0, 1.0, 0.25, help="1: the helpers use the same features"),
            Choice("labels", "Labels of the task", tuple((str(n), str(n)) for n in LABELS), "60"),
            Choice("helpers", "Helper tasks", tuple((str(n), str(n)) for n in HELPERS), "3"),
            Choice("width", "Units that all share", (("3", "3, narrow"), ("12", "12, wide")), "3"),
        )

    def compute(self, state: State) -> Frame:
        related, helpers, labels, width = _read(state)
        line = {value: _summary(*stored()[value, helpers, labels, width]) for value in RELATED}
        alone, together, gain = line[related]
        verdict = "helps" if gain.low > 0 else "hurts" if gain.high < 0 else "no measurable effect"
        role: Role = {"helps": "train", "hurts": "valid"}.get(verdict, "zero")  # type: ignore[assignment]
        return Frame(
            panels=(_errors(line, related), _gains(line, related)),
            numbers=(
                Number("error alone", alone.value, f"{alone.value:.4f}", "valid"),
                Number("error together", together.value, f"{together.value:.4f}", "train"),
                Number("gain", gain.value, f"{gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f}): {verdict}", role),
            ),
            notice="The interval of the gain holds 0: from 24 networks one cannot tell whether it helps or hurts."
            if verdict == "no measurable effect"
            else "",
        )

    def code(self, state: State) -> str:
        return _CODE.format(**dict(zip(("related", "helpers", "labels", "width"), _read(state), strict=True)))

    def describe(self, state: State, frame: Frame) -> str:
        related, helpers, labels, width = _read(state)
        alone, together, gain = frame.numbers
        return (
            f"With {labels} labels, a trunk of {width} units and {counted(helpers, 'helper task')} of "
            f"relatedness {related:g}, the squared error is {alone.text} alone and {together.text} together; gain "
            f"{gain.text}."
        )

    def table(self, frame: Frame) -> Table:
        errors = frame.panels[0]
        assert isinstance(errors, Plot)
        lines = [mark for mark in errors.marks if isinstance(mark, Line)]
        rows = [list(row) for row in zip(lines[0].x, *(line.y for line in lines), strict=True)]
        return Table(("related", *(line.label for line in lines)), rows)


_CODE = """\
import torch
from torch import nn

from poise import MultiTask, Recipe, TaskLosses
from poise.train.population import Population, Rows

related, helpers, labels, width, seeds = {related}, {helpers}, {labels}, {width}, 24
generator = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=generator)


count = labels + 200  # the last 200 rows have the helpers' labels only
common, own, weights = normal(3, 8), normal(4, 3, 8), normal(4, 3)
weights = 1.5 * weights / weights.norm(dim=1, keepdim=True)
x, test, noise = normal(seeds * count, 8), normal(1000, 8), 0.3 * normal(4, seeds * count, 1)


def task(number, inputs):
    features = common if number == 0 else related * common + (1 - related**2) ** 0.5 * own[number]
    return torch.tanh(inputs @ features.T / 2**0.5) @ weights[number][:, None]


rows = torch.arange(seeds * count).reshape(seeds, count)
y = [task(number, x) + noise[number] for number in range(4)]
y[0][rows[:, labels:].flatten()] = torch.nan  # a missing label


def errors(names, rows):
    def build():
        trunk = nn.Sequential(nn.Linear(8, width), nn.Tanh())
        return MultiTask(trunk, {{name: nn.Linear(width, 1) for name in names}})

    losses = TaskLosses(dict.fromkeys(names, "numbers"))
    population = Population(build, Recipe(), losses, lr=[0.01] * seeds)
    population.train(Rows(x, dict(zip(names, y))), 400, 64, rows)
    return (population.outputs(test)["main"] - task(0, test)).square().double().mean((1, 2))


alone = errors(["main"], rows[:, :labels])
together = errors(["main", *"abc"[:helpers]], rows)
print("error alone", float(alone.mean()))
print("error together", float(together.mean()))
print("gain", float((alone - together).mean()))
"""


def _read(state: State) -> tuple[float, int, int, int]:
    related = min(RELATED, key=lambda value: abs(value - float(state["related"])))
    return related, int(state["helpers"]), int(state["labels"]), int(state["width"])


def _summary(alone: Sequence[float], together: Sequence[float]) -> tuple[Interval, Interval, Interval]:
    """Return both errors and the gain, paired by seed, with 95 % intervals."""
    found = [over_seeds(np.array(values)) for values in (alone, together, np.subtract(alone, together))]
    return found[0], found[1], found[2]


def _errors(line: dict[float, tuple[Interval, Interval, Interval]], related: float) -> Plot:
    x = list(line)
    marks: list[Band | Line | Dots | Rule] = [Rule("chosen", x=related, role="plain")]
    for place, (name, role) in enumerate((("alone", "valid"), ("together", "train"))):
        found = [values[place] for values in line.values()]
        marks.append(Band("", x, [one.low for one in found], [one.high for one in found], role))  # type: ignore[arg-type]
        marks.append(Line(name, x, [one.value for one in found], role))  # type: ignore[arg-type]
        marks.append(Dots("", x, [one.value for one in found], role, "dot" if place else "square"))  # type: ignore[arg-type]
    return Plot(
        "Squared error of the task",
        Axis("how related the helpers are", 0.0, 1.0),
        Axis("squared error", 0.0),
        marks,
        height=260,
    )


def _gains(line: dict[float, tuple[Interval, Interval, Interval]], related: float) -> Plot:
    marks: list[Rule | Intervals] = [Rule("no difference", x=0.0)]
    for at, (value, (_, _, gain)) in enumerate(line.items()):
        marks.append(
            Intervals(
                "chosen" if value == related else "",
                [float(at)],
                [gain.value],
                [gain.low],
                [gain.high],
                role="train" if gain.low > 0 else "valid" if gain.high < 0 else "zero",
            )
        )
    return Plot(
        "Gain: error alone less error together",
        Axis("gain; right of 0 the helpers help"),
        Axis("related", -0.6, len(line) - 0.4, ticks=tuple((float(at), f"{value:g}") for at, value in enumerate(line))),
        marks,
        height=220,
    )
