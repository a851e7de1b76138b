"""How strong each part should be: the change of the score over a dial's range, all else as found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from poise.lab.controls import Choice, Control, State
from poise.lab.runs.figures.base import RunFigure, opened
from poise.lab.runs.record import RunRecord
from poise.lab.scene import Axis, Band, Dots, Frame, Line, Mark, Number, Plot, Rule, Table
from poise.study.figures_record import primary
from poise.study.figures_text import cut, decimals_for, listing, signed
from poise.study.result import Strength

__all__ = ["RunStrength"]

MOST = 12  # small multiples at once


class RunStrength(RunFigure):
    """Each swept dial: the validation score against the recipe's own, with paired intervals; below zero is better."""

    id: ClassVar[str] = "run-strength"
    caption: ClassVar[str] = (
        "Each curve moves one dial and leaves the rest of the recipe as found. Below zero the score is better than the "
        "recipe's; the band is a 95 % interval over retrainings with paired seeds."
    )
    tries: ClassVar[tuple[str, ...]] = ("Which dial may be anything without harm?",)

    def __init__(self, record: RunRecord) -> None:
        super().__init__(record)
        assert record.result is not None
        self.strengths = record.result.strengths
        self.metric = primary(record.result)

    @property
    def controls(self) -> Sequence[Control]:
        options = [("all", "all dials"), *((str(at), cut(one.dial, 40)) for at, one in enumerate(self.strengths))]
        return (Choice("dial", "Dial", tuple(options), "all"),) if len(self.strengths) > 1 else ()

    def claim(self) -> str:
        flat = sum(all(item.low <= 0 <= item.high for item in one.change) for one in self.strengths)
        return f"The score moves measurably with {len(self.strengths) - flat} of {len(self.strengths)} dials"

    def _drawn(self, state: State) -> Sequence[Strength]:
        at = state.get("dial", "all")
        return self.strengths[:MOST] if at == "all" else self.strengths[int(at) :][:1]

    def compute(self, state: State) -> Frame:
        drawn = self._drawn(state)
        decimals = decimals_for(item for one in drawn for item in one.change)
        numbers: list[Number] = []
        for one in drawn:
            at = min(range(len(one.change)), key=lambda place: one.change[place].value)
            best = one.change[at].value
            numbers.append(Number(f"{cut(one.dial, 40)}, lowest", best, signed(best, decimals), "train"))
        return Frame([self._plot(one, small=len(drawn) > 1) for one in drawn], numbers)

    def _plot(self, one: Strength, *, small: bool) -> Plot:
        places, ticks = _places(one)
        changes = one.change
        marks: list[Mark] = [
            Band("95 %", places, [item.low for item in changes], [item.high for item in changes]),
            Line("change", places, [item.value for item in changes]),
            Rule("recipe", y=0.0, role="zero"),
        ]
        held = [place for place, value in zip(places, one.values, strict=True) if value == one.chosen]
        if held:
            marks.append(Dots("chosen", held[:1], [0.0], "truth", "diamond"))
        upward = f"change in {self.metric.label}"
        return Plot(cut(one.dial, 40), Axis("", log=one.log, ticks=ticks), Axis(upward), marks, 190, small=small)

    def describe(self, state: State, frame: Frame) -> str:
        groups: dict[bool, list[str]] = {True: [], False: []}
        for one in self._drawn(state):
            groups[any(item.low > 0 or item.high < 0 for item in one.change)].append(one.dial)
        told = []
        if groups[True]:
            told.append(f"The score moves measurably with {listing(groups[True])}")
        if groups[False]:
            told.append(f"{listing(groups[False])} may be anything in this range without measurable harm")
        return "; ".join(told) + "."

    def table(self, frame: Frame) -> Table:
        rows: list[list[str | float]] = [
            [cut(one.dial, 60), value, item.value, item.low, item.high, "chosen" if value == one.chosen else ""]
            for one in self.strengths
            for value, item in zip(one.values, one.change, strict=True)
        ]
        return Table(("dial", "value", "change", "low", "high", ""), rows)

    def code(self, state: State) -> str:
        names = [one.dial for one in self._drawn(state)]
        return opened(self.record) + (
            f"for one in result.strengths:\n    if one.dial in {names!r}:\n"
            "        best = min(one.change, key=lambda item: item.value)\n        print(one.dial, best.value)\n"
        )


def _places(one: Strength) -> tuple[list[float], tuple[tuple[float, str], ...]]:
    """Return where the values stand: a 0 has no logarithm and gets a place of its own, half a decade below."""
    positive = [value for value in one.values if value > 0]
    if not one.log or len(positive) == len(one.values) or not positive:
        return list(one.values), ()
    zero = min(positive) / 10**0.5
    low, high = math.ceil(math.log10(min(positive)) - 1e-9), math.floor(math.log10(max(positive)) + 1e-9)
    decades = [10.0**power for power in range(low, high + 1)] or [min(positive), max(positive)]
    ticks = ((zero, "0"), *((value, f"{value:g}") for value in decades))
    return [value if value > 0 else zero for value in one.values], ticks
