"""Loss curves of a run with the line at which its weights were kept, and where another patience would have stopped."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from poise.lab.controls import Control, Preset, Range, State, Toggle
from poise.lab.loss_plot import loss_plot, stop_of
from poise.lab.runs.figures.base import RunFigure, choice_of, chosen, opened
from poise.lab.runs.record import Curves, RunRecord
from poise.lab.scene import Frame, Line, Mark, Number, Plot
from poise.study.course import Losses

__all__ = ["RunLoss", "best_curves", "facts_of"]

MOST_AT_ONCE = 16  # thin lines of networks in training
MOST_EVALUATIONS = 4000  # that a stop is worked out for while a slider moves


@functools.lru_cache(maxsize=256)
def _stop(scores: tuple[float, ...], evaluations: float) -> tuple[int | None, int | None]:
    return stop_of(scores, evaluations)


def facts_of(curves: Curves, patience: float = 0) -> tuple[float | None, float, float | None]:
    """Return the best place on validation, its value, and the place where that patience stops (None: never)."""
    places, values = curves.valid
    if not places or len(places) > MOST_EVALUATIONS:
        return curves.kept, math.nan, None
    scores = tuple(value if curves.lower_is_better else -value for value in values)
    best, stop = _stop(scores, patience if patience > 0 else math.inf)
    if patience <= 0 and curves.kept is not None:
        kept = [value for place, value in zip(places, values, strict=True) if place == curves.kept]
        return curves.kept, kept[0] if kept else math.nan, None
    at = None if best is None else float(places[best])
    return at, math.nan if best is None else float(values[best]), None if stop is None else float(places[stop])


def best_curves(losses: Sequence[Losses]) -> Curves | None:
    """Return the losses of the configuration that is lowest on validation at its last step, as curves."""
    known = [one for one in losses if one.validation and math.isfinite(one.validation[-1])]
    if not known:
        return None
    longest = max(len(one.steps) for one in known)
    best = min((one for one in known if len(one.steps) == longest), key=lambda one: one.validation[-1])
    return Curves(f"loss of configuration {best.number}", (best.steps, best.train), (best.steps, best.validation))


class RunLoss(RunFigure):
    """Training and validation loss of a study's two networks, of the best one so far while it runs, or of a log."""

    id: ClassVar[str] = "run-loss"
    caption: ClassVar[str] = (
        "The dashed line stands where the weights were kept, or where validation is lowest. Smoothing draws the mean "
        "and keeps the raw values as a band."
    )
    tries: ClassVar[tuple[str, ...]] = (
        "What patience would have stopped at the same step?",
        "Does the training loss still fall after the dashed line?",
    )
    presets: ClassVar[tuple[Preset, ...]] = (
        Preset("as logged", {}),
        Preset("smooth", {"smoothing": 0.8}),
        Preset("log axes", {"log_x": True, "log_y": True}),
        Preset("patience 5", {"patience": 5}),
    )

    def __init__(self, record: RunRecord) -> None:
        super().__init__(record)
        own = record.curves
        if record.kind == "study" and not own:
            best = best_curves(record.losses)
            own = () if best is None else (best,)
        self.curves: tuple[Curves, ...] = own
        ended = {trial.number for trial in record.trials}
        running = record.status == "running"
        self.training = [one for one in record.losses if one.number not in ended] if running else []

    @property
    def controls(self) -> Sequence[Control]:
        named = [] if self.record.kind == "study" else [(str(at), one.name) for at, one in enumerate(self.curves)]
        return (
            *choice_of("measure", "Measure", named, "A column of the log"),
            Range("smoothing", "Smoothing", 0.0, 0.98, 0.0, 0.02, help="Weight of the past", export=4),
            Range("patience", "Patience", 0, 50, 0, 1, whole=True, help="Evaluations without a new best; 0: as it ran",
                  export=8),
            Toggle("log_x", "Log steps"),
            Toggle("log_y", "Log loss"),
        )  # fmt: skip

    def claim(self) -> str:
        if not self.curves:
            return "No loss has been recorded yet"
        if self.record.status == "running":
            return "The losses so far, of the best network of the search"
        drawn = self._drawn({})
        told = [(one, place) for one in drawn if (place := facts_of(one)[0]) is not None]
        if not told:
            return "The losses of this run"
        if self.record.kind == "log":
            return f"Validation is best at {told[0][0].across} {told[0][1]:,.6g}"
        words = " and ".join(f"at step {place:,.6g} {one.name.removeprefix('loss ')}" for one, place in told)
        return f"Weights were kept {words}"

    def _drawn(self, state: State) -> tuple[Curves, ...]:
        return self.curves if self.record.kind == "study" else self.curves[chosen(state, "measure") :][:1]

    def compute(self, state: State) -> Frame:
        panels: list[Plot] = []
        numbers: list[Number] = []
        drawn = self._drawn(state)
        values = [v for one in drawn for side in (one.train, one.valid) for v in side[1] if math.isfinite(v)]
        shared = None
        if len(drawn) > 1 and values:
            room = 0.04 * (max(values) - min(values))
            shared = (min(values) - room, max(values) + room)
            if state["log_y"]:
                positive = [value for value in values if value > 0] or [1.0]
                shared = (min(positive) / 1.1, max(positive) * 1.1)
        for one in drawn:
            best, lowest, stop = facts_of(one, float(state["patience"]))
            name = one.name.removeprefix("loss ") if len(drawn) > 1 else one.name
            panels.append(
                loss_plot(
                    name,
                    one.train,
                    one.valid,
                    across=one.across,
                    upward="loss" if one.name.startswith("loss") else one.name,
                    best=best,
                    kept=one.kept is not None and not state["patience"],
                    stop=stop,
                    log_x=bool(state["log_x"]),
                    log_y=bool(state["log_y"]),
                    smoothing=float(state["smoothing"]),
                    limits=shared,
                )
            )
            ending = f", {name}" if len(drawn) > 1 else ""
            word = "lowest validation" if one.lower_is_better else "highest validation"
            word = "validation where kept" if one.kept is not None and not state["patience"] else word
            if best is not None:
                if math.isfinite(lowest):
                    numbers.append(Number(f"{word}{ending}", lowest, f"{lowest:.4g}", "valid"))
                numbers.append(Number(f"at {one.across}{ending}", best, f"{best:,.6g}", "truth"))
            if state["patience"]:
                text = f"{stop:,.6g}" if stop is not None else "never"
                numbers.append(Number(f"stops at{ending}", math.nan if stop is None else stop, text, "zero"))
        if self.training and panels:
            panels[0] = replace(panels[0], marks=[*self._now(state), *panels[0].marks])
            numbers.append(Number("in training now", len(self.training), str(len(self.training)), "zero"))
        notice = ""
        if not drawn:
            notice = "Nothing to draw yet. A study notes its losses at the first evaluation; this page then shows them."
        elif len(values) < sum(len(side[1]) for one in drawn for side in (one.train, one.valid)):
            notice = "A line breaks off where the loss was not a finite number: training diverged there. Lower lr."
        return Frame(panels, numbers, notice)

    def _now(self, state: State) -> list[Mark]:
        """Return the validation losses of the networks that are being trained, as thin lines behind the best one's."""
        marks: list[Mark] = []
        for at, one in enumerate(self.training[:MOST_AT_ONCE]):
            kept = [place for place, step in enumerate(one.steps) if step > 0 or not state["log_x"]]
            values = [one.validation[place] for place in kept]
            y = [value if value > 0 or not state["log_y"] else math.nan for value in values]
            label = "in training now" if at == 0 else ""
            marks.append(Line(label, [float(one.steps[place]) for place in kept], y, "zero", thin=True))
        return marks

    def describe(self, state: State, frame: Frame) -> str:
        told = []
        for one in self._drawn(state):
            best, value, stop = facts_of(one, float(state["patience"]))
            name = one.name.removeprefix("loss ")
            about = f"{name[:1].upper()}{name[1:]}: " if name != "loss" else ""
            if best is None:
                told.append(f"{about}no validation value is finite" if one.valid[0] else f"{about}no validation")
                continue
            kept = one.kept is not None and not state["patience"]
            word = (
                "weights kept" if kept else "validation is lowest" if one.lower_is_better else "validation is highest"
            )
            at = f", where it is {value:.4g}" if math.isfinite(value) else ""
            at = at.replace("it", "validation") if kept else at
            told.append(f"{about}{word} at {one.across} {best:,.6g}{at}")
            if state["patience"]:
                ending = "never ends" if stop is None else f"ends training at {one.across} {stop:,.6g}"
                told[-1] += f"; patience {state['patience']} {ending}"
        words = ". ".join(f"{one[:1].upper()}{one[1:]}" for one in told)
        return f"{words}." if told else "No loss has been recorded yet."

    def code(self, state: State) -> str:
        if self.record.kind == "study" and self.record.result is not None:
            return opened(self.record) + (
                "for curve in result.curves:\n"
                "    print(curve.name, curve.best_step, curve.validation[curve.steps.index(curve.best_step)])\n"
            )
        measure = f", measure={str(chosen(state, 'measure'))!r}" if "measure" in state else ""
        return (
            "import poise.lab\n\n"
            f"figure = poise.lab.figure('loss', {self.record.source or 'run.history'!r})\n"
            f"frame = figure.frame(patience={state['patience']!r}{measure})\n"
            "for number in frame.numbers:\n    print(number.label, number.value)\n"
        )
