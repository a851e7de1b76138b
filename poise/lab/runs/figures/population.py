"""The networks that a search trained: each one's dials and score, and its losses as it trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from poise.lab.controls import Choice, Control, Preset, Range, State
from poise.lab.loss_plot import loss_plot
from poise.lab.runs.figures.base import RunFigure, opened
from poise.lab.runs.record import RunRecord
from poise.lab.scene import Axis, Dots, Frame, Line, Mark, Number, Panel, Parallel, Plot, Role, Table
from poise.study.course import Losses
from poise.study.figures_record import primary
from poise.study.figures_search import best_trial
from poise.study.figures_text import cut
from poise.study.result import Metric, Trial

__all__ = ["RunPopulation", "metric_of"]

MOST_DIALS = 7  # axes beside the score; more are unreadable
MOST_LINES = 400
MOST_DOTS = 3000
MOST_SMALL = 24  # small multiples
DECADES = 20  # a dial whose values span this factor is drawn on a log axis


def metric_of(record: RunRecord) -> Metric:
    """Return the metric that the search minimises; of a study that runs, what its course says."""
    if record.result is not None:
        return primary(record.result)
    label = str(record.facts.get("metric", "score"))
    return Metric(label, label, bool(record.facts.get("lower_is_better", True)), True)


class RunPopulation(RunFigure):
    """All trials at once as parallel coordinates, in order, against a dial, or as small multiples of their losses."""

    id: ClassVar[str] = "run-population"
    caption: ClassVar[str] = (
        "Each line is one network of the search: its dials and, last, its validation score. The best ones stand out. "
        "The best of many is flattered by chance; the test part tells what it is worth."
    )
    tries: ClassVar[tuple[str, ...]] = (
        "Which dials do the best networks share?",
        "Where do the best networks disagree, so that the dial hardly matters?",
    )
    presets: ClassVar[tuple[Preset, ...]] = (
        Preset("dials of the best", {}),
        Preset("in order", {"view": "order"}),
        Preset("their losses", {"view": "losses"}),
    )

    def __init__(self, record: RunRecord) -> None:
        super().__init__(record)
        self.trials = [one for one in record.trials if math.isfinite(one.validation)]
        self.metric = metric_of(record)
        self.score = "validation score"  # the search's own loss, whatever the metric is
        self.dials = self._moved()

    def _moved(self) -> list[str]:
        """Return the dials that took more than one value, those first that tell good trials from bad."""
        names = dict.fromkeys(name for one in self.trials for name in one.dials)
        moved = []
        for name in names:
            pairs = [
                (one.dials[name], one.validation) for one in self.trials if math.isfinite(one.dials.get(name, math.nan))
            ]
            if len({value for value, _ in pairs}) > 1:
                moved.append((-_rank_correlation(pairs), name))
        return [name for _, name in sorted(moved)]

    @property
    def controls(self) -> Sequence[Control]:
        views = [("parallel", "dials and score"), ("order", "in order"), ("losses", "losses of each")]
        views += [(f"dial {at}", f"score by {cut(name, 28)}") for at, name in enumerate(self.dials[:MOST_DIALS])]
        return (
            Choice("view", "View", tuple(views), "parallel"),
            Range("best", "Best, per cent", 2, 100, 10, 2, whole=True, help="Which lines stand out", export=6),
        )

    def claim(self) -> str:
        best = best_trial(self.record.trials, self.metric_of_search)
        if best is None:
            return "No network of the search has a score yet"
        return f"The best of {len(self.record.trials)} networks is number {best.number}: {best.validation:.4g}"

    @property
    def metric_of_search(self) -> Metric:
        """The search minimises its score, whichever way the reported metric runs."""
        return Metric(self.score, self.score, True, True)

    def compute(self, state: State) -> Frame:
        trials = self.trials
        best = best_trial(self.record.trials, self.metric_of_search)
        counts = {name: sum(one.state == name for one in self.record.trials) for name in ("pruned", "diverged")}
        numbers = [Number("networks", len(self.record.trials), f"{len(self.record.trials):,}")]
        if best is not None:
            numbers.append(Number("best validation", best.validation, f"{best.validation:.4g}", "valid"))
        for name, word in (("pruned", "stopped early"), ("diverged", "diverged")):
            if counts[name]:
                numbers.append(Number(word, counts[name], f"{counts[name]:,}", "zero"))
        view = str(state["view"])
        if view == "losses":
            panels: list[Panel] = list(self._small(best))
            words = "The losses of each network are noted while a study runs; this one has none." if not panels else ""
            return Frame(panels, numbers, words)
        if best is None:
            words = (
                "every network diverged: lower the learning rate" if self.record.trials else "no network has ended yet"
            )
            return Frame([], numbers, f"Nothing to draw: {words}.")
        if view == "parallel":
            panel, notice = self._parallel(trials, int(state["best"]))
            return Frame([panel], numbers, notice)
        words = ""
        if len(trials) > MOST_DOTS:
            words = (
                f"{MOST_DOTS:,} of {len(trials):,} networks are drawn: the best half of them, and a sample of the rest."
            )
            half = sorted(trials, key=lambda one: one.validation)[: MOST_DOTS // 2]
            kept = {one.number for one in [*half, *trials[:: -(-2 * len(trials) // MOST_DOTS)]]}
            trials = [one for one in trials if one.number in kept]
        if view == "order":
            return Frame([self._order(trials, best)], numbers, words)
        return Frame([self._against(self.dials[int(view.split()[1])], trials, best)], numbers, words)

    def _parallel(self, trials: Sequence[Trial], share: int) -> tuple[Parallel, str]:
        names = self.dials[:MOST_DIALS]
        ordered = sorted(trials, key=lambda one: -one.validation)[-MOST_LINES:]  # the best are drawn last, on top
        columns = [[one.dials.get(name, math.nan) for one in ordered] for name in names]
        axes = [Axis(cut(name, 24), log=_spans(values)) for name, values in zip(names, columns, strict=True)]
        axes.append(Axis(self.score))
        scores = [one.validation for one in ordered]
        values = [list(row) for row in zip(*columns, scores, strict=True)]
        count = max(1, round(len(ordered) * share / 100))
        notice = ""
        if len(trials) > MOST_LINES:
            notice = f"The {MOST_LINES} best of {len(trials):,} networks are drawn."
        elif len(self.dials) > MOST_DIALS:
            notice = f"The {MOST_DIALS} of {len(self.dials)} dials that tell most about the score are drawn."
        chosen = list(range(len(ordered) - count, len(ordered)))
        return Parallel(f"the best {count} of {len(trials):,} stand out", axes, values, chosen, 320), notice

    def _order(self, trials: Sequence[Trial], best: Trial) -> Plot:
        lead, front = math.inf, []
        for one in trials:
            if one.state == best.state:
                lead = min(lead, one.validation)
                front.append((float(one.number), lead))
        low, high = _reach(trials, best)
        marks: list[Mark] = [Line("best so far", [x for x, _ in front], [y for _, y in front], "train")]
        marks += self._dots(trials, [float(one.number) for one in trials], high)
        return Plot("every network, in order", Axis("number"), Axis(self.score, low, high), marks)

    def _against(self, name: str, trials: Sequence[Trial], best: Trial) -> Plot:
        known = [one for one in trials if math.isfinite(one.dials.get(name, math.nan))]
        values = [one.dials[name] for one in known]
        log = _spans(values)
        if log and min(values) <= 0:
            known = [one for one in known if one.dials[name] > 0]
            values = [one.dials[name] for one in known]
        low, high = _reach(trials, best)
        marks = self._dots(known, values, high)
        at = [value for one, value in zip(known, values, strict=True) if one is best]
        marks += [Dots("best", at, [best.validation], "truth", "diamond")] if at else []
        return Plot(f"score by {cut(name, 40)}", Axis(cut(name, 40), log=log), Axis(self.score, low, high), marks)

    def _dots(self, trials: Sequence[Trial], at: Sequence[float], high: float) -> list[Mark]:
        kinds: tuple[tuple[str, str, Role], ...] = (
            ("finished", "trained to the end", "valid"), ("pruned", "stopped early", "zero"))  # fmt: skip
        marks: list[Mark] = []
        for kind, label, role in kinds:
            own = [(x, min(one.validation, high)) for one, x in zip(trials, at, strict=True) if one.state == kind]
            if own:
                shape: dict[str, str] = {"marker": "dot" if kind == "finished" else "ring"}
                marks.append(Dots(label, [x for x, _ in own], [y for _, y in own], role, **shape))  # type: ignore[arg-type]
        return marks

    def _small(self, best: Trial | None) -> list[Plot]:
        """Return small multiples of the losses, those that trained longest and best first."""
        known = [one for one in self.record.losses if one.validation]
        known.sort(key=lambda one: (-one.steps[-1], _last(one)))
        values = sorted(value for one in known for value in one.train + one.validation if math.isfinite(value))
        if not values:
            return []
        limits = (
            values[0],
            values[min(len(values) - 1, int(0.98 * len(values)))],
        )  # one bad network must not flatten all
        return [
            loss_plot(
                f"number {one.number}{', best' if best is not None and one.number == best.number else ''}",
                (one.steps, [min(value, limits[1]) for value in one.train]),
                (one.steps, [min(value, limits[1]) for value in one.validation]),
                limits=limits,
                height=150,
                small=True,
            )
            for one in known[:MOST_SMALL]
        ]

    def describe(self, state: State, frame: Frame) -> str:
        if len(frame.numbers) < 2:
            return "No network of the search has a score yet."
        return "; ".join(f"{one.label}: {one.text}" for one in frame.numbers) + "."

    def table(self, frame: Frame) -> Table:
        rows: list[list[str | float]] = [
            [float(one.number), one.state, float(one.steps), one.train, one.validation,
             ", ".join(f"{cut(name, 40)} {value:.4g}" for name, value in one.dials.items())]
            for one in sorted(self.record.trials, key=lambda one: one.validation)[:1000]
        ]  # fmt: skip
        return Table(("number", "state", "steps", "training loss", self.score, "dials"), rows)

    def code(self, state: State) -> str:
        if self.record.result is None and self.record.source:
            head = (
                "from poise.study.record import Record\n\n"
                f"with Record.open_readonly({self.record.source + '/record.sqlite'!r}) as record:\n"
                "    trials = record.trials()\n"
            )
        else:
            head = opened(self.record) + "trials = result.trials\n"
        return head + (
            "ended = [trial for trial in trials if trial.state == 'finished'] or trials\n"
            "best = min(ended, key=lambda trial: trial.validation)\n"
            "print('networks', len(trials))\nprint('best validation', best.validation)\n"
            "print('stopped early', sum(trial.state == 'pruned' for trial in trials))\n"
            "print('diverged', sum(trial.state == 'diverged' for trial in trials))\n"
        )


def _last(one: Losses) -> float:
    return one.validation[-1] if math.isfinite(one.validation[-1]) else math.inf


def _spans(values: Sequence[float]) -> bool:
    positive = sorted(value for value in values if math.isfinite(value) and value > 0)
    if not positive or min(value for value in values if math.isfinite(value)) < 0:
        return False
    tail = len(positive) // 10
    return positive[-1 - tail] / positive[tail] > DECADES


def _reach(trials: Sequence[Trial], best: Trial) -> tuple[float, float]:
    """Return an axis up to four times the median's distance from the best: one bad trial must not flatten all."""
    scores = sorted(one.validation for one in trials)
    reach = 4 * (scores[len(scores) // 2] - best.validation) or abs(best.validation) or 1.0
    low = min(scores[0], best.validation)
    return low - 0.06 * reach, min(best.validation + reach, scores[-1] + 0.06 * reach)


def _rank_correlation(pairs: Sequence[tuple[float, float]]) -> float:
    """Return the size of Spearman's correlation of a dial with the score, 0 where one of them is constant."""
    ranks = [np.argsort(np.argsort(np.array(side))).astype(float) for side in zip(*pairs, strict=True)]
    deviations = [own - own.mean() for own in ranks]
    size = float(np.sqrt((deviations[0] ** 2).sum() * (deviations[1] ** 2).sum()))
    return abs(float((deviations[0] * deviations[1]).sum())) / size if size else 0.0
