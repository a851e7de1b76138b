"""Check an argument once, at the start, with one message grammar."""

import numpy as np

from poise.core.errors import ArgumentError, shown

__all__ = ["choice", "number", "whole"]


def whole(argument: str, value: object, least: int, hint: str) -> int:
    """Return a whole number of `least` or more as an int; a boolean is none."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ArgumentError(f"`{argument}` must be a whole number of {least} or more; got {shown(value)}. {hint}")
    return int(value)


def number(argument: str, value: object, rule: str, low: float, high: float, hint: str, closed: bool = False) -> float:
    """Return a number in (low, high], or in [low, high) where `closed`, as a float; a boolean or NaN is none."""
    if not isinstance(value, bool) and isinstance(value, int | float | np.integer | np.floating):
        inside = low <= value < high if closed else low < value <= high
        if inside:
            return float(value)
    raise ArgumentError(f"`{argument}` must be {rule}; got {shown(value)}. {hint}")


def choice(argument: str, value: object, options: tuple[object, ...], hint: str) -> None:
    """Refuse a value that is none of the options."""
    if not any(value is option or (isinstance(value, str) and value == option) for option in options):
        raise ArgumentError(f"`{argument}` must be one of {', '.join(map(repr, options))}; got {shown(value)}. {hint}")
