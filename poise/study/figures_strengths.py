"""How validation changes with the strength of each part: one small curve a dial, on a shared vertical axis."""

from __future__ import annotations

import math

from markupsafe import Markup

from poise.study.figures_canvas import Drawing, Scale, ends
from poise.study.figures_record import Figure, Panel, Table, primary, range_cell
from poise.study.figures_text import decimals_for, listing, plain_interval
from poise.study.result import Strength, StudyResult

__all__ = ["strengths_figure"]

TITLE = "How strong each part should be"


def strengths_figure(result: StudyResult) -> Figure:
    """Draw validation against each dial of the recipe, as the change from the recipe, with the chosen value marked."""
    curves = [item for item in result.strengths if len(item.values) > 1]
    metric = primary(result)
    if not curves:
        why = "the study was stopped before" if result.interrupted else "the recipe has no dial, or the budget no time,"
        return Figure(
            "strengths", TITLE, "", (), (), None, f"No strength was swept: {why} to train it at other values."
        )
    decimals = decimals_for(item for curve in curves for item in curve.change)
    scale = Scale.over([0.0, *ends(item for curve in curves for item in curve.change)], 0.06, 0.08)
    panels = tuple(Panel(curve.dial, _range(curve), _drawing(curve, scale, decimals)) for curve in curves)
    better = [curve.dial for curve in curves if any(item.high < 0 for item in curve.change)]
    flat = [curve.dial for curve in curves if all(item.low <= 0 <= item.high for item in curve.change)]
    if better:
        claim = f"Another value was better than the chosen one for {listing(better)}"
    else:
        claim = "No other value was measurably better than the chosen one"
    caption = [
        f"Each dial alone at other values, all else as in the recipe, retrained with the same seeds: change in "
        f"validation {metric.label} from the recipe, mean and 95 % interval over seeds. Below zero is better. "
        "The dashed line is the chosen value."
    ]
    if flat:
        caption.append(
            f"Nothing measurable happens over the whole range of {listing(flat)}: it need not be tuned here."
        )
    rows = tuple(
        (f"{curve.dial} = {value:g}" + (" (chosen)" if value == curve.chosen else ""), range_cell(change, decimals),
         listing(f"{one:+.{decimals}f}" for one in seeds))
        for curve in curves
        for value, change, seeds in zip(curve.values, curve.change, curve.change_seeds, strict=True)
    )  # fmt: skip
    table = Table(("value", "change", "its seeds"), rows)
    return Figure("strengths", claim, "", panels, tuple(caption), table)


def _range(curve: Strength) -> str:
    return f"chosen {curve.chosen:.3g}"


def _drawing(curve: Strength, scale: Scale, decimals: int) -> Markup:
    top, bottom = 14.0, 174.0
    across = Scale.over(curve.values, 0.04, 0.04, log=curve.log)

    def height(value: float) -> float:
        return bottom - scale.at(value) * (bottom - top)

    told = "; ".join(
        f"{value:g}: {plain_interval(change, decimals)}"
        for value, change in zip(curve.values, curve.change, strict=True)
    )
    drawing = Drawing(bottom + 24, f"Change of validation over {curve.dial}. {told}.")
    drawing.upward(scale, top, bottom)
    drawing.across(across, top, bottom, 4)
    drawing.line((0, 1), (height(0), height(0)), "zero")
    chosen = across.at(curve.chosen)
    drawing.line((chosen, chosen), (top - 6, bottom), "kept")
    places = [across.at(value) for value in curve.values]
    drawing.curve(places, [scale.at(change.value) for change in curve.change], (top, bottom), "curve validation")
    for value, place, change in zip(curve.values, places, curve.change, strict=True):
        if math.isfinite(change.low) and math.isfinite(change.high) and change.low < change.high:
            drawing.line((place, place), (height(change.low), height(change.high)), "whisker validation")
        if not math.isfinite(change.value):
            continue
        note = f"{curve.dial} = {value:g}: {plain_interval(change, decimals)}"
        drawing.mark(place, height(change.value), "mark validation", size=3.5, title=note)
    return drawing.svg()
