"""The gap before and after, and the arms on the test part, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from poise.lab.controls import Control, State
from poise.lab.runs.figures.base import RunFigure, choice_of, chosen, numbered, opened
from poise.lab.runs.record import RunRecord
from poise.lab.scene import Axis, Frame, Intervals, Line, Mark, Number, Plot, Role, Rule, Table
from poise.study.figures_record import named
from poise.study.figures_text import cut, decimals_for, number, span
from poise.study.result import Gap, Interval, Metric, StudyResult

__all__ = ["RunArms", "RunGap", "metric_names"]

SIDES = (("before", "no regularizer"), ("after", "recipe found"))
PARTS: tuple[tuple[str, Role], ...] = (("train", "train"), ("validation", "valid"), ("test", "plain"))


def metric_names(result: StudyResult) -> list[tuple[str, str]]:
    """Return (place, label) of each metric that a network was scored by."""
    names = dict.fromkeys([metric.name for metric in result.metrics] + [gap.metric for gap in result.after])
    return [(str(at), named(result, name).label) for at, name in enumerate(names)]


class RunGap(RunFigure):
    """Train, validation and test of the network without a regularizer and of the one with the recipe found."""

    id: ClassVar[str] = "run-gap"
    caption: ClassVar[str] = (
        "The bar from train to test is the gap. Lines through the dots are 95 % intervals over rows."
    )
    tries: ClassVar[tuple[str, ...]] = ("Did the recipe make the training score worse to make the test score better?",)

    def __init__(self, record: RunRecord) -> None:
        super().__init__(record)
        assert record.result is not None
        self.result = record.result
        self.names = list(dict.fromkeys(gap.metric for gap in (*self.result.before, *self.result.after)))

    @property
    def controls(self) -> Sequence[Control]:
        options = [(str(at), named(self.result, name).label) for at, name in enumerate(self.names)]
        return choice_of("metric", "Metric", options)

    def _gaps(self, state: State) -> tuple[Metric, list[tuple[str, str, Gap]]]:
        name = self.names[chosen(state, "metric")]
        found = {"before": self.result.before, "after": self.result.after}
        gaps = [(side, words, gap) for side, words in SIDES for gap in found[side] if gap.metric == name]
        return named(self.result, name), gaps

    def claim(self) -> str:
        metric, gaps = self._gaps({})
        told = {side: number(gap.gap.value, _decimals(gaps)) for side, _, gap in gaps}
        if len(told) < 2:
            return f"The gap in {metric.label}"
        return f"The gap in {metric.label} went from {told['before']} to {told['after']}"

    def compute(self, state: State) -> Frame:
        metric, gaps = self._gaps(state)
        decimals = _decimals(gaps)
        rows = {side: float(len(gaps) - 1 - at) for at, (side, _, _) in enumerate(gaps)}
        marks: list[Mark] = [
            Line("gap" if at == 0 else "", [gap.train.value, gap.test.value], [rows[side]] * 2, "zero")
            for at, (side, _, gap) in enumerate(gaps)
        ]
        for (part, role), shift in zip(PARTS, (0.16, 0.0, -0.16), strict=True):
            items: list[Interval] = [getattr(gap, part) for _, _, gap in gaps]
            at = [rows[side] + shift for side, _, _ in gaps]
            marks.append(_intervals(part, at, items, role))
        ticks = tuple((rows[side], words) for side, words, _ in gaps)
        first = Plot(
            f"{metric.label}, {'lower' if metric.lower_is_better else 'higher'} is better",
            Axis(metric.label),
            Axis("", -0.6, len(gaps) - 0.4, ticks=ticks),
            marks,
            height=90 + 85 * len(gaps),
        )
        over: list[Interval] = [gap.gap_over_seeds or gap.gap for _, _, gap in gaps]
        second = Plot(
            "the gap alone",
            Axis(f"test worse than train by, in {metric.label}"),
            Axis("", -0.6, len(gaps) - 0.4, ticks=ticks),
            [
                Rule("no gap", x=0.0),
                _intervals("over rows", [rows[side] + 0.1 for side, _, _ in gaps], [gap.gap for _, _, gap in gaps]),
                _intervals("over seeds", [rows[side] - 0.1 for side, _, _ in gaps], over, "plain"),
            ],
            height=80 + 60 * len(gaps),
        )
        numbers: list[Number] = []
        for side, _, gap in gaps:
            numbers.append(numbered(f"gap {side}", gap.gap.value, decimals, "train"))
            numbers.append(numbered(f"test {side}", gap.test.value, decimals))
        notice = "" if len(gaps) == 2 else "Only one of the two networks was scored: the study ended before the other."
        return Frame([first, second], numbers, notice)

    def describe(self, state: State, frame: Frame) -> str:
        metric, gaps = self._gaps(state)
        decimals = _decimals(gaps)
        told = [
            f"with {'the ' * (side == 'after')}{words}, {metric.label} is {number(gap.train.value, decimals)} on "
            f"train and {number(gap.test.value, decimals)} on test, a gap of {number(gap.gap.value, decimals)} "
            f"({span(gap.gap, decimals)})"
            for side, words, gap in gaps
        ]
        text = "; ".join(told) + "."
        return text[:1].upper() + text[1:]

    def code(self, state: State) -> str:
        name = self.names[chosen(state, "metric")]
        return opened(self.record) + (
            "for side in ('before', 'after'):\n"
            "    for gap in getattr(result, side):\n"
            f"        if gap.metric == {name!r}:\n"
            "            print('gap', side, gap.gap.value)\n            print('test', side, gap.test.value)\n"
        )

    def table(self, frame: Frame) -> Table:
        rows: list[list[str | float]] = []
        for side, gaps in (("before", self.result.before), ("after", self.result.after)):
            for gap in gaps:
                for part in ("train", "validation", "test", "gap"):
                    item: Interval = getattr(gap, part)
                    rows.append([side, cut(gap.metric, 60), part, item.value, item.low, item.high])
        return Table(("network", "metric", "part", "value", "low", "high"), rows)


def _intervals(label: str, at: Sequence[float], items: Sequence[Interval], role: Role = "train") -> Intervals:
    return Intervals(
        label,
        at,
        [item.value for item in items],
        [item.low for item in items],
        [item.high for item in items],
        role=role,
    )


def _decimals(gaps: Sequence[tuple[str, str, Gap]]) -> int:
    return decimals_for(item for _, _, gap in gaps for item in (gap.train, gap.validation, gap.test))


class RunArms(RunFigure):
    """Every arm's score on the test part, which no choice had used."""

    id: ClassVar[str] = "run-arms"
    caption: ClassVar[str] = (
        "Scores on the test part, which no choice had used. Where two lines overlap, chance on these rows could have "
        "put the arms in another order."
    )

    def __init__(self, record: RunRecord) -> None:
        super().__init__(record)
        assert record.result is not None
        self.result = record.result
        self.names = list(dict.fromkeys(score.metric for arm in self.result.arms for score in arm.scores))

    @property
    def controls(self) -> Sequence[Control]:
        options = [(str(at), named(self.result, name).label) for at, name in enumerate(self.names)]
        return choice_of("metric", "Metric", options)

    def _scores(self, state: State) -> tuple[Metric, list[tuple[str, Interval]]]:
        name = self.names[chosen(state, "metric")]
        metric = named(self.result, name)
        found = [(arm.name, score.value) for arm in self.result.arms for score in arm.scores if score.metric == name]
        sign = 1 if metric.lower_is_better else -1
        return metric, sorted(found, key=lambda pair: sign * pair[1].value)

    def claim(self) -> str:
        metric, scores = self._scores({})
        decimals = decimals_for(item for _, item in scores)
        return f"Best on test: {cut(scores[0][0], 40)}, {metric.label} {number(scores[0][1].value, decimals)}"

    def compute(self, state: State) -> Frame:
        metric, scores = self._scores(state)
        decimals = decimals_for(item for _, item in scores)
        at = [float(len(scores) - 1 - place) for place in range(len(scores))]
        ticks = tuple((place, cut(name, 24)) for place, (name, _) in zip(at, scores, strict=True))
        plot = Plot(
            f"test {metric.label}, {'lower' if metric.lower_is_better else 'higher'} is better",
            Axis(metric.label),
            Axis("", -0.6, len(scores) - 0.4, ticks=ticks),
            [
                _intervals("best", at[:1], [item for _, item in scores[:1]], "train"),
                _intervals("others", at[1:], [item for _, item in scores[1:]], "plain"),
            ],
            height=60 + 44 * len(scores),
        )
        return Frame([plot], [numbered(cut(name, 40), item.value, decimals) for name, item in scores])

    def describe(self, state: State, frame: Frame) -> str:
        metric, scores = self._scores(state)
        decimals = decimals_for(item for _, item in scores)
        name, top = scores[0]
        near = sum(item.low <= top.high and top.low <= item.high for _, item in scores[1:])
        said = f"its interval overlaps that of {near} of the other {len(scores) - 1}"
        return f"{cut(name, 40)} has the best test {metric.label}, {number(top.value, decimals)}; {said}."

    def code(self, state: State) -> str:
        name = self.names[chosen(state, "metric")]
        return opened(self.record) + (
            "for arm in result.arms:\n    for score in arm.scores:\n"
            f"        if score.metric == {name!r}:\n            print(arm.name, score.value.value)\n"
        )
