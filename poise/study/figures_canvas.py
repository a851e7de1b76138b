"""Scales and marks of the report's figures: SVG whose x runs in per cent and whose y runs in pixels.

A viewBox would shrink 13 px text to 5 px on a phone. Percentages let one drawing fill any width, without a script,
while its text and marks keep their size. Colours are only classes: the page's CSS variables say what they look like.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.ticker import LogLocator, MaxNLocator

from poise.study.figures_text import clean, number
from poise.study.result import Interval

__all__ = ["Drawing", "Scale", "ends", "finite", "whisker"]

SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
ZERO_ROOM = 0.14  # the share of a log axis kept for exact zeros, which have no logarithm
SHAPES = {
    "diamond": "M0-{0}L{0} 0L0 {0}L-{0} 0Z",
    "square": "M-{0}-{0}H{0}V{0}H-{0}Z",
    "cross": "M-{0}-{0}L{0} {0}M-{0} {0}L{0}-{0}",
    "up": "M0-{0}L{0} {0}L-{0} {0}Z",
    "down": "M0 {0}L{0}-{0}L-{0}-{0}Z",
}


def finite(values: Iterable[float]) -> list[float]:
    """Return the values that a scale can place."""
    return [value for value in values if math.isfinite(value)]


@dataclass(frozen=True)
class Scale:
    """A map from values to shares of an axis, linear or logarithmic, with its ticks."""

    low: float
    high: float
    log: bool = False
    zero: bool = False  # a log scale that also has a place for exact zeros

    @classmethod
    def over(cls, values: Iterable[float], before: float = 0.05, after: float = 0.05, *, log: bool = False) -> Scale:
        """Return the scale over the finite values, with shares of it left free at both ends."""
        kept = finite(values)
        zero = log and any(value == 0 for value in kept)
        if log:
            kept = [math.log10(value) for value in kept if value > 0]
        low, high = (min(kept), max(kept)) if kept else (0.0, 1.0)
        if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
            room = 0.5 if log or low == 0 else abs(low) / 2
            low, high = low - room, high + room
        size = (high - low) / (1 - before - after)
        return cls(low - before * size, high + after * size, log, zero)

    def at(self, value: float) -> float:
        """Return the value's place as a share of the axis: 0 at the start, 1 at the end."""
        start = ZERO_ROOM if self.zero else 0.0
        if self.log:
            if value <= 0:
                return start / 3
            value = math.log10(value)
        return start + (1 - start) * (value - self.low) / (self.high - self.low)

    def ticks(self, count: int = 4) -> list[tuple[float, str]]:
        """Return about `count` round values as (place, text), all inside the axis."""
        found = [(self.at(value), text) for value, text in (self._powers(count) if self.log else self._rounds(count))]
        return ([(self.at(0.0), "0")] if self.zero else []) + found

    def _rounds(self, count: int) -> list[tuple[float, str]]:
        slack = 1e-9 * (self.high - self.low)
        values = [float(value) for value in MaxNLocator(count, steps=[1, 2, 5, 10]).tick_values(self.low, self.high)]
        step = values[1] - values[0] if len(values) > 1 else 1.0
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        inside = [value for value in values if self.low - slack <= value <= self.high + slack]
        if decimals > 5 or max(map(abs, inside), default=0) >= 1e7:
            return [(value, _power(value)) for value in inside]
        return [(value, number(value, decimals)) for value in inside]

    def _powers(self, count: int) -> list[tuple[float, str]]:
        low, high = 10**self.low, 10**self.high
        for parts in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0)):
            values = [float(value) for value in LogLocator(10, subs=parts, numticks=count).tick_values(low, high)]
            inside = [value for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
            if len(inside) > 1:
                return [(value, _power(value)) for value in inside]
        flat = Scale(low, high)
        return flat._rounds(count)


def _power(value: float) -> str:
    """Return a tick's text: plain between 0.001 and 10,000, with a power of ten outside."""
    if value == 0:
        return "0"
    if 0.00099 < abs(value) < 100_000:
        return f"{value:,.6g}".replace("-", "−")
    mantissa, exponent = f"{value:.2e}".split("e")
    ten = "10" + str(int(exponent)).translate(SUPERSCRIPT)
    head = f"{float(mantissa):g}".replace("-", "−")
    return ten if head == "1" else f"{head}·{ten}"


def _percent(share: float) -> str:
    return f"{100 * min(max(share, -1.0), 2.0):.2f}%"


class Drawing:
    """One SVG image under construction: x as a share of its width, y in pixels; every text is escaped."""

    def __init__(self, height: float, label: str) -> None:
        self.height = height
        self.label = label
        self._left = 0.0  # pixels that the page must leave free for the vertical axis
        self._parts: list[Markup] = []

    def _add(self, form: str, *values: object) -> None:
        self._parts.append(Markup(form).format(*values))

    def line(self, x: tuple[float, float], y: tuple[float, float], kind: str) -> None:
        """Draw a straight line from (x[0], y[0]) to (x[1], y[1])."""
        form = '<line class="{}" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>'
        self._add(form, kind, _percent(x[0]), _percent(x[1]), *y)

    def box(self, x: tuple[float, float], y: tuple[float, float], kind: str) -> None:
        """Draw a filled rectangle between two shares and two heights."""
        form = '<rect class="{}" x="{}" width="{}" y="{:.1f}" height="{:.1f}"/>'
        self._add(form, kind, _percent(min(x)), _percent(abs(x[1] - x[0])), min(y), abs(y[1] - y[0]))

    def mark(self, x: float, y: float, kind: str, *, shape: str = "dot", size: float = 5.5, title: str = "") -> None:
        """Draw one point; `title` is what hovering shows."""
        hover = Markup("<title>{}</title>").format(clean(title)) if title else Markup("")
        if shape == "dot":
            self._add('<circle class="{}" cx="{}" cy="{:.1f}" r="{}">{}</circle>', kind, _percent(x), y, size, hover)
        else:
            form = '<svg x="{}" y="{:.1f}"><path class="{}" d="{}">{}</path></svg>'
            self._add(form, _percent(x), y, kind, SHAPES[shape].format(size), hover)

    def text(self, x: float, y: float, text: str, kind: str, *, anchor: str = "start", shift: float = 0) -> None:
        """Write one line of text; `shift` moves it by pixels."""
        form = '<text class="{}" x="{}" y="{:.1f}" dx="{}" text-anchor="{}">{}</text>'
        self._add(form, kind, _percent(x), y, shift, anchor, clean(text))

    def curve(self, x: Sequence[float], y: Sequence[float], y_range: tuple[float, float], kind: str) -> None:
        """Draw a line through points given as shares of the width and of the range; a gap where one is not finite."""
        pieces, pen = [], "M"
        for across, up in zip(x, y, strict=True):
            if math.isfinite(across) and math.isfinite(up):
                start = "h0" if pen == "M" else ""  # a point between two holes is a line of no length, drawn as a dot
                pieces.append(f"{pen}{1000 * across:.1f} {1000 * (1 - up):.1f}{start}")
                pen = "L"
            else:
                pen = "M"
        form = (
            '<svg y="{:.1f}" height="{:.1f}" width="100%" viewBox="0 0 1000 1000" preserveAspectRatio="none">'
            '<path class="{}" d="{}" vector-effect="non-scaling-stroke"/></svg>'
        )
        self._add(form, min(y_range), abs(y_range[1] - y_range[0]), kind, "".join(pieces))

    def across(self, scale: Scale, top: float, bottom: float, count: int = 5) -> None:
        """Draw the horizontal axis: fine verticals and their numbers below."""
        for place, text in scale.ticks(count):
            self.line((place, place), (top, bottom), "grid")
            edge = "start" if place < 0.05 else "end" if place > 0.95 else "middle"
            self.text(place, bottom + 17, text, "tick", anchor=edge if len(text) > 5 else "middle")

    def upward(self, scale: Scale, top: float, bottom: float, count: int = 4) -> None:
        """Draw the vertical axis: fine horizontals, their numbers to the left of the image."""
        for place, text in scale.ticks(count):
            self._left = max(self._left, 8.0 * len(text) + 8)
            height = bottom - place * (bottom - top)
            self.line((0, 1), (height, height), "grid")
            self.text(0, height + 4, text, "tick", anchor="end", shift=-8)

    def svg(self) -> Markup:
        """Return the finished element, an image with a name for those who cannot see it."""
        form = (
            '<svg class="figure" role="img" aria-label="{}" width="100%" height="{:.0f}" style="--left:{:.0f}px">'
            "{}</svg>"
        )
        return Markup(form).format(clean(self.label), self.height, self._left, Markup("").join(self._parts))


def whisker(drawing: Drawing, scale: Scale, interval: Interval, y: float, kind: str) -> None:
    """Draw an interval as a line, where both its ends are known."""
    if math.isfinite(interval.low) and math.isfinite(interval.high):
        drawing.line((scale.at(interval.low), scale.at(interval.high)), (y, y), f"whisker {kind}")


def ends(intervals: Iterable[Interval]) -> list[float]:
    """Return every finite estimate and interval end, for a scale to cover."""
    return finite(end for item in intervals for end in (item.value, item.low, item.high))
