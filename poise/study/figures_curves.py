"""Training and validation loss against the step, with the step whose weights were kept."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from poise.study.figures_canvas import Drawing, Scale, finite
from poise.study.figures_record import Figure, Panel, Table, cell
from poise.study.figures_text import decimals_for, listing, number
from poise.study.result import Curve, Interval, StudyResult

__all__ = ["curves_figure"]

TITLES = {"before": "before, no regularizer", "after": "after, the found recipe"}
LOG_FROM = 20  # a validation loss that falls by this factor hides its end on a linear axis
MOST_POINTS = 600  # a phone has fewer pixels than this across
TABLE_ROWS = 12


def curves_figure(result: StudyResult) -> Figure:
    """Draw training and validation loss against the step, one panel a network, on a shared vertical axis."""
    curves = [curve for curve in result.curves if curve.steps]
    if not curves:
        missing = "No loss was recorded: the study ended before the two networks were trained for their curves."
        return Figure("curves", "Training and validation loss", "", (), (), None, missing)
    values = finite(value for curve in curves for value in curve.train + curve.validation)
    judged = finite(
        value for curve in curves for value in curve.validation
    )  # train may fall to 0 and should not set the axis
    log = bool(judged) and min(values) > 0 and max(judged) / min(judged) > LOG_FROM
    scale = Scale.over(values, 0.06, 0.08, log=log)
    decimals = decimals_for([Interval(0, min(values), max(values))]) + 2 if values else 3
    panels = tuple(
        Panel(TITLES.get(curve.name, curve.name), "log scale" if log else "", _curve_drawing(curve, scale, decimals))
        for curve in curves
    )
    rows = tuple(
        (
            f"{curve.name}, step {step:,}" + (" (kept)" if step == curve.best_step else ""),
            cell(train, decimals),
            cell(validation, decimals),
        )
        for curve in curves
        for step, train, validation in _sampled(curve)
    )
    claim = "Weights kept " + listing(f"at step {curve.best_step:,} {_said(curve)}" for curve in curves)
    caption = ["The dashed line is the step whose weights were kept."]
    if any(len(finite(curve.train + curve.validation)) < 2 * len(curve.steps) for curve in curves):
        caption.append("A line breaks off where the loss was no longer a finite number.")
    if len(curves) == 1:
        caption.append("Only one of the two networks has a recorded curve.")
    return Figure("curves", claim, "", panels, tuple(caption), Table(("step", "train", "validation"), rows))


def _said(curve: Curve) -> str:
    return {"before": "without a regularizer", "after": "with the recipe"}.get(curve.name, curve.name)


def _sampled(curve: Curve) -> list[tuple[int, float, float]]:
    """Return a few evenly spaced steps, the kept one among them."""
    rows = list(zip(curve.steps, curve.train, curve.validation, strict=True))
    stride = max(1, math.ceil(len(rows) / TABLE_ROWS))
    return [row for at, row in enumerate(rows) if at % stride == 0 or at == len(rows) - 1 or row[0] == curve.best_step]


def _thinned(values: Sequence[float]) -> list[int]:
    """Return the places to draw: all of them, or the lowest and the highest of each bucket, so that no peak is lost."""
    if len(values) <= MOST_POINTS:
        return list(range(len(values)))
    stride = math.ceil(2 * len(values) / MOST_POINTS)
    kept = {0, len(values) - 1}
    for start in range(0, len(values), stride):
        places = range(start, min(start + stride, len(values)))
        known = [place for place in places if math.isfinite(values[place])]
        kept |= {min(known, key=values.__getitem__), max(known, key=values.__getitem__)} if known else {places[0]}
    return sorted(kept)


def _curve_drawing(curve: Curve, scale: Scale, decimals: int) -> Markup:
    top, bottom = 26.0, 246.0
    across = Scale(0 if min(curve.steps) >= 0 else min(curve.steps), max(*curve.steps, 1))
    lines = {"validation": curve.validation, "train": curve.train}
    last = {
        role: number(finite(values)[-1], decimals) if finite(values) else "not finite" for role, values in lines.items()
    }
    told = ", ".join(f"{role} ends at {value}" for role, value in last.items())
    drawing = Drawing(
        bottom + 24, f"Loss {TITLES.get(curve.name, curve.name)}: {told}; weights kept at step {curve.best_step}."
    )
    drawing.upward(scale, top, bottom)
    for place, text in across.ticks():
        drawing.text(
            place, bottom + 17, text, "tick", anchor="start" if place < 0.05 else "end" if place > 0.95 else "middle"
        )
    drawing.line((0, 1), (bottom, bottom), "base")
    kept = across.at(curve.best_step)
    drawing.line((kept, kept), (top - 4, bottom), "kept")
    late = kept > 0.6
    drawing.text(
        kept,
        top - 10,
        f"kept: step {curve.best_step:,}",
        "kept-name",
        anchor="end" if late else "start",
        shift=3 if late else -3,
    )
    tips = []
    for role, values in lines.items():
        places = _thinned(values)
        heights = [_height(scale, values[place]) for place in places]
        drawing.curve([across.at(curve.steps[place]) for place in places], heights, (top, bottom), f"curve {role}")
        ending = next(
            ((x, y) for x, y in zip(reversed(places), reversed(heights), strict=True) if math.isfinite(y)), None
        )
        if ending is not None:
            tips.append((bottom - ending[1] * (bottom - top), across.at(curve.steps[ending[0]]), role))
    if curve.best_step in curve.steps and math.isfinite(value := curve.validation[curve.steps.index(curve.best_step)]):
        drawing.mark(kept, bottom - _height(scale, value) * (bottom - top), "mark validation", shape="square", size=4.5)
    for y, place, role in _apart(tips, 17, bottom):
        inside = place > 0.7
        drawing.text(place, y, role, f"name {role}", anchor="end" if inside else "start", shift=-2 if inside else 6)
    return drawing.svg()


def _height(scale: Scale, value: float) -> float:
    return scale.at(value) if math.isfinite(value) and (value > 0 or not scale.log) else math.nan


def _apart(tips: list[tuple[float, float, str]], gap: float, bottom: float) -> list[tuple[float, float, str]]:
    """Return the labels at the lines' ends: the upper one above its line, the lower one below where they are close."""
    ordered = sorted(tips)
    if len(ordered) < 2:
        return [(y - 8, place, role) for y, place, role in ordered]
    (high, high_at, first), (low, low_at, second) = ordered[0], ordered[-1]
    below = low + 18 if low + 22 < bottom and low - high < 2 * gap + 6 else low - 8
    return [(high - 8, high_at, first), (below, low_at, second)]
