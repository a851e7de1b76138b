"""The ensemble's answers on the test rows: the classes it confuses, its probabilities, and what it learned from."""

from __future__ import annotations

import math

from markupsafe import Markup

from poise.study.answers_seen import expected_calibration_error
from poise.study.figures_canvas import Drawing, Scale
from poise.study.figures_record import Figure, Panel, Table, cell
from poise.study.figures_text import cut, listing, number
from poise.study.result import CalibrationBin, StudyResult

__all__ = ["answers_figure", "pictures_figure"]

DRAWN_CLASSES = 12
LISTED_PAIRS = 12
SHADES = ("none", "faint", "light", "half", "strong", "full")  # of a cell, by its share of the class


def answers_figure(result: StudyResult) -> Figure:
    """Draw the confusion matrix and the calibration of the ensemble on the test rows."""
    title = "Which classes are confused, and how far the probabilities can be trusted"
    if not result.confusion:
        why = "the target is a number" if result.task == "regression" else "several targets have no one such table"
        return Figure("answers", title, "", (), (), None, f"No confusion to show: {why}.")
    pairs = sorted(
        (
            (count, true, decided)
            for true, row in enumerate(result.confusion)
            for decided, count in enumerate(row)
            if true != decided and count
        ),
        reverse=True,
    )
    panels = []
    if len(result.classes) <= DRAWN_CLASSES:
        panels.append(Panel("Confusion", "rows: the true class; columns: the class decided", _confusion(result)))
    if result.calibration:
        error = expected_calibration_error(result.calibration)
        note = f"expected calibration error {number(error, 3)}"
        panels.append(Panel("Calibration", note, _calibration(result.calibration)))
    total = sum(map(sum, result.confusion))
    wrong = sum(count for count, _, _ in pairs)
    claim = f"{wrong:,} of {total:,} test rows are decided wrongly"
    caption = []
    if pairs:
        count, true, decided = pairs[0]
        one, other = cut(result.classes[true], 40), cut(result.classes[decided], 40)
        caption.append(f"Most often, {one} is taken for {other} ({count:,} rows).")
    caption.append(
        "Calibration: test rows in groups of equal size by their largest probability; on the dashed line a group is "
        "right as often as it says. The decision weighs classes as the study was asked to, so it need not be the "
        "largest probability."
    )
    rows = tuple(
        (f"{result.classes[true]} taken for {result.classes[decided]}", cell(count, 0))
        for count, true, decided in pairs[:LISTED_PAIRS]
    )
    return Figure("answers", claim, "", tuple(panels), tuple(caption), Table(("confusion", "rows"), rows))


def _confusion(result: StudyResult) -> Markup:
    size, counts, names = len(result.classes), result.confusion, result.classes
    pitch, top, left = 30, 34, 0.26
    step = (1 - left) / size
    told = listing(
        f"{names[true]}: {counts[true][true]} of {sum(counts[true])} right" for true in range(size) if sum(counts[true])
    )
    drawing = Drawing(top + pitch * size + 6, f"Confusion of the classes on the test rows. {told}.")
    for true in range(size):
        y, rows = top + pitch * true, sum(counts[true])
        drawing.text(0, y + 20, cut(names[true], 14), "row")
        drawing.text(
            left + step * (true + 0.5), top - 10, cut(names[true], max(2, 40 // size)), "tick", anchor="middle"
        )
        for decided in range(size):
            count, x = counts[true][decided], left + step * decided
            shade = math.ceil((len(SHADES) - 1) * count / rows) if rows else 0
            kind = "right" if true == decided else "wrong"
            drawing.box((x + 0.003, x + step - 0.003), (y + 2, y + pitch - 2), f"cell {kind} {SHADES[shade]}")
            if count:
                strong = "on-dark" if shade > len(SHADES) // 2 else ""
                drawing.text(x + step / 2, y + 20, f"{count:,}", f"count {strong}".strip(), anchor="middle")
    return drawing.svg()


def _calibration(bins: tuple[CalibrationBin, ...]) -> Markup:
    top, bottom = 12.0, 232.0
    low = min(0.9, *(min(one.probability, one.right) for one in bins))
    scale = Scale(max(0.0, low - 0.05), 1.02)
    told = "; ".join(f"says {one.probability:.2f}, right {one.right:.2f} of {one.rows}" for one in bins)
    drawing = Drawing(bottom + 26, f"Calibration in groups of rows. {told}.")
    drawing.upward(scale, top, bottom)
    drawing.across(scale, top, bottom, 4)
    drawing.curve([0.0, 1.0], [0.0, 1.0], (top, bottom), "curve ideal")
    places = [(scale.at(one.probability), scale.at(one.right)) for one in bins]
    drawing.curve([x for x, _ in places], [y for _, y in places], (top, bottom), "curve train")
    for one, (x, y) in zip(bins, places, strict=True):
        note = f"says {one.probability:.3f}, right {one.right:.3f}, {one.rows} rows"
        drawing.mark(x, bottom - y * (bottom - top), "mark train", size=4, title=note)
    return drawing.svg()


def pictures_figure(result: StudyResult) -> Figure:
    """Show training pictures as they are and as the recipe draws them."""
    title = "What the recipe shows the network"
    if not result.pictures:
        return Figure("pictures", title, "", (), (), None, "The recipe leaves the inputs as they are.")
    form = (
        '<img class="strip" alt="a training picture of class {}, as it is and in {} draws of the recipe" '
        'src="data:image/png;base64,{}">'
    )
    panels = tuple(
        Panel(cut(one.label, 30), "", Markup(form).format(cut(one.label, 80), one.count - 1, one.png))
        for one in result.pictures
    )
    caption = ("Left: the picture as it is. Beside it: what six steps of training would see, mixed pictures included.",)
    return Figure("pictures", title, "", panels, caption, None)
