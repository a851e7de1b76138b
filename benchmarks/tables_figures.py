"""Figures of the comparison as SVG files that follow the reader's light or dark page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from html import escape

import numpy as np
import pandas as pd

__all__ = ["anytime_figure", "gain_figure", "rank_figure"]

WIDTH, LEFT, ROW, TOP = 720, 150, 26, 44
OURS = "poise"
STYLE = """<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 } .soft { fill: #59636e } .title { font-weight: 600 }
.grid { stroke: #d1d9e0 } .zero { stroke: #59636e } .theirs { stroke: #6e7781; fill: #6e7781 }
.ours { stroke: #0969da; fill: #0969da } .line { fill: none; stroke-width: 2 } .whisker { stroke-width: 2 }
@media (prefers-color-scheme: dark) { text { fill: #f0f6fc } .soft { fill: #9198a1 } .grid { stroke: #3d444d }
.zero { stroke: #9198a1 } .theirs { stroke: #9198a1; fill: #9198a1 } .ours { stroke: #58a6ff; fill: #58a6ff } }
</style>"""
DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 5", "12 4")

Bounds = tuple[float, float, float]
"""A mean with the ends of its interval."""


def rank_figure(ranks: Mapping[str, Bounds]) -> str:
    """Draw each arm's mean rank with its interval, the best on top."""
    arms = sorted(ranks, key=lambda arm: ranks[arm][0])
    low, high = 1.0, max(math.ceil(max(end for _, _, end in ranks.values())), 2)
    parts, bottom = [], TOP + ROW * len(arms)
    for tick in range(1, high + 1):
        parts += _upright(_across(tick, low, high), bottom, str(tick))
    for place, arm in enumerate(arms):
        middle = TOP + ROW * (place + 0.5)
        parts += [_text(LEFT - 12, middle + 4, arm, anchor="end"), *_whisker(ranks[arm], low, high, middle, arm)]
    return _svg("Mean rank over tables, 1 is best, with 95 % intervals", bottom + 28, parts)


def gain_figure(gains: Mapping[str, pd.Series]) -> str:
    """Draw, for each rival, how much better poise is on every table: a dot a table, the mean with its interval thick.

    `gains[rival]` (tables,) in per cent, positive where poise is better; beyond 25 % a dot stands at the edge.
    """
    parts, edge = [], 25.0
    bottom = TOP + 2 * ROW * len(gains)
    for tick in (-20, -10, 0, 10, 20):
        parts += _upright(_across(tick, -edge, edge), bottom, f"{tick:+d} %" if tick else "0", zero=tick == 0)
    for place, (rival, gain) in enumerate(gains.items()):
        middle = TOP + 2 * ROW * (place + 0.5)
        parts.append(_text(LEFT - 12, middle + 4, rival, anchor="end"))
        for row, (table, value) in enumerate(gain.items()):
            across = _across(float(np.clip(value, -edge, edge)), -edge, edge)
            kind, up = "ours" if value > 0 else "theirs", middle - 12 + 24 * (row + 0.5) / max(1, len(gain))
            parts.append(
                f'<circle class="{kind}" cx="{across:.1f}" cy="{up:.1f}" r="4"><title>'
                f"{escape(str(table))}: {value:+.1f} %</title></circle>"
            )
    return _svg(
        "How much better poise is than each rival, a dot a table (per cent; right is better)", bottom + 28, parts
    )


def anytime_figure(curves: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]) -> str:
    """Draw for each table the arms' losses (lower is better) over the seconds that they had, each in a panel."""
    panels = list(curves)
    wide, high = (WIDTH - 60) / max(1, len(panels)), 200
    parts: list[str] = []
    arms = sorted({arm for own in curves.values() for arm in own}, key=lambda arm: (arm != OURS, arm))
    for place, table in enumerate(panels):
        left = 50 + place * wide
        points = [point for own in curves[table].values() for point in own]
        times, values = sorted({seconds for seconds, _ in points}), [value for _, value in points]
        lowest, highest = min(values), max(*values, min(values) * (1 + 1e-6) + 1e-12)

        place_of = partial(_on_panel, left=left, wide=wide - 70, high=high, times=times, ends=(lowest, highest))
        parts.append(_text(left, TOP + 6, table))
        for seconds in times:
            across = place_of(seconds, lowest)[0]
            parts += [_text(across, TOP + high + 40, f"{seconds:g} s", anchor="middle", kind="soft")]
        for value, up in ((highest, TOP + 24), (lowest, TOP + high + 16)):
            parts.append(
                _text(left - 6, up, f"{value:,.0f}" if value >= 1000 else f"{value:.3g}", anchor="end", kind="soft")
            )
        for arm, own in curves[table].items():
            kind, dash = "ours" if arm == OURS else "theirs", DASHES[arms.index(arm) % len(DASHES)]
            path = "L".join("{:.1f} {:.1f}".format(*place_of(*point)) for point in sorted(own))
            parts.append(
                f'<path class="{kind} line" stroke-dasharray="{dash}" d="M{path}"><title>{escape(arm)}</title></path>'
            )
    for place, arm in enumerate(arms):
        across, down = 50 + place * 110, TOP + high + 62
        kind = "ours" if arm == OURS else "theirs"
        parts.append(
            f'<path class="{kind} line" stroke-dasharray="{DASHES[place % len(DASHES)]}" d="M{across} {down - 4}h24"/>'
        )
        parts.append(_text(across + 30, down, arm))
    return _svg("Loss on the test rows after so many seconds, lower is better", TOP + high + 76, parts)


def _on_panel(
    seconds: float,
    value: float,
    *,
    left: float,
    wide: float,
    high: float,
    times: Sequence[float],
    ends: tuple[float, float],
) -> tuple[float, float]:
    """Return where a point of a panel lies: seconds on a logarithmic axis, the value on a linear one."""
    share = math.log(seconds / times[0]) / max(1e-9, math.log(times[-1] / times[0]))
    return left + share * wide, TOP + 20 + high * (1 - (value - ends[0]) / (ends[1] - ends[0]))


def _across(value: float, low: float, high: float) -> float:
    return LEFT + (WIDTH - LEFT - 30) * (value - low) / (high - low)


def _upright(across: float, bottom: float, label: str, *, zero: bool = False) -> list[str]:
    kind = "zero" if zero else "grid"
    line = f'<line class="{kind}" x1="{across:.1f}" x2="{across:.1f}" y1="{TOP}" y2="{bottom}"/>'
    return [line, _text(across, bottom + 18, label, anchor="middle", kind="soft")]


def _whisker(bounds: Bounds, low: float, high: float, middle: float, arm: str) -> list[str]:
    kind = "ours" if arm == OURS else "theirs"
    value, start, end = (_across(number, low, high) for number in bounds)
    return [
        f'<line class="{kind} whisker" x1="{start:.1f}" x2="{end:.1f}" y1="{middle}" y2="{middle}"/>',
        f'<circle class="{kind}" cx="{value:.1f}" cy="{middle}" r="5"><title>{escape(arm)}: {bounds[0]:.2f} '
        f"[{bounds[1]:.2f}, {bounds[2]:.2f}]</title></circle>",
    ]


def _text(x: float, y: float, text: str, *, anchor: str = "start", kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(text)}</text>'


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    box = f'viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box}>'
    return "\n".join([head, STYLE, _text(12, 22, title, kind="title"), *parts, "</svg>\n"])
