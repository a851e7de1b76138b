"""How the search went: every trial by number, and every dial against the score."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from poise.study.figures_canvas import Drawing, Scale, finite
from poise.study.figures_record import Figure, Panel, Table, cell, labels, primary
from poise.study.figures_text import cut, decimals_for, listing, number
from poise.study.result import Interval, Metric, StudyResult, Trial

__all__ = ["best_trial", "search_figure"]

DECADES = 20  # a dial whose middle 80 % spans this factor is drawn on a log axis; a uniform draw from 0 spans 9


def best_trial(trials: Sequence[Trial], metric: Metric) -> Trial | None:
    """Return the finished trial with the best validation score; of all trials where none was finished."""
    known = [trial for trial in trials if math.isfinite(trial.validation) and trial.state != "diverged"]
    pool = [trial for trial in known if trial.state == "finished"] or known
    sign = 1 if metric.lower_is_better else -1
    return min(pool, key=lambda trial: sign * trial.validation) if pool else None


def _limits(trials: Sequence[Trial], best: Trial, metric: Metric) -> Scale:
    """Return the scale up to four times the median's distance from the best: one bad trial must not flatten all."""
    scores = sorted(finite(trial.validation for trial in trials))
    reach = 4 * abs(scores[len(scores) // 2] - best.validation)
    far = [value for value in scores if reach == 0 or abs(value - best.validation) <= reach]
    return Scale.over(far, *((0.18, 0.1) if metric.lower_is_better else (0.1, 0.18)))  # room for the best one's label


def search_figure(result: StudyResult) -> Figure:
    """Draw every trial by number with the best so far, then each dial against the validation score."""
    metric = primary(result)
    best = best_trial(result.trials, metric)
    if best is None:
        why = "every trial diverged" if result.trials else "no trial was run"
        return Figure("search", "The search", "", (), (), _trial_table(result, 3), f"No search to draw: {why}.")
    states = {state: [trial for trial in result.trials if trial.state == state] for state in ("pruned", "diverged")}
    scale = _limits(result.trials, best, metric)
    beyond = [
        trial for trial in result.trials if math.isfinite(trial.validation) and not 0 <= scale.at(trial.validation) <= 1
    ]
    decimals = decimals_for([Interval(0, scale.low, scale.high)]) + 1
    counted = [
        f"{len(found)} {'stopped early' if state == 'pruned' else 'diverged'}"
        for state, found in states.items()
        if found
    ]
    score = number(best.validation, decimals)
    claim = f"Best of {len(result.trials)} trials on validation: number {best.number}, {score}"
    caption = [
        f"Validation {metric.label}, {labels(metric)}. "
        + (f"Of {len(result.trials)} trials {listing(counted)}. " if counted else "")
        + "The line is the best finished trial so far. The best of many is flattered by chance; "
        "the test part tells what it is worth."
    ]
    if beyond:
        caption.append(
            f"{len(beyond)} {'trial lies' if len(beyond) == 1 else 'trials lie'} beyond the axis, "
            "drawn as triangles at its edge."
        )
    names = list(dict.fromkeys(name for trial in result.trials for name in trial.dials))
    tried = {name: finite(trial.dials[name] for trial in result.trials if name in trial.dials) for name in names}
    fixed = [name for name in names if len(set(tried[name])) < 2]
    dials = tuple(_dial_panel(result.trials, name, best, scale, metric) for name in names if name not in fixed)
    if fixed:
        caption.append(f"Tried at one value only, so not drawn: {listing(fixed)}.")
    panel = Panel(
        "Every trial, in order",
        f"validation {metric.label}",
        _trial_drawing(result.trials, best, scale, metric, decimals),
    )
    key = (
        ("best", "trained to the last rung"),
        ("hollow", "stopped early; the larger, the later"),
        *((("cross", "diverged"),) if states["diverged"] else ()),
    )
    table = _trial_table(result, decimals)
    return Figure(
        "search",
        claim,
        "",
        (panel,),
        tuple(caption),
        table,
        key=key,
        more=dials,
        more_title="Each dial against the score",
    )


def _trial_table(result: StudyResult, decimals: int) -> Table | None:
    rows = tuple(
        (
            f"{trial.number}",
            trial.state,
            f"{trial.rung}",
            f"{trial.steps:,}",
            cell(trial.train, decimals),
            cell(trial.validation, decimals),
            ", ".join(f"{name} {value:.4g}" for name, value in trial.dials.items()),
        )
        for trial in result.trials
    )
    return Table(("trial", "state", "rung", "steps", "train", "validation", "dials"), rows) if rows else None


def _draw_trial(
    drawing: Drawing, trial: Trial, place: float, scale: Scale, edges: tuple[float, float], metric: Metric
) -> None:
    top, bottom = edges
    note = f"trial {trial.number}, rung {trial.rung}, {trial.state}: {trial.validation:.4g}"
    if trial.state == "diverged" or not math.isfinite(trial.validation):
        worst = top if metric.lower_is_better else bottom
        drawing.mark(place, worst, "hollow idle", shape="cross", size=3.5, title=note)
        return
    share = scale.at(trial.validation)
    height = bottom - min(max(share, 0.0), 1.0) * (bottom - top)
    kind = "trial" if trial.state == "finished" else "hollow idle"
    inside = 0 <= share <= 1
    drawing.mark(
        place,
        height,
        kind,
        shape="dot" if inside else "up" if share > 1 else "down",
        size=min(2.6 + 0.7 * trial.rung, 5),
        title=note,
    )


def _trial_drawing(trials: Sequence[Trial], best: Trial, scale: Scale, metric: Metric, decimals: int) -> Markup:
    top, bottom = 22.0, 262.0
    across = Scale.over([trial.number for trial in trials], 0.07, 0.03)
    score = f"validation {metric.label} {number(best.validation, decimals)}"
    told = f"{len(trials)} trials; the best is number {best.number} with {score}."
    drawing = Drawing(bottom + 24, told)
    drawing.upward(scale, top, bottom)
    for place, text in across.ticks():
        drawing.text(place, bottom + 17, text, "tick", anchor="end" if place > 0.95 else "middle")
    drawing.line((0, 1), (bottom, bottom), "base")
    front: list[tuple[float, float]] = []
    sign = 1 if metric.lower_is_better else -1
    lead: float | None = None
    for trial in trials:
        if trial.state != best.state or not math.isfinite(trial.validation):
            continue
        if lead is None or sign * trial.validation < sign * lead:
            front += [(across.at(trial.number), scale.at(lead))] if lead is not None else []
            front.append((across.at(trial.number), scale.at(trial.validation)))
            lead = trial.validation
    front.append((1.0, front[-1][1]))
    drawing.curve([x for x, _ in front], [min(max(y, 0.0), 1.0) for _, y in front], (top, bottom), "curve front")
    for trial in trials:
        _draw_trial(drawing, trial, across.at(trial.number), scale, (top, bottom), metric)
    place, height = across.at(best.number), bottom - scale.at(best.validation) * (bottom - top)
    drawing.mark(place, height, "mark best", size=5.5)
    side = "end" if place > 0.75 else "start" if place < 0.2 else "middle"
    below = height + (22 if metric.lower_is_better else -12)
    drawing.text(
        place, below, f"trial {best.number}: {number(best.validation, decimals)}", "name best-name strong", anchor=side
    )
    return drawing.svg()


def _dial_panel(trials: Sequence[Trial], name: str, best: Trial, scale: Scale, metric: Metric) -> Panel:
    top, bottom = 8.0, 128.0
    values = finite(trial.dials[name] for trial in trials if name in trial.dials)
    positive = sorted(value for value in values if value > 0)
    tail = len(positive) // 10
    log = min(values) >= 0 and len(set(positive)) > 1 and positive[-1 - tail] / positive[tail] > DECADES
    across = Scale.over(values, log=log)
    chosen = best.dials.get(name, math.nan)
    told = f"{name}: {len(values)} trials between {min(values):.3g} and {max(values):.3g};"
    told += f" the best trial has {chosen:.3g}."
    drawing = Drawing(bottom + 24, told)
    for place, _ in scale.ticks(3):
        height = bottom - place * (bottom - top)
        drawing.line((0, 1), (height, height), "grid")
    drawing.across(across, bottom, bottom + 1, 3)
    if math.isfinite(chosen):
        drawing.line((across.at(chosen), across.at(chosen)), (top, bottom), "kept")
    for trial in trials:
        if math.isfinite(value := trial.dials.get(name, math.nan)):
            _draw_trial(drawing, trial, across.at(value), scale, (top, bottom), metric)
    if math.isfinite(chosen):
        drawing.mark(across.at(chosen), bottom - scale.at(best.validation) * (bottom - top), "mark best", size=5)
    note = f"best at {chosen:.3g}" if math.isfinite(chosen) else "not in the best trial"
    return Panel(cut(name, 30), note + (", log scale" if log else ""), drawing.svg())
