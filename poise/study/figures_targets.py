"""Several targets in the report: what each is, and whether learning them together helped."""

from __future__ import annotations

from markupsafe import Markup

from poise.study.figures_canvas import Drawing, Scale, ends, finite, whisker
from poise.study.figures_record import Figure, Panel, Table, cell, labels, range_cell
from poise.study.figures_text import MISSING, cut, decimals_for, listing, plain_interval, signed
from poise.study.metrics import METRICS
from poise.study.result import Interval, Metric, StudyResult, Together

__all__ = ["leading", "targets_table", "together_figure"]

KINDS = {"helps": "helps", "hurts": "hurts"}  # another verdict is drawn muted


def leading(result: StudyResult) -> list[Metric]:
    """Return the metrics that a narrow table has room for: of several targets, the mean loss and each one's first."""
    first = {metrics[0].name for metrics in METRICS.values()}
    return [m for m in result.metrics if not result.targets or m.primary or m.name.split("/")[0] in first]


def targets_table(result: StudyResult) -> Table | None:
    """Return each of several targets with its task and the rows whose label is known."""
    if not result.targets:
        return None
    rows = tuple((own.name, _kind(own.classes), f"{own.labels:,}") for own in result.targets)
    return Table(("target", "what it is", "rows with a label"), rows)


def _kind(classes: tuple[str, ...]) -> str:
    return f"{len(classes)} classes: {cut(listing(classes), 80)}" if classes else "a number"


def together_figure(result: StudyResult) -> Figure:
    """Draw, for each of several targets, what learning it alone costs, seed by seed."""
    if not result.together:
        why = "the study was stopped before"
        if not result.interrupted:
            why = "time or workers were lacking after the ablation, or too few labels are there to stop by"
        return Figure("together", "Learning together or alone", "", (), (), None, f"This was not measured: {why}.")
    helped = sum(item.verdict == "helps" for item in result.together)
    hurt = sum(item.verdict == "hurts" for item in result.together)
    claim = f"Learning together helped {helped} of {len(result.together)} targets" + (
        f" and harmed {hurt}" if hurt else ""
    )
    panels, rows = [], []
    for item in result.together:
        decimals = decimals_for([item.gain])
        panels.append(
            Panel(item.target, f"change in test {item.metric.label}, {item.verdict}", _drawing(item, decimals))
        )
        scores = decimals_for([Interval(item.together, item.alone, item.together)]) + 2
        rows.append(
            (
                item.target,
                f"{item.metric.label}, {labels(item.metric)}",
                cell(item.together, scores),
                cell(item.alone, scores),
                range_cell(item.gain, decimals),
                listing(signed(value, decimals) for value in item.gain_seeds) or MISSING,
                item.verdict,
            )
        )
    head = ("target", "metric", "together", "alone", "alone - together", "its seeds", "verdict")
    caption: tuple[str, ...] = (
        "The same recipe, seeds, rows, initial trunk and batches, with one head instead of all; scored on the test "
        "part, which neither recipe nor step was chosen by. The recipe was searched for the targets together: one "
        "searched for a target alone might do better.",
    )
    if lacking := [one.name for one in result.targets if one.name not in {item.target for item in result.together}]:
        caption = (*caption, f"Not measured for {listing(lacking)}: too few labels are there to stop by.")
    intro = "Right of zero: the target is worse off alone, so learning together helped. Left of zero: it harmed."
    key = (("dot", "alone against together, mean and 95 % interval"), ("seed", "one seed of it"))
    return Figure("together", claim, intro, tuple(panels), caption, Table(head, tuple(rows)), key=key)


def _drawing(item: Together, decimals: int) -> Markup:
    kind = KINDS.get(item.verdict, "idle")
    scale = Scale.over([0.0, *ends([item.gain]), *finite(item.gain_seeds)])
    told = plain_interval(item.gain, decimals)
    drawing = Drawing(76, f"What learning {item.target} alone costs: {told}, {item.verdict}.")
    drawing.across(scale, 20, 54)
    drawing.line((scale.at(0), scale.at(0)), (20, 54), "zero")
    whisker(drawing, scale, item.gain, 34, kind)
    for value in finite(item.gain_seeds):
        drawing.mark(scale.at(value), 42, f"seed {kind}", size=2.2, title=signed(value, decimals))
    drawing.mark(scale.at(item.gain.value), 34, f"mark {kind}", title=f"{item.target}: {told}")
    return drawing.svg()
