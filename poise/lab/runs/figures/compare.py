"""Two runs side by side: their losses, their scores, their parts and their recipes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from poise.lab.controls import Control, Range, State, Toggle
from poise.lab.loss_plot import smoothed, thinned
from poise.lab.runs.figures.base import RunFigure, choice_of, chosen, opened
from poise.lab.runs.figures.loss import RunLoss, facts_of
from poise.lab.runs.record import Curves, RunRecord
from poise.lab.scene import Axis, Frame, Intervals, Line, Mark, Number, Plot, Role, Rule, Table
from poise.study.figures_record import named
from poise.study.figures_text import cut, decimals_for, number, span
from poise.study.result import Interval, Metric

__all__ = ["CompareLoss", "CompareRecipes", "CompareScores", "comparable"]

ROLES: tuple[Role, Role] = ("train", "valid")  # of the first and the second run


def names_of(first: RunRecord, second: RunRecord) -> tuple[str, str]:
    """Return two names that differ: with their places where the names are equal."""
    one, two = cut(first.name, 28), cut(second.name, 28)
    return (one, two) if one != two else (f"A: {cut(first.place, 40)}", f"B: {cut(second.place, 40)}")


def comparable(first: RunRecord, second: RunRecord) -> list[str]:
    """Return the metrics that both studies report."""
    if first.result is None or second.result is None:
        return []
    own = {gap.metric for gap in first.result.after}
    return [gap.metric for gap in second.result.after if gap.metric in own]


class CompareLoss(RunFigure):
    """The validation losses of two runs on one axis."""

    id: ClassVar[str] = "compare-loss"
    caption: ClassVar[str] = (
        "Solid lines are validation, dashed ones training; the vertical lines stand at each best step."
    )

    def __init__(self, first: RunRecord, second: RunRecord) -> None:
        super().__init__(first, second)
        self.names = names_of(first, second)
        both = [RunLoss(one).curves for one in (first, second)]
        own = [{one.name: one for one in curves} for curves in both]
        self.pairs: list[tuple[str, tuple[Curves, Curves]]] = [
            (name, (own[0][name], own[1][name])) for name in own[0] if name in own[1]
        ]
        self.pairs.reverse() if first.kind == "study" else None  # the recipe's network before the one without
        if not self.pairs and both[0] and both[1]:
            self.pairs = [("loss", (both[0][0], both[1][0]))]

    @property
    def controls(self) -> Sequence[Control]:
        options = [(str(at), name) for at, (name, _) in enumerate(self.pairs)]
        return (
            *choice_of("measure", "Measure", options),
            Range("smoothing", "Smoothing", 0.0, 0.98, 0.0, 0.02, help="Weight of the past", export=4),
            Toggle("train", "Training too"),
            Toggle("log_x", "Log steps"),
            Toggle("log_y", "Log loss"),
        )

    def claim(self) -> str:
        if not self.pairs:
            return "These two runs share no measure"
        values = [facts_of(one)[1] for one in self.pairs[0][1]]
        if not all(math.isfinite(value) for value in values):
            return "The losses of two runs"
        low = 0 if (values[0] < values[1]) == self.pairs[0][1][0].lower_is_better else 1
        return f"{self.names[low]} reaches the better validation loss"

    def compute(self, state: State) -> Frame:
        if not self.pairs:
            return Frame([], [], "One of the runs has no losses of the other's kind to compare.")
        name, pair = self.pairs[chosen(state, "measure")]
        marks: list[Mark] = []
        numbers: list[Number] = []
        for title, role, one in zip(self.names, ROLES, pair, strict=True):
            if state["train"]:
                marks += self._line(f"{title}, training", one.train, role, state, dashed=True)
            marks += self._line(title, one.valid, role, state)
            best, lowest, _ = facts_of(one)
            if best is not None:
                marks.append(Rule("", x=best, role=role))
                if math.isfinite(lowest):
                    numbers.append(Number(f"best, {title}", lowest, f"{lowest:.4g}", role))
                numbers.append(Number(f"at {one.across}, {title}", best, f"{best:,.6g}", role))
        plot = Plot(
            name, Axis(pair[0].across, log=bool(state["log_x"])), Axis("loss", log=bool(state["log_y"])), marks, 320
        )
        return Frame([plot], numbers)

    def _line(
        self,
        label: str,
        points: tuple[Sequence[float], Sequence[float]],
        role: Role,
        state: State,
        dashed: bool = False,
    ) -> list[Mark]:
        kept = [at for at, place in enumerate(points[0]) if place > 0 or not state["log_x"]]
        y = [points[1][at] if points[1][at] > 0 or not state["log_y"] else math.nan for at in kept]
        y = smoothed(y, float(state["smoothing"])) if float(state["smoothing"]) > 0 else y
        drawn = thinned(y)
        if not drawn:
            return []
        return [Line(label, [points[0][kept[at]] for at in drawn], [y[at] for at in drawn], role, dashed, thin=dashed)]

    def describe(self, state: State, frame: Frame) -> str:
        if not self.pairs:
            return frame.notice
        told = []
        for title, one in zip(self.names, self.pairs[chosen(state, "measure")][1], strict=True):
            best, value, _ = facts_of(one)
            told.append(
                f"{title} has no validation" if best is None else f"{title} at {one.across} {best:,.6g}: {value:.4g}"
            )
        return f"Best on validation: {'; '.join(told)}."

    def code(self, state: State) -> str:
        sources = [record.source for record in self.records]
        return (
            f"import poise.lab\n\nfigure = poise.lab.figure('compare-loss', *{sources!r})\n"
            "for number in figure.frame().numbers:\n    print(number.label, number.value)\n"
        )


class CompareScores(RunFigure):
    """Gap and test score of two studies on the metrics that both report."""

    id: ClassVar[str] = "compare-scores"
    caption: ClassVar[str] = "Each study's network with its own recipe. Lines are 95 % intervals over rows."

    def __init__(self, first: RunRecord, second: RunRecord) -> None:
        super().__init__(first, second)
        self.names = names_of(first, second)
        self.metrics = comparable(first, second)

    @property
    def controls(self) -> Sequence[Control]:
        return choice_of("metric", "Metric", [(str(at), self._metric(at).label) for at in range(len(self.metrics))])

    def _metric(self, at: int) -> Metric:
        assert self.record.result is not None
        return named(self.record.result, self.metrics[at])

    def _items(self, at: int) -> list[tuple[str, list[tuple[str, Interval]]]]:
        found = []
        for title, record in zip(self.names, self.records, strict=True):
            assert record.result is not None
            gap = next(one for one in record.result.after if one.metric == self.metrics[at])
            found.append((title, [("train", gap.train), ("test", gap.test), ("gap", gap.gap)]))
        return found

    def claim(self) -> str:
        metric = self._metric(0)
        tests = [dict(items)["test"] for _, items in self._items(0)]
        if tests[0].low <= tests[1].high and tests[1].low <= tests[0].high:
            return f"On test {metric.label}, the two studies cannot be told apart"
        low = 0 if (tests[0].value < tests[1].value) == metric.lower_is_better else 1
        return f"{self.names[low]} is better on test {metric.label}"

    def compute(self, state: State) -> Frame:
        at = chosen(state, "metric")
        metric, items = self._metric(at), self._items(at)
        decimals = decimals_for(item for _, own in items for _, item in own)
        words = [word for word, _ in items[0][1]]
        marks: list[Mark] = []
        numbers: list[Number] = []
        for (title, own), role, shift in zip(items, ROLES, (0.14, -0.14), strict=True):
            places = [len(own) - 1 - place + shift for place in range(len(own))]
            middle, low, high = ([getattr(item, key) for _, item in own] for key in ("value", "low", "high"))
            marks.append(Intervals(title, places, middle, low, high, role=role))
            numbers += [
                Number(f"{word}, {title}", item.value, number(item.value, decimals), role) for word, item in own
            ]
        ticks = tuple((float(len(words) - 1 - place), word) for place, word in enumerate(words))
        better = "lower" if metric.lower_is_better else "higher"
        plot = Plot(
            f"{metric.label}, {better} is better", Axis(metric.label), Axis("", -0.6, 2.6, ticks=ticks), marks, 260
        )
        rows = {record.result.rows.get("test") for record in self.records if record.result is not None}
        notice = "" if len(rows) == 1 else "The studies have test parts of different sizes: compare with care."
        return Frame([plot], numbers, notice)

    def describe(self, state: State, frame: Frame) -> str:
        at = chosen(state, "metric")
        items = self._items(at)
        decimals = decimals_for(item for _, own in items for _, item in own)
        told = []
        for title, own in items:
            test, gap = dict(own)["test"], dict(own)["gap"]
            told.append(f"{title} has {number(test.value, decimals)} ({span(test, decimals)}) and a gap of "
                        f"{number(gap.value, decimals)}")  # fmt: skip
        return f"On test {self._metric(at).label}, {'; '.join(told)}."

    def code(self, state: State) -> str:
        name = self.metrics[chosen(state, "metric")]
        return "".join(
            opened(record) + "for gap in result.after:\n"
            f"    if gap.metric == {name!r}:\n        print(gap.train.value, gap.test.value, gap.gap.value)\n\n"
            for record in self.records
        )


class CompareRecipes(RunFigure):
    """What was chosen, and what each part was worth, in both studies."""

    id: ClassVar[str] = "compare-recipes"
    caption: ClassVar[str] = "The dials of each study's best network, and each part's worth when it was left out."

    def __init__(self, first: RunRecord, second: RunRecord) -> None:
        super().__init__(first, second)
        self.names = names_of(first, second)

    @property
    def controls(self) -> Sequence[Control]:
        return ()

    def claim(self) -> str:
        own = [set(self._parts(record)) for record in self.records]
        return f"The two recipes share {len(own[0] & own[1])} of {len(own[0] | own[1])} parts"

    def _parts(self, record: RunRecord) -> dict[str, tuple[float, str]]:
        assert record.result is not None
        return {one.part: (one.leave_out.value, one.verdict) for one in record.result.contributions}

    def compute(self, state: State) -> Frame:
        parts = [self._parts(record) for record in self.records]
        rows: list[list[str | float]] = []
        for name in dict.fromkeys([*parts[0], *parts[1]]):
            told = [f"{own[name][0]:+.3g} ({own[name][1]})" if name in own else "not in the recipe" for own in parts]
            rows.append([cut(name, 40), *told])
        table = Table(("part", *self.names), rows, "worth of each part, when left out")
        counts = [
            Number(f"parts, {name}", len(own), str(len(own))) for name, own in zip(self.names, parts, strict=True)
        ]
        notice = "" if rows else "Neither study measured its parts: there was no time, or the recipes are empty."
        return Frame([table] if rows else [], counts, notice)

    def describe(self, state: State, frame: Frame) -> str:
        return self.claim() + "."

    def code(self, state: State) -> str:
        return "".join(opened(record) + "print(len(result.contributions))\n\n" for record in self.records)
