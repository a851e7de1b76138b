"""A number with its uncertainty, as every report of the project gives it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Interval"]


@dataclass(frozen=True)
class Interval:
    """A point estimate with the ends of its 95 % interval, in the metric's own units."""

    value: float
    low: float
    high: float
