"""Figures for the tests of the server: one to move, one to play, and several that go wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import final

from poise.lab.base import Figure
from poise.lab.controls import Control, Preset, Range, Seed, State, Toggle
from poise.lab.scene import Axis, Bars, Frame, Line, Number, Plot
from poise.lab.section import Section, Show

__all__ = ["CHAPTER", "FIGURES"]


@final
class Powers(Figure):
    id = "powers"
    title = "A power grows faster than a line"
    caption = "The curve is x to the chosen power."
    tries = ("What is the value at 2 for power 3?",)
    presets = (Preset("cube", {"power": 3.0}),)

    @property
    def controls(self) -> Sequence[Control]:
        return (Range("power", "Power", 0, 8, 2.0, 0.5), Toggle("log", "Logarithmic"), Seed())

    def compute(self, state: State) -> Frame:
        power = float(state["power"])
        x = [0.1 + index / 50 for index in range(100)]
        line = Line(f"x^{power:g}", x, [value**power for value in x])
        plot = Plot("The power", Axis("x"), Axis("y", log=bool(state["log"])), [line])
        return Frame([plot], [Number("at 2", 2.0**power, f"{2.0**power:.3f}")])

    def code(self, state: State) -> str:
        return f"print(2.0 ** {state['power']})\n"

    def describe(self, state: State, frame: Frame) -> str:
        return f"At 2 the curve has the value {frame.numbers[0].text}."


@final
class Counting(Figure):
    """A run of 40 frames."""

    id = "counting"
    title = "Counting reaches its end"
    streams = True

    @property
    def controls(self) -> Sequence[Control]:
        return (Range("end", "End", 1, 400, 40, 1, whole=True),)

    def stream(self, state: State) -> Iterator[Frame]:
        for count in range(1, int(state["end"]) + 1):
            bars = Bars("count", [0.0], [float(count)])
            yield Frame(
                [Plot("The count", Axis("", ticks=((0, "count"),)), Axis("n"), [bars])],
                [Number("n", count, str(count))],
            )

    def compute(self, state: State) -> Frame:
        return list(self.stream(state))[-1]

    def code(self, state: State) -> str:
        return f"print({state['end']})\n"

    def describe(self, state: State, frame: Frame) -> str:
        return f"The count is {frame.numbers[0].text}."


@final
class Trouble(Figure):
    """Fails as its state says."""

    id = "trouble"
    title = "Failures are told in words"

    @property
    def controls(self) -> Sequence[Control]:
        return (
            Toggle("raises", "Raises"),
            Toggle("eats", "Takes too much memory"),
            Toggle("dies", "Ends its process"),
            Toggle("writes", "Has a NaN that JSON does not know"),
            Range("sleeps", "Takes seconds", 0, 60, 0, 0.1),
            Range("size", "Has so many letters", 0, 1e7, 0, 1, whole=True),
        )

    def compute(self, state: State) -> Frame:
        import os

        if state["raises"]:
            raise RuntimeError("<script>on purpose</script>")
        if state["eats"]:
            import torch

            torch.ones(10**10)
        if state["dies"]:
            os._exit(3)
        time.sleep(float(state["sleeps"]))
        texts = ((0.0, float("nan")),) if state["writes"] else ()
        return Frame(
            [Plot("Nothing", Axis("x", ticks=texts), Axis("y"), [])], [Number("process", os.getpid(), str(os.getpid()))]
        )  # type: ignore[arg-type]

    def code(self, state: State) -> str:
        return "print(0)\n"

    def describe(self, state: State, frame: Frame) -> str:
        return "a" * int(state["size"]) + f"Nothing happened for {state['sleeps']} s."


FIGURES = {figure.id: figure for figure in (Powers, Counting, Trouble)}
CHAPTER = (
    Section(
        "powers-first", "Powers first", ("A *power* and <b>text</b>.", Show("powers"), "More: [cube](#powers.power=3).")
    ),
    Section("then-counting", "Then counting", (Show("counting"),)),
)
