"""Snapshots: one training run whose learning rate falls again and again, and the networks at the ends of its cycles."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from torch import Tensor

from poise.core.errors import counted
from poise.core.schedule import CosineCycles
from poise.lab.base import Figure
from poise.lab.controls import Control, Preset, Range, Seed, State
from poise.lab.figures.cycles import GRID, STEPS, Course, course, error_of, finished, truth
from poise.lab.scene import Axis, Bars, Dots, Frame, Line, Number, Plot, Role, Rule, Table

__all__ = ["Snapshots"]

_CODE = """\
import torch
from torch import nn
from torch.nn import functional as F

from poise import CosineCycles, Recipe, SnapshotEnsemble
from poise.train.run import TrainingError


def truth(x):
    return torch.sin(3 * x) + 0.5 * x


def train(cycles, seed={seed}):
    generator = torch.Generator().manual_seed(seed)
    x = 4 * torch.rand(24, 1, generator=generator) - 2
    y = truth(x) + 0.4 * torch.randn(x.shape, generator=generator)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))
    steps = 600 // cycles
    run = Recipe(SnapshotEnsemble(cycles=cycles, steps=steps, space="output")).start(model, seed=seed)
    optimizer = torch.optim.SGD(model.parameters(), momentum=0.9)
    rate, batches = CosineCycles({rate!r}, 0.0, steps=steps), torch.Generator().manual_seed(seed + 1)
    try:
        for step in range(cycles * steps):
            optimizer.param_groups[0]["lr"] = float(rate(step))
            rows = torch.randint(24, (8,), generator=batches)
            run.objective(F.mse_loss(run.model(x[rows]), y[rows])).backward()
            run.update(optimizer)
    except TrainingError:
        return None  # diverged
    return run.predictor()


def error(answers):
    return float((answers - truth(grid)).double().square().mean())


grid, nan = torch.linspace(-2, 2, 61)[:, None], float("nan")
found, long = train({cycles}), train(1)
with torch.no_grad():
    answers = [] if found is None else found.answers(grid) if {cycles} > 1 else [found(grid)]
    print("mean error of a snapshot", sum(map(error, answers)) / len(answers) if len(answers) else nan)
    print("error of their mean", error(found(grid)) if found else nan)
    print("error of one long run", error(long(grid)) if long else nan)
"""


class Snapshots(Figure):
    """The learning rate, the losses and the curves of the snapshots, drawn while a network trains."""

    id: ClassVar[str] = "snapshots"
    title: ClassVar[str] = "One run, five networks: their mean errs less than one of them"
    caption: ClassVar[str] = (
        "The learning rate falls to 0 and starts again; at each end a copy of the network is kept. The rate's jumps "
        "throw the network out of one solution, and it settles in another."
    )
    tries: ClassVar[tuple[str, ...]] = (
        "Do more cycles make the mean better? Each is then shorter. Predict, then move the slider.",
        "Is the mean of the snapshots better than one long run of as many steps? Look at several samples.",
        "Which learning rate is too high? The network tells you.",
    )
    presets: ClassVar[tuple[Preset, ...]] = (
        Preset("one cycle", {"cycles": 1}),
        Preset("five cycles", {"cycles": 5}),
        Preset("ten short ones", {"cycles": 10}),
        Preset("small steps", {"cycles": 5, "rate": 0.01}),
        Preset("too high", {"rate": 1.0}),
    )
    streams: ClassVar[bool] = True

    @property
    def controls(self) -> Sequence[Control]:
        return (
            Range("cycles", "Cycles", 1, 10, 5, 1, whole=True, export=5),
            Range("rate", "Learning rate", 0.01, 1.0, 0.1, 8, log=True, help="at the start of each cycle", export=4),
            Seed(export=2),
        )

    def compute(self, state: State) -> Frame:
        cycles, rate, seed = _read(state)
        return _frame(finished(cycles, rate, seed), rate, finished(1, rate, seed))

    def stream(self, state: State) -> Iterator[Frame]:
        cycles, rate, seed = _read(state)
        for found in course(cycles, rate, seed):
            yield _frame(found, rate, None)
        yield self.compute(state)

    def code(self, state: State) -> str:
        cycles, rate, seed = _read(state)
        return _CODE.format(cycles=cycles, rate=rate, seed=seed)

    def describe(self, state: State, frame: Frame) -> str:
        cycles, rate, _ = _read(state)
        each, mean, long = frame.numbers
        if not math.isfinite(mean.value):
            what = "the run diverged" if mean.text == "diverged" else "no snapshot has been taken yet"
            return f"{counted(cycles, 'cycle')} at learning rate {rate:g}: {what}."
        return (
            f"{counted(cycles, 'cycle')} at learning rate {rate:g}: a snapshot's squared error is {each.text} "
            f"on average, that of their mean {mean.text}; one long run of {STEPS} steps has {long.text}."
        )

    def table(self, frame: Frame) -> Table:
        bars = frame.panels[-1]
        assert isinstance(bars, Plot)
        names = dict(bars.x.ticks)
        marks = [mark for mark in bars.marks if isinstance(mark, Bars)]
        rows: list[list[str | float]] = [
            [names[at], value] for mark in marks for at, value in zip(mark.at, mark.value, strict=True)
        ]
        return Table(("network", "squared error against the truth"), rows)


def _read(state: State) -> tuple[int, float, int]:
    return int(state["cycles"]), float(state["rate"]), int(state["seed"])


def _frame(found: Course, rate: float, long: Course | None) -> Frame:
    snapshots = [] if found.answers is None else [error_of(answers) for answers in found.answers]
    nan = math.nan
    each = sum(snapshots) / len(snapshots) if snapshots else nan
    mean = nan if found.mean is None else error_of(found.mean)
    alone = nan if long is None or long.mean is None else error_of(long.mean)
    none, lone = ("diverged" if one is not None and one.failure else "not yet" for one in (found, long))
    numbers = (
        _number("mean error of a snapshot", each, "valid", none),
        _number("error of their mean", mean, "train", none),
        _number("error of one long run", alone, "plain", lone),
    )
    return Frame((_rates(found, rate), _losses(found), _curves(found), _bars(snapshots, mean, alone)), numbers,
                 _notice(found, mean, alone))  # fmt: skip


def _number(label: str, value: float, role: Role, missing: str = "not yet") -> Number:
    return Number(label, value, f"{value:.4f}" if math.isfinite(value) else missing, role)


def _rates(found: Course, rate: float) -> Plot:
    each = STEPS // found.cycles
    schedule = CosineCycles(rate, 0.0, steps=each)
    steps = [min(step, each * found.cycles - 1) for step in range(0, STEPS + 1, 6)]
    now = (found.steps or [0])[-1]
    return Plot(
        "Learning rate",
        Axis("step", 0, STEPS),
        Axis("rate", 0.0, rate * 1.05),
        (
            *(Rule("", x=each * place) for place in range(1, found.cycles + 1)),
            Line("rate", steps, [float(f"{float(schedule(step)):.3g}") for step in steps], "plain"),
            Dots("now", [now], [float(schedule(max(now - 1, 0)))], "train"),
        ),
        height=140,
    )


def _losses(found: Course) -> Plot:
    at = [found.steps.index(end) for end in found.ends()]
    return Plot(
        "Loss on the rows, error against the truth",
        Axis("step", 0, STEPS),
        Axis("squared error", log=True),
        (
            Line("training", found.steps, _three(found.loss)),
            Line("against truth", found.steps, _three(found.error), "valid"),
            Dots("snapshots", found.ends(), _three(found.error[place] for place in at), "valid", "ring"),
        ),
        height=220,
    )


def _curves(found: Course) -> Plot:
    grid = _drawn(GRID)
    # A line for each cycle from the start, empty until it ends: a running figure then sends what is new only.
    answers = [_drawn(one) for one in (() if found.answers is None else found.answers)]
    answers += [[]] * (found.cycles - len(answers))
    mean = [] if found.mean is None else _drawn(found.mean)
    return Plot(
        "The snapshots and their mean",
        Axis("x", -2, 2),
        Axis("y", -3, 3),
        (
            *(
                Line("snapshots" if place == 0 else "", grid[: len(one)], one, "zero", thin=True)
                for place, one in enumerate(answers)
            ),
            Line("truth", grid, _drawn(truth(GRID)), "truth", dashed=True),
            Line("mean", grid[: len(mean)], mean),
        ),
        height=240,
    )


def _three(values: Iterable[float]) -> list[float]:
    return [float(f"{value:.3g}") for value in values]


def _drawn(values: Tensor) -> list[float]:
    return [round(value, 3) for value in values.flatten().tolist()]


def _bars(snapshots: Sequence[float], mean: float, alone: float) -> Plot:
    count = len(snapshots)
    last = [(name, value) for name, value in (("mean", mean), ("long", alone)) if math.isfinite(value)]
    ticks = [*((float(place), str(place)) for place in range(1, count + 1))]
    ticks += [(float(count + 2 * place), name) for place, (name, _) in enumerate(last, 1)]
    roles: dict[str, Role] = {"mean": "train", "long": "zero"}
    return Plot(
        "Error of each snapshot, of their mean, of one long run",
        Axis("", 0.0, count + 5.5, ticks=tuple(ticks)),
        Axis("squared error", 0.0),
        (
            Bars("snapshots", list(range(1, count + 1)), list(snapshots), "valid"),
            *(Bars(name, [count + 2 * place], [value], roles[name]) for place, (name, value) in enumerate(last, 1)),
        ),
        height=200,
    )


def _notice(found: Course, mean: float, alone: float) -> str:
    if found.failure:
        return f"The run broke off at this learning rate: {found.failure}"
    if found.cycles == 1:
        return "One cycle is the usual single run: there is one network and nothing to average. Add cycles."
    if math.isfinite(alone) and mean > alone:
        return (
            "On this sample one long run is better than the mean of the snapshots: short cycles stop early. It happens."
        )
    return ""
