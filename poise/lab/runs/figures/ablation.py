"""What each part of the recipe was worth: left out or alone, with paired intervals and every seed as a dot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from poise.lab.controls import Choice, Control, Preset, State
from poise.lab.runs.figures.base import RunFigure, numbered, opened
from poise.lab.runs.record import RunRecord
from poise.lab.scene import Axis, Frame, Intervals, Mark, Number, Plot, Role, Rule, Table
from poise.study.figures_record import primary
from poise.study.figures_text import MISSING, cut, decimals_for, signed, span
from poise.study.result import Contribution, Interval

__all__ = ["RunAblation"]

ROLES: dict[str, Role] = {"helps": "train", "hurts": "valid"}  # every other verdict is plain


class RunAblation(RunFigure):
    """The change of the validation score when a part is left out, or used alone; the study's own numbers."""

    id: ClassVar[str] = "run-ablation"
    caption: ClassVar[str] = (
        "Right of zero, the part made validation better. Lines are 95 % intervals over retrainings with paired seeds; "
        "each small dot is one seed. An interval that holds zero says: no measurable effect here."
    )
    tries: ClassVar[tuple[str, ...]] = (
        "Which bars exclude zero?",
        "Which part helps alone, but not in company?",
    )
    presets: ClassVar[tuple[Preset, ...]] = (Preset("left out", {}), Preset("alone", {"how": "alone"}))

    def __init__(self, record: RunRecord) -> None:
        super().__init__(record)
        assert record.result is not None
        self.result = record.result
        self.parts = record.result.contributions
        self.metric = primary(record.result)

    @property
    def controls(self) -> Sequence[Control]:
        ways = [("out", "left out of the recipe")]
        ways += [("alone", "alone, against nothing")] if any(one.add_in for one in self.parts) else []
        orders = (("effect", "by effect"), ("name", "by name"))
        how = [Choice("how", "Each part", tuple(ways), "out")] if len(ways) > 1 else []
        return (*how, Choice("sort", "Order", orders, "effect"))

    def claim(self) -> str:
        helped = sum(one.verdict == "helps" for one in self.parts)
        return f"{helped} of {len(self.parts)} parts could not be left out without harm"

    def _rows(self, state: State) -> list[tuple[Contribution, Interval, tuple[float, ...]]]:
        alone = state.get("how", "out") == "alone"
        found = [
            (one, one.add_in, one.add_in_seeds) if alone else (one, one.leave_out, one.leave_out_seeds)
            for one in self.parts
        ]
        known = [(one, item, seeds) for one, item, seeds in found if item is not None]
        if state.get("sort", "effect") == "name":
            return sorted(known, key=lambda row: row[0].part)
        return sorted(known, key=lambda row: -row[1].value if math.isfinite(row[1].value) else math.inf)

    def compute(self, state: State) -> Frame:
        rows = self._rows(state)
        decimals = decimals_for(item for _, item, _ in rows)
        places = [float(len(rows) - 1 - at) for at in range(len(rows))]
        marks: list[Mark] = [Rule("no effect", x=0.0)]
        for role, label in (("train", "helps"), ("valid", "hurts"), ("plain", "no measurable effect")):
            own = [at for at, (one, _, _) in enumerate(rows) if self._role(one, rows[at][1]) == role]
            if own:
                marks.append(
                    Intervals(
                        label,
                        [places[at] for at in own],
                        [rows[at][1].value for at in own],
                        [rows[at][1].low for at in own],
                        [rows[at][1].high for at in own],
                        [[value for value in rows[at][2] if math.isfinite(value)] for at in own],
                        role,  # type: ignore[arg-type]  # one of three roles
                    )
                )
        ticks = tuple((place, cut(one.part, 22)) for place, (one, _, _) in zip(places, rows, strict=True))
        word = "alone" if state.get("how", "out") == "alone" else "left out"
        plot = Plot(
            f"each part {word}",
            Axis(f"change in validation {self.metric.label}; positive: it helped"),
            Axis("", -0.7, len(rows) - 0.3, ticks=ticks),
            marks,
            height=70 + 46 * len(rows),
        )
        numbers: list[Number] = []
        for one, item, _ in rows:
            value = numbered(cut(one.part, 40), item.value, decimals, self._role(one, item))
            text = signed(item.value, decimals) if math.isfinite(item.value) else MISSING
            numbers.append(Number(value.label, value.value, text, value.role))
        return Frame([plot], numbers)

    def _role(self, one: Contribution, item: Interval) -> Role:
        if item is one.leave_out:
            return ROLES.get(one.verdict, "plain")
        return "train" if item.low > 0 else "valid" if item.high < 0 else "plain"

    def describe(self, state: State, frame: Frame) -> str:
        rows = self._rows(state)
        decimals = decimals_for(item for _, item, _ in rows)
        one, item, _ = rows[0]
        clear = sum(item.low > 0 or item.high < 0 for _, item, _ in rows)
        return (
            f"{cut(one.part, 40)} comes first with {signed(item.value, decimals)} ({span(item, decimals)}); "
            f"{clear} of {len(rows)} intervals exclude zero."
        )

    def table(self, frame: Frame) -> Table:
        rows: list[list[str | float]] = []
        for one in self.parts:
            for word, item in (("left out", one.leave_out), ("alone", one.add_in)):
                if item is not None:
                    verdict = one.verdict if word == "left out" else ""
                    rows.append([cut(one.part, 60), word, item.value, item.low, item.high, verdict])
        return Table(("part", "how", "mean", "low", "high", "verdict"), rows)

    def code(self, state: State) -> str:
        field = "add_in" if state.get("how", "out") == "alone" else "leave_out"
        return opened(self.record) + (
            f"for one in result.contributions:\n    if one.{field} is not None:\n"
            f"        print(one.part, one.{field}.value, one.{field}.low, one.{field}.high)\n"
        )
