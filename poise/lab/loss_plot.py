"""Loss curves with the line at which training stops: one drawing for the chapter's networks and for the user's own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from poise.core.context import Context
from poise.lab.scene import Axis, Band, Dots, Line, Mark, Plot, Role, Rule
from poise.stop import Patience

__all__ = ["Points", "loss_plot", "smoothed", "stop_of", "thinned"]

Points = tuple[Sequence[float], Sequence[float]]
"""Places and values of one curve; it may be empty."""

MOST = 600  # points of a drawn curve; a phone has fewer pixels across


def loss_plot(
    title: str,
    train: Points,
    valid: Points,
    *,
    across: str = "step",
    upward: str = "loss",
    best: float | None = None,
    kept: bool = False,
    stop: float | None = None,
    log_x: bool = False,
    log_y: bool = False,
    smoothing: float = 0.0,
    limits: tuple[float, float] | None = None,
    height: int = 280,
    small: bool = False,
) -> Plot:
    """Return both curves with a line at the `best` place and one where training would `stop`.

    `kept` says that the best place is not where validation is lowest, but where the weights are from.

    A smoothed curve keeps its raw values as a band from the lowest to the highest of each stretch, so that smoothing
    hides no peak. On a log axis, values that have no logarithm leave a break.
    """
    marks: list[Mark] = []
    sides: tuple[tuple[str, Role, Points], ...] = (("training", "train", train), ("validation", "valid", valid))
    for label, role, (places, values) in sides:
        marks += _curve(label, role, places, values, smoothing, (log_x, log_y))
    if best is not None:
        word, point = ("kept", "validation there") if kept else ("best", "lowest validation")
        marks.append(Rule(f"{word}: {across} {best:,.6g}", x=best))
        places, values = valid
        at = [value for place, value in zip(places, values, strict=True) if place == best and _drawn(value, log_y)]
        marks += [Dots(point, [best], at[:1], "valid", "square")] if at and smoothing == 0 else []
    if stop is not None and stop != best:
        marks.append(Rule(f"stops: {across} {stop:,.6g}", x=stop, role="zero"))
    low, high = limits or (None, None)
    return Plot(title, Axis(across, log=log_x), Axis(upward, low, high, log=log_y), marks, height, small=small)


def _curve(
    label: str, role: Role, places: Sequence[float], values: Sequence[float], smoothing: float, log: tuple[bool, bool]
) -> list[Mark]:
    kept = [at for at, place in enumerate(places) if not log[0] or place > 0]
    x = [float(places[at]) for at in kept]
    y = [float(values[at]) if _drawn(values[at], log[1]) else math.nan for at in kept]
    if not any(math.isfinite(value) for value in y):
        return []
    if smoothing <= 0:
        drawn = thinned(y)
        return [Line(label, [x[at] for at in drawn], [y[at] for at in drawn], role)]
    marks: list[Mark] = []
    soft = smoothed(y, smoothing)
    stretch = max(1, math.ceil(len(y) / 120))
    edges: list[tuple[float, float, float]] = []
    for start in range(0, len(y), stretch):
        part = [value for value in y[start : start + 2 * stretch] if math.isfinite(value)]
        if part:
            edges.append((x[start], min(part), max(part)))
    if len(edges) > 1:
        starts, lows, highs = (list(side) for side in zip(*edges, strict=True))
        marks.append(Band(f"{label}, raw", starts, lows, highs, role))
    drawn = thinned(soft)
    marks.append(Line(label, [x[at] for at in drawn], [soft[at] for at in drawn], role))
    return marks


def _drawn(value: float, log: bool) -> bool:
    return math.isfinite(value) and (value > 0 or not log)


def smoothed(values: Sequence[float], weight: float) -> list[float]:
    """Return the exponential moving mean, corrected for its start at 0; NaN stays NaN and is not averaged."""
    mean, known, found = 0.0, 0.0, []
    for value in values:
        if math.isfinite(value):
            mean, known = weight * mean + (1 - weight) * value, weight * known + (1 - weight)
        found.append(mean / known if math.isfinite(value) else math.nan)
    return found


def thinned(values: Sequence[float], most: int = MOST) -> list[int]:
    """Return the places to draw: all, or the lowest and highest of each stretch, so that no peak is lost."""
    if len(values) <= most:
        return list(range(len(values)))
    stride = math.ceil(2 * len(values) / most)
    kept = {0, len(values) - 1}
    for start in range(0, len(values), stride):
        places = range(start, min(start + stride, len(values)))
        known = [place for place in places if math.isfinite(values[place])]
        kept |= {min(known, key=values.__getitem__), max(known, key=values.__getitem__)} if known else {places[0]}
    return sorted(kept)


def stop_of(scores: Sequence[float], evaluations: float) -> tuple[int | None, int | None]:
    """Return at which scores `Patience` finds its best and stops (None: never); lower is better.

    >>> stop_of([3.0, 2.0, 2.5, 2.4], 2)
    (1, 3)
    """
    part, stopped = Patience(evaluations=evaluations), torch.tensor(False)
    memory = part.remember({})
    for at, score in enumerate(scores):
        value = torch.tensor(score, dtype=torch.float64)
        ctx = Context(at, rng=None, score=value)  # type: ignore[arg-type]  # a rule without draws
        stopped, memory = part.stop(stopped, memory, ctx)
        if bool(stopped):
            break
    best = int(memory["best_step"])
    return (best if best >= 0 else None), (at if scores and bool(stopped) else None)
