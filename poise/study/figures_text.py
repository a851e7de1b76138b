"""Numbers and names as a reader meets them: rounded alike, cleaned of control characters, cut to fit."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable

from poise.study.result import Interval

__all__ = ["clean", "cut", "decimals_for", "listing", "number", "plain_interval", "signed", "span", "width"]

MISSING = "not measured"
DIRECTIONS = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"


def clean(text: str) -> str:
    """Return the text with every character replaced that could move a cursor, turn the line or break the file.

    Control characters, direction overrides and lone surrogates become U+FFFD; line ends and tabs stay.
    """
    return "".join("\ufffd" if _moves(letter) else letter for letter in text)


def _moves(letter: str) -> bool:
    return letter not in "\n\t" and (unicodedata.category(letter) in ("Cc", "Cs") or letter in DIRECTIONS)


def width(text: str) -> int:
    """Return how many terminal columns the text takes: wide East Asian letters two, combining marks none."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) > 0 for letter in text)


def cut(text: str, columns: int) -> str:
    """Return the text on one line, at most `columns` wide, with an ellipsis where something was cut."""
    line = " ".join(clean(text).split())
    if width(line) <= columns:
        return line
    line = line[: 4 * columns]
    while width(line) > columns - 1:
        line = line[:-1]
    return line.rstrip() + "…"


def decimals_for(intervals: Iterable[Interval]) -> int:
    """Return the decimals that show the median interval's width with two digits, between 0 and 6.

    One number of decimals for a whole table keeps its points under each other.
    """
    sizes = sorted(
        size for item in intervals if math.isfinite(size := abs(item.high - item.low) or abs(item.value)) and size > 0
    )
    if not sizes:
        return 3
    return min(6, max(0, 1 - math.floor(math.log10(sizes[len(sizes) // 2]))))


def number(value: float, decimals: int = 3) -> str:
    """Return the value with that many decimals, a true minus sign and separated thousands."""
    if not math.isfinite(value):
        return MISSING
    rounded = round(value, decimals) + 0.0  # + 0.0, so that no negative zero is printed
    if value != 0 and rounded == 0 and decimals >= 6:
        text = f"{value:.2g}"  # smaller than the last decimal: say its size, not 0
    elif abs(rounded) >= 1e12:
        text = f"{value:.4g}"
    else:
        text = f"{rounded:,.{decimals}f}"
    return text.replace("-", "−")


def signed(value: float, decimals: int = 3) -> str:
    """Return the value with its sign always shown, for differences."""
    text = number(value, decimals)
    return text if not math.isfinite(value) or value <= 0 or text.strip("0.,") == "" else "+" + text


def span(interval: Interval, decimals: int = 3) -> str:
    """Return the interval's two ends in words."""
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return "no interval"
    return f"{number(interval.low, decimals)} to {number(interval.high, decimals)}"


def plain_interval(interval: Interval | None, decimals: int = 3) -> str:
    """Return the estimate with its interval in brackets."""
    if interval is None or not math.isfinite(interval.value):
        return MISSING
    return f"{number(interval.value, decimals)} ({span(interval, decimals)})"


def listing(names: Iterable[str]) -> str:
    """Return the names as a sentence lists them: "a", "a and b", "a, b and c"."""
    items = [cut(name, 40) for name in names]
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)
