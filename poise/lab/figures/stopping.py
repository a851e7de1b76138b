"""A network that trains while one looks: both errors, the best step, and the step at which patience ends."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor, nn

from poise.core.errors import counted
from poise.core.recipe import Recipe
from poise.lab.base import Figure
from poise.lab.controls import Control, Preset, Range, Seed, State, Toggle
from poise.lab.loss_plot import loss_plot, stop_of
from poise.lab.samples import slopes
from poise.lab.scene import Axis, Frame, Line, Number, Plot, Rule, Table
from poise.train.run import Run
from poise.update import Decay

__all__ = ["Course", "Stopping", "course"]

STEPS, EVERY, BATCH, RATE = 400, 4, 8, 0.003
FRAME = 3  # evaluations between two frames of a stream


@dataclass
class Course:
    """One training, evaluated every 4 steps: both errors so far, and the network at each evaluation."""

    train: list[float]
    valid: list[float]
    networks: list[nn.Module]


def _steps(seed: int, width: int, decay: float) -> Iterator[Course]:
    """Train for 400 steps without stopping; yield the same course, one evaluation longer each time."""
    train, valid = slopes(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 1))
    run: Run = Recipe(*([Decay(decay)] if decay else [])).start(model, seed=seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    order = torch.Generator().manual_seed(seed)
    so_far = Course([], [], [])
    for step in range(STEPS):
        rows = torch.randint(len(train), (BATCH,), generator=order)
        loss = torch.square(model(train.inputs[rows]) - train.targets[rows]).mean()
        run.objective(loss).backward()
        run.update(optimizer)
        if (step + 1) % EVERY == 0:
            with run.evaluation(), torch.no_grad():
                so_far.train.append(_error(model, train.inputs, train.targets))
                so_far.valid.append(_error(model, valid.inputs, valid.targets))
                so_far.networks.append(copy.deepcopy(model))
            yield so_far


def _error(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    return float(torch.square(model(inputs) - targets).mean())


@lru_cache(maxsize=16)
def course(seed: int, width: int, decay: float) -> Course:
    """Return the whole course."""
    return list(_steps(seed, width, decay))[-1]


class Stopping(Figure):
    """Training and validation error over the steps, drawn as the network trains."""

    id: ClassVar[str] = "stopping"
    title: ClassVar[str] = "The error on new rows turns upwards long before the training error stops falling"
    caption: ClassVar[str] = (
        "A small network on 40 rows, evaluated every 4 steps. Training goes on to the end here so that one sees what "
        "stopping spares; `poise.Patience` stops it after so many evaluations without a new best, and gives back the "
        "weights of the best step."
    )
    tries: ClassVar[tuple[str, ...]] = (
        "Set patience to 1. Where does training stop, and what does it miss?",
        "Raise weight decay until the two curves stay together. Is stopping then still worth anything?",
        "Make the network wider: does the best step come sooner or later?",
    )
    presets: ClassVar[tuple[Preset, ...]] = (
        Preset("overfitting", {"width": 64, "patience": 15}),
        Preset("impatient", {"patience": 1}),
        Preset("patient", {"patience": 60}),
        Preset("with weight decay", {"decay": 3.0}),
        Preset("too small to overfit", {"width": 2}),
    )
    streams: ClassVar[bool] = True

    @property
    def controls(self) -> Sequence[Control]:
        return (
            Range("patience", "Patience (evaluations)", 1, 60, 15, 1, whole=True, export=10),
            Range("width", "Hidden units", 2, 128, 64, 4, log=True, whole=True, export=3),
            Range("decay", "Weight decay", 0.1, 20.0, 0.0, 4, log=True, zero=True, export=3),
            Toggle("log", "Logarithmic axis"),
            Seed(export=2),
        )

    def compute(self, state: State) -> Frame:
        return _frame(state, course(int(state["seed"]), int(state["width"]), float(state["decay"])))

    def stream(self, state: State) -> Iterator[Frame]:
        for count, so_far in enumerate(_steps(int(state["seed"]), int(state["width"]), float(state["decay"])), start=1):
            if count % FRAME == 0 or count == STEPS // EVERY:
                yield _frame(state, so_far)

    def table(self, frame: Frame) -> Table:
        panel = frame.panels[0]
        assert isinstance(panel, Plot)
        train, valid = (mark for mark in panel.marks if isinstance(mark, Line))
        rows = [[x, a, b] for x, a, b in zip(train.x, train.y, valid.y, strict=True)]
        return Table(("step", "training error", "validation error"), rows)

    def code(self, state: State) -> str:
        decay = f"poise.Decay({state['decay']!r}), " if state["decay"] else ""
        return f"""\
import torch

import poise
from poise.lab.samples import slopes

train, valid = slopes({state["seed"]})
torch.manual_seed({state["seed"]})
model = torch.nn.Sequential(torch.nn.Linear(8, {state["width"]}), torch.nn.ReLU(), torch.nn.Linear({state["width"]}, 1))
run = poise.Recipe({decay}poise.Patience({state["patience"]})).start(model, seed={state["seed"]})
optimizer = torch.optim.Adam(model.parameters(), lr={RATE})
order = torch.Generator().manual_seed({state["seed"]})


def error(network):
    with torch.no_grad():
        return float(((network(valid.inputs) - valid.targets) ** 2).mean())


for step in range(1, {STEPS} + 1):
    rows = torch.randint(len(train), ({BATCH},), generator=order)
    loss = ((model(train.inputs[rows]) - train.targets[rows]) ** 2).mean()
    run.objective(loss).backward()
    run.update(optimizer)
    if step % {EVERY} == 0:
        with run.evaluation():
            score = error(model)
        if run.stop(score):
            break
best = min(run.history, key=lambda row: row["score"])
print("best step", int(best["step"]))
print("stops at step", step)
print("error at the stop", score)
print("error of the weights given back", error(run.predictor()))
"""

    def describe(self, state: State, frame: Frame) -> str:
        best, last, at_last, back = (number.text for number in frame.numbers)
        patience = f"Patience of {counted(int(state['patience']), 'evaluation')}"
        panel = frame.panels[0]
        assert isinstance(panel, Plot)
        if len([mark for mark in panel.marks if isinstance(mark, Rule)]) == 1:  # the best step's alone
            return (
                f"{patience} has not run out by step {last}, where the validation error is {at_last}; "
                f"the lowest so far is {back} at step {best}."
            )
        return (
            f"{patience} stops training at step {last} with validation error {at_last}, "
            f"and gives back the weights of step {best} with {back}."
        )


def _frame(state: State, so_far: Course) -> Frame:
    best, stop = stop_of(so_far.valid, int(state["patience"]))
    assert best is not None  # the first evaluation is a number: the inputs and the weights are
    last = len(so_far.valid) - 1 if stop is None else stop
    steps = [float(EVERY * (place + 1)) for place in range(len(so_far.valid))]
    valid = slopes(int(state["seed"]))[1]
    with torch.no_grad():
        back = _error(so_far.networks[best], valid.inputs, valid.targets)
    numbers = (
        Number("best step", steps[best], f"{steps[best]:.0f}", "valid"),
        Number("stops at step", steps[last], f"{steps[last]:.0f}", "truth"),
        Number("error at the stop", so_far.valid[last], f"{so_far.valid[last]:.3f}", "valid"),
        Number("error of the weights given back", back, f"{back:.3f}", "valid"),
    )
    log = bool(state["log"])
    plot = loss_plot(
        "Training and validation error",
        (steps, so_far.train),
        (steps, so_far.valid),
        upward="squared error",
        best=steps[best],
        stop=None if stop is None else steps[stop],
        log_y=log,
        limits=(0.01, 5.0) if log else (0.0, 2.5),
        height=320,
    )
    plot = dataclasses.replace(plot, x=Axis("step", 0, STEPS))
    return Frame((plot,), numbers, _notice(so_far, best, stop, steps))


def _notice(so_far: Course, best: int, stop: int | None, steps: Sequence[float]) -> str:
    if len(so_far.valid) < STEPS // EVERY:
        return ""
    lowest = min(range(len(steps)), key=so_far.valid.__getitem__)
    if stop is None:
        return (
            f"Patience never ran out within {STEPS} steps: training ends there, and the best step so far is given back."
        )
    if lowest != best:
        return (
            f"Too impatient: the lowest error of the whole run, {so_far.valid[lowest]:.3f}, comes at step "
            f"{steps[lowest]:.0f}, after the stop."
        )
    return ""
