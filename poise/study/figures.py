"""The report's two comparisons as rows of dots: the gap before and after, and the arms."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from poise.study.figures_canvas import Drawing, Scale, ends, whisker
from poise.study.figures_record import Figure, Panel, Table, cell, labels, named, primary, range_cell
from poise.study.figures_text import MISSING, cut, decimals_for, listing, number, plain_interval, span
from poise.study.result import Arm, Gap, Interval, Metric, StudyResult

__all__ = ["arms_figure", "best_arm", "gap_figure"]

NETWORKS = {"before": "no regularizer", "after": "found recipe"}
LABEL_ROOM = 0.235  # the widest label beside a point, "validation", as a share of a phone's plot


# ---- the gap ----


def gap_figure(result: StudyResult) -> Figure:
    """Draw train, validation and test of both networks on one axis for each metric, and the gap as their distance."""
    sides = {"before": {gap.metric: gap for gap in result.before}, "after": {gap.metric: gap for gap in result.after}}
    names = dict.fromkeys(
        [metric.name for metric in result.metrics] + [gap.metric for gap in result.before + result.after]
    )
    panels, rows = [], []
    for name in names:
        gaps = {side: found[name] for side, found in sides.items() if name in found}
        if not gaps:
            continue
        metric = named(result, name)
        decimals = decimals_for(item for gap in gaps.values() for item in (gap.train, gap.validation, gap.test))
        panels.append(Panel(metric.label, labels(metric), _gap_drawing(metric, gaps, decimals)))
        for side, gap in gaps.items():
            scores = (range_cell(item, decimals) for item in (gap.train, gap.validation, gap.test, gap.gap))
            again = (range_cell(item, decimals) for item in (gap.gap_over_seeds, gap.test_over_seeds))
            rows.append((f"{metric.label}, {side}", *scores, *again, str(gap.seeds)))
    head = ("network", "train", "validation", "test", "gap", "gap, over seeds", "test, over seeds", "seeds")
    missing = "" if panels else "No gap was measured: the study ended before a network was scored on all three parts."
    absent = [f"No network with {NETWORKS[side]} was scored." for side, found in sides.items() if panels and not found]
    caption = (
        "The gap is how much worse the test part is than the train part; the shaded bar is its length. "
        "Lines through the points are 95 % intervals over rows.",
        *absent,
    )
    return Figure(
        "gap", _gap_claim(result), "", tuple(panels), caption, Table(head, tuple(rows)) if rows else None, missing
    )


def _gap_claim(result: StudyResult) -> str:
    metric = primary(result)
    before = next((gap.gap for gap in result.before if gap.metric == metric.name), None)
    after = next((gap.gap for gap in result.after if gap.metric == metric.name), None)
    if before is None or after is None or not (math.isfinite(before.value) and math.isfinite(after.value)):
        return "The gap between train and test"
    decimals = decimals_for([before, after])
    return f"The gap in {metric.label} went from {number(before.value, decimals)} to {number(after.value, decimals)}"


def _points(gap: Gap, scale: Scale) -> list[tuple[float, str, Interval]]:
    items = (("train", gap.train), ("validation", gap.validation), ("test", gap.test))
    return sorted((scale.at(item.value), role, item) for role, item in items if math.isfinite(item.value))


def _anchor(place: float, inward_room: float, *, first: bool) -> str:
    """Return the side on which an outer label fits a phone: away from the others, else towards them, else nowhere."""
    outward = place >= LABEL_ROOM if first else place <= 1 - LABEL_ROOM
    if outward:
        return "end" if first else "start"
    return "" if inward_room < 2 * LABEL_ROOM else "start" if first else "end"


def _gap_scale(gaps: dict[str, Gap]) -> Scale:
    """Return the tightest scale on which every outer label finds room."""
    values = [end for gap in gaps.values() for end in ends((gap.train, gap.validation, gap.test))]
    scale = Scale.over(values)
    for before, after in ((0.03, 0.03), (0.25, 0.03), (0.03, 0.25), (0.25, 0.25)):
        scale = Scale.over(values, before, after)
        rows = [points for gap in gaps.values() if (points := _points(gap, scale))]
        reach = [(points[0][0], points[-1][0]) for points in rows]
        if all(_anchor(a, b - a, first=True) and _anchor(b, b - a, first=False) for a, b in reach):
            break
    return scale


def _gap_drawing(metric: Metric, gaps: dict[str, Gap], decimals: int) -> Markup:
    scale, pitch = _gap_scale(gaps), 116
    told = "; ".join(
        f"{side}: train {number(gap.train.value, decimals)}, validation {number(gap.validation.value, decimals)}, "
        f"test {number(gap.test.value, decimals)}, gap {plain_interval(gap.gap, decimals)}"
        for side, gap in gaps.items()
    )
    drawing = Drawing(pitch * len(gaps) + 24, f"{metric.label} on the three parts. {told}.")
    drawing.across(scale, 26, pitch * len(gaps) + 4)
    for row, (side, gap) in enumerate(gaps.items()):
        y = row * pitch + 76
        drawing.text(0, y - 60, side, "row strong")
        drawing.text(0, y - 60, NETWORKS[side], "row second muted")
        drawing.text(1, y - 60, f"gap {number(gap.gap.value, decimals)}", "value strong")
        drawing.text(1, y - 60, span(gap.gap, decimals), "value second muted")
        points = _points(gap, scale)
        if math.isfinite(gap.train.value) and math.isfinite(gap.test.value):
            drawing.box((scale.at(gap.train.value), scale.at(gap.test.value)), (y - 11, y + 11), "band")
        if not points:
            drawing.text(0, y + 4, "not measured: the scores are not finite", "muted")
        for place, role, item in points:
            level = y + {"train": -5, "validation": 0, "test": 5}[role]
            whisker(drawing, scale, item, level, role)
            drawing.mark(
                place, level, f"mark {role}", shape={"validation": "square", "test": "diamond"}.get(role, "dot")
            )
        for order, (place, role, item) in enumerate(points):
            value = number(item.value, decimals)
            if 0 < order < len(points) - 1:
                drawing.text(min(max(place, 0.18), 0.82), y + 29, f"{role} {value}", f"name {role}", anchor="middle")
                continue
            anchor = _anchor(place, points[-1][0] - points[0][0], first=order == 0) or "middle"
            drawing.text(place, y - 32, role, f"name {role}", anchor=anchor)
            drawing.text(place, y - 17, value, f"name strong {role}", anchor=anchor)
    return drawing.svg()


# ---- the arms ----


def best_arm(arms: Sequence[Arm], metric: Metric) -> tuple[Arm, Interval] | None:
    """Return the arm with the best finite score, and that score."""
    found = [(arm, score.value) for arm in arms for score in arm.scores if score.metric == metric.name]
    found = [pair for pair in found if math.isfinite(pair[1].value)]
    sign = 1 if metric.lower_is_better else -1
    return min(found, key=lambda pair: sign * pair[1].value) if found else None


def arms_figure(result: StudyResult) -> Figure:
    """Draw every arm's test score with its interval, one panel for each metric, the best one coloured."""
    if not result.arms:
        missing = (
            "Nothing was compared: the study ended before the baselines and the final networks were scored on test."
        )
        return Figure("arms", "Comparison on the test part", "", (), (), None, missing)
    names = dict.fromkeys(
        [metric.name for metric in result.metrics] + [s.metric for arm in result.arms for s in arm.scores]
    )
    metrics = [named(result, name) for name in names]
    scores = {(arm.name, score.metric): score.value for arm in result.arms for score in arm.scores}
    decimals = {m.name: decimals_for(v for (_, name), v in scores.items() if name == m.name) for m in metrics}
    panels = tuple(
        Panel(metric.label, labels(metric), _arms_drawing(result.arms, metric, decimals[metric.name]))
        for metric in metrics
        if best_arm(result.arms, metric) is not None
    )
    rows = tuple(
        (
            arm.name,
            *(range_cell(scores.get((arm.name, metric.name)), decimals[metric.name]) for metric in metrics),
            cell(arm.seconds, 1),
            arm.note,
        )
        for arm in result.arms
    )
    table = Table(("arm", *(metric.label for metric in metrics), "seconds", "note"), rows)
    best, claim, caption = best_arm(result.arms, primary(result)), "Comparison on the test part", []
    if best is not None:
        arm, top = best
        claim = f"Best test {primary(result).label}: {arm.name}, {number(top.value, decimals[primary(result).name])}"
        near = [
            other.name
            for other in result.arms
            for score in other.scores
            if other is not arm
            and score.metric == primary(result).name
            and score.value.low <= top.high
            and top.low <= score.value.high
        ]
        caption.append(
            f"The best arm's interval overlaps that of {listing(near)}: on these rows their order could be chance."
            if near
            else "The best arm's interval overlaps no other."
        )
    caption.append("Lines are 95 % intervals over the rows of the test part, which no choice had used.")
    missing = "" if panels else "No arm has a finite score."
    return Figure("arms", claim, "", panels, tuple(caption), table, missing)


def _arms_drawing(arms: Sequence[Arm], metric: Metric, decimals: int) -> Markup:
    values = {arm.name: score.value for arm in arms for score in arm.scores if score.metric == metric.name}
    best, pitch = best_arm(arms, metric), 42
    scale = Scale.over(ends(values.values()))
    told = "; ".join(f"{arm.name}: {plain_interval(values.get(arm.name), decimals)}" for arm in arms)
    drawing = Drawing(pitch * len(arms) + 32, f"Test {metric.label} of each arm, {labels(metric)}. {told}.")
    drawing.across(scale, 20, pitch * len(arms) + 10)
    for row, arm in enumerate(arms):
        y, value = row * pitch + 34, values.get(arm.name)
        kind = "best" if best is not None and best[0] is arm else "other"
        known = value is not None and math.isfinite(value.value)
        drawing.text(0, y - 16, cut(arm.name, 24), f"row {kind}-name")
        drawing.text(1, y - 16, number(value.value, decimals) if value and known else MISSING, f"value {kind}-name")
        if value is not None and known:
            whisker(drawing, scale, value, y, kind)
            note = f"{arm.name}: {plain_interval(value, decimals)}"
            shape = "dot" if kind == "best" else "diamond"
            drawing.mark(scale.at(value.value), y, f"mark {kind}", shape=shape, title=note)
    return drawing.svg()
