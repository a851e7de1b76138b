"""What each part of the recipe is worth: left out, and alone, with every seed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from poise.study.figures_canvas import Drawing, Scale, ends, finite, whisker
from poise.study.figures_record import Figure, Panel, Table, primary, range_cell
from poise.study.figures_text import MISSING, cut, decimals_for, listing, plain_interval, signed
from poise.study.result import Contribution, StudyResult

__all__ = ["contributions_figure", "ranked"]

KINDS = {"helps": "helps", "hurts": "hurts"}  # every other verdict is drawn muted


def ranked(parts: Sequence[Contribution]) -> list[Contribution]:
    """Return the contributions, the largest first, those that could not be measured last."""
    return sorted(parts, key=lambda item: -item.leave_out.value if math.isfinite(item.leave_out.value) else math.inf)


def contributions_figure(result: StudyResult) -> Figure:
    """Draw what leaving each part out costs and what it gives alone, sorted, the parts without effect muted."""
    parts = ranked(result.contributions)
    metric = primary(result)
    title = "What each part contributed"
    if not parts:
        why = (
            "the study was stopped before the recipe's parts were retrained one by one"
            if result.interrupted
            else "the recipe has no part to leave out, or time or workers were lacking to retrain without each"
        )
        return Figure("parts", title, "", (), (), None, f"No contribution was measured: {why}.")
    decimals = decimals_for(item.leave_out for item in parts)
    outs, alone = [item.leave_out for item in parts], [item.add_in for item in parts if item.add_in is not None]
    far = max(map(abs, ends(alone)), default=0.0) > 4 * max(map(abs, ends(outs)), default=0.0)
    unit = f"change in validation {metric.label}"
    first = "left out" if far else "left out and alone"
    panels = [
        Panel(f"Each part {first}", unit, _parts_drawing(parts, decimals, outs=True, alone=bool(alone) and not far))
    ]
    if far:
        panels.append(
            Panel("Each part alone", f"{unit}; a wider axis", _parts_drawing(parts, decimals, outs=False, alone=True))
        )
    helped = [item.part for item in parts if item.verdict == "helps"]
    hurt = [item.part for item in parts if item.verdict == "hurts"]
    shared = [item.part for item in parts if item.verdict == "replaceable"]
    idle = [item.part for item in parts if item.verdict == "no measurable effect"]
    unknown = [item.part for item in parts if item.verdict == "not measured"]
    claim = title
    if len(parts) > 1:
        claim = f"{len(helped)} of {len(parts)} parts could not be left out without harm"
        claim += f", {len(shared)} helped alone" if shared else ""
    caption = (
        [
            f"No measurable effect here: {listing(idle)}. Leaving one of them out changed validation "
            f"{metric.label} by no more than other seeds do."
        ]
        if idle
        else []
    )
    if shared:
        caption.append(
            f"Helpful alone, but replaceable: {listing(shared)}. With one of them left out, the others did its work."
        )
    if hurt:
        caption.append(f"The recipe was better without: {listing(hurt)}.")
    if unknown:
        caption.append(f"Not measured: {listing(unknown)}. Fewer than two seeds without one of them came to a number.")
    if not idle and not hurt and not shared and not unknown:
        caption.append("Every part of the recipe helped measurably.")
    if not alone:
        caption.append("No part was retrained alone in this study.")
    key = [("dot", "the recipe without the part, mean and 95 % interval"), ("seed", "one seed of it")]
    key += [("diamond", "the part alone against no regularizer")] if alone else []
    rows = tuple(
        (
            item.part,
            range_cell(item.leave_out, decimals),
            listing(signed(value, decimals) for value in item.leave_out_seeds) or MISSING,
            range_cell(item.add_in, decimals),
            item.verdict,
        )
        for item in parts
    )
    table = Table(("part", "left out", "its seeds", "alone", "verdict"), rows)
    intro = "Right of zero: the part made validation better. Left of zero: it made it worse."
    return Figure("parts", claim, intro, tuple(panels), tuple(caption), table, key=tuple(key))


def _parts_drawing(parts: Sequence[Contribution], decimals: int, *, outs: bool, alone: bool) -> Markup:
    shown: list[float] = [0.0]
    for item in parts:
        shown += ends([item.leave_out] if outs else []) + finite(item.leave_out_seeds if outs else ())
        shown += ends([item.add_in] if alone and item.add_in else [])
    scale, pitch = Scale.over(shown), 56 if outs else 42
    told = "; ".join(
        f"{item.part}: {plain_interval(item.leave_out if outs else item.add_in, decimals)}, {item.verdict}"
        for item in parts
    )
    drawing = Drawing(pitch * len(parts) + 34, f"Worth of each part. {told}.")
    bottom = pitch * len(parts) + 12
    drawing.across(scale, 20, bottom)
    drawing.line((scale.at(0), scale.at(0)), (20, bottom), "zero")
    for row, item in enumerate(parts):
        y, kind = row * pitch + 34, KINDS.get(item.verdict, "idle")
        effect = item.leave_out if outs else item.add_in
        drawing.text(0, y - 16, cut(item.part, 20), f"row strong {kind}-name")
        drawing.text(
            1, y - 16, MISSING if effect is None else signed(effect.value, decimals), f"value strong {kind}-name"
        )
        drawing.text(1, y - 16, cut(item.verdict, 20) if outs else "", "value second muted")
        if alone and item.add_in is not None and math.isfinite(item.add_in.value):
            level = y + 15 if outs else y
            whisker(drawing, scale, item.add_in, level, f"alone {kind}")
            note = f"{item.part} alone: {plain_interval(item.add_in, decimals)}"
            drawing.mark(scale.at(item.add_in.value), level, f"hollow {kind}", shape="diamond", size=5, title=note)
        if outs and math.isfinite(item.leave_out.value):
            whisker(drawing, scale, item.leave_out, y, kind)
            for value in finite(item.leave_out_seeds):
                drawing.mark(scale.at(value), y + 8, f"seed {kind}", size=2.2, title=signed(value, decimals))
            note = f"{item.part} left out: {plain_interval(item.leave_out, decimals)}"
            drawing.mark(scale.at(item.leave_out.value), y, f"mark {kind}", title=note)
    return drawing.svg()
