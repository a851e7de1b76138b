"""A study's budget: minutes on a clock, or a number of trials."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass, field

from poise.core.errors import ArgumentError, counted, shown

__all__ = ["Budget", "Clock", "parse_budget"]

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Budget:
    """What a search may spend: `seconds` of wall clock, or `trials` configurations; the other one is infinite."""

    seconds: float
    trials: float
    text: str


def parse_budget(text: str | float) -> Budget:
    """Return the budget of "90s", "2m", "1.5h", "50trials" or a number of seconds.

    Raises: ArgumentError that shows the forms.

    >>> parse_budget("2m").seconds
    120.0
    """
    shape = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|h|trials?)?\s*", str(text).lower())
    # Beyond 1e308 a number of digits reads as infinity, which would be no budget at all.
    if shape is None or isinstance(text, bool) or not 0 < float(shape[1]) < math.inf:
        raise ArgumentError(f"`budget` must be a time or a count such as 90s, 2m, 1.5h or 50trials; got {shown(text)}.")
    amount, unit = float(shape[1]), shape[2] or "s"
    if unit.startswith("trial"):
        if amount != int(amount):
            raise ArgumentError(f"`budget` in trials must be a whole number; got {shown(text)}.")
        return Budget(math.inf, amount, counted(int(amount), "trial"))
    return Budget(amount * _SECONDS[unit], math.inf, f"{shape[1]}{unit}")


@dataclass
class Clock:
    """Seconds since the start, against the budget's."""

    budget: Budget
    started: float = field(default_factory=time.monotonic)

    def spent(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self.started

    def left(self, share: float = 1.0) -> float:
        """Return the seconds left of a share of the budget; infinite for a budget in trials."""
        return self.budget.seconds * share - self.spent()
