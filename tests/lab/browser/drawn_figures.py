"""Figures for the tests of the page, as a chapter: two that draw all there is, one that is slow and one that plays."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import final

from drawn_marks import Marks
from drawn_panels import Others

from poise.lab.base import Figure
from poise.lab.controls import Control, Range, State, Toggle
from poise.lab.scene import (
    Axis,
    Frame,
    Line,
    Number,
    Plot,
    Rule,
)
from poise.lab.section import Section, Show

__all__ = ["CHAPTER", "FIGURES", "Marks", "Others", "Slow", "Training"]


@final
class Slow(Figure):
    """Takes its time."""

    id = "slow"
    title = "The newest value lands, however slow the figure"

    @property
    def controls(self) -> Sequence[Control]:
        return (Range("value", "Value", 0, 100, 0, 1, whole=True), Toggle("fails", "Fails"))

    def compute(self, state: State) -> Frame:
        time.sleep(0.12)
        if state["fails"]:
            raise RuntimeError("on purpose")
        value = int(state["value"])
        return Frame(
            [Plot("", Axis("x", 0, 1), Axis("y", 0, 100), [Line("value", [0, 1], [value, value])])],
            [Number("value", value, str(value))],
        )

    def code(self, state: State) -> str:
        return f"print({state['value']})\n"

    def describe(self, state: State, frame: Frame) -> str:
        return f"The value is {frame.numbers[0].text}."


@final
class Training(Figure):
    """A run that plays."""

    id = "training"
    title = "A run is drawn while it trains"
    streams = True

    @property
    def controls(self) -> Sequence[Control]:
        return (Range("steps", "Steps", 5, 400, 40, 1, whole=True),)

    def stream(self, state: State) -> Iterator[Frame]:
        steps = int(state["steps"])
        for count in range(1, steps + 1):
            x = list(range(count + 1))
            train = [math.exp(-at / 12) for at in x]
            valid = [math.exp(-at / 9) + 0.0006 * at**1.4 + 0.1 for at in x]
            best = min(x, key=lambda at: valid[at])
            plot = Plot(
                "",
                Axis("step", 0, steps),
                Axis("loss", 0, 1.2),
                [Line("train", x, train), Line("validation", x, valid, "valid"), Rule(f"best step {best}", x=best)],
            )
            yield Frame([plot], [Number("step", count, str(count))])

    def compute(self, state: State) -> Frame:
        return list(self.stream(state))[-1]

    def code(self, state: State) -> str:
        return f"print({state['steps']})\n"

    def describe(self, state: State, frame: Frame) -> str:
        return f"{frame.numbers[0].text} steps were taken."


FIGURES = {figure.id: figure for figure in (Marks, Others, Slow, Training)}
CHAPTER = (
    Section(
        "drawing",
        "Everything that is drawn comes from Python",
        (
            "A paragraph with *stress* and `code`. Set the power to [3](#marks.power=3&marks.band=false).",
            Show("marks"),
            "The other panels follow.",
            Show("others"),
        ),
    ),
    Section("moving", "Slow and moving figures stay calm", ("Words between.", Show("slow"), Show("training"))),
)
