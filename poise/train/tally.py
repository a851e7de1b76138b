"""Steps of a population whose kernels wait for one another, and the sums of their terms."""

from __future__ import annotations

import torch
from torch import Tensor

from poise.core.terms import data_keys
from poise.train.work import Work

__all__ = ["Tally"]

_TOGETHER = 8
"""Steps that a member takes before the next member begins: its weights and moments stay in the core's cache."""


class Tally:
    """The sums of the terms of many steps, and which members (M,) had a loss that is no number.

    `later` is the list that steps may leave work on; it is done after a few of them, and by `settle`.
    """

    def __init__(self, diverged: Tensor) -> None:
        self.later = Work(len(diverged))
        self.diverged = diverged
        self.sums: dict[str, Tensor] = {}
        self._waiting: list[dict[str, Tensor]] = []

    def add(self, terms: dict[str, Tensor]) -> None:
        """Take one step's terms (M,), which may be still to come."""
        self._waiting.append(terms)
        if not self.later.jobs or len(self._waiting) == _TOGETHER:
            self.settle()

    def settle(self) -> None:
        """Do what waits, and count its terms."""
        self.later.run()
        for terms in self._waiting:
            self.diverged |= ~torch.stack([torch.isfinite(terms[name]) for name in data_keys(terms)]).all(0)
            self.sums = {name: self.sums.get(name, 0) + term for name, term in terms.items()}
        self._waiting = []
