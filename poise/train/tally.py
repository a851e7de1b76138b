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

    `later` is the list that steps may leave work on; it is done after a few of them, and by `settle`. `moves` is
    whether dials move from step to step, so that each step is put on the list by itself.
    """

    def __init__(self, diverged: Tensor, *, moves: bool = False) -> None:
        self.later = Work(len(diverged))
        self.diverged = diverged
        self.moves = moves
        self.sums: dict[str, Tensor] = {}
        self._waiting: list[dict[str, Tensor]] = []  # terms (steps, M)
        self._steps = 0  # that wait
        self._alone = False  # whether kernels did all of the last step

    @property
    def ahead(self) -> int:
        """How many steps may be put on the list at once."""
        return _TOGETHER - self._steps if self._alone and not self.moves else 1

    def add(self, terms: dict[str, Tensor]) -> None:
        """Take the terms (M,) of one step, or (steps, M) of several, which may be still to come."""
        own = {name: term if term.dim() == 2 else term[None] for name, term in terms.items()}
        self._waiting.append(own)
        self._steps += len(next(iter(own.values())))
        self._alone = bool(self.later.jobs)
        if not self._alone or self._steps >= _TOGETHER:
            self.settle()

    def settle(self) -> None:
        """Do what waits, and count its terms."""
        self.later.leave()
        self.later.run()
        for terms in self._waiting:
            finite = torch.stack([torch.isfinite(terms[name]) for name in data_keys(terms)])
            self.diverged |= ~finite.all(0).all(0)
            for name, term in terms.items():
                for one in term:  # a sum over steps would be rounded in another way for one member than for many
                    self.sums[name] = self.sums.get(name, 0) + one
        self._waiting, self._steps = [], 0
