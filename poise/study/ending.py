"""When a search may end before its time: nothing that it would deliver improves any more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from poise.study.bracket import Candidate
from poise.study.ensemble import Library
from poise.study.problem import Problem

__all__ = ["Ending"]

ROUNDS = 4
"""Rounds in a row without an improvement beyond noise that end a search; a round is a bracket for each worker."""


@dataclass
class Ending:
    """The rule that ends a search in time early.

    After each round an ensemble is selected among all candidates, as it would be at the end. Its gain over the ensemble
    of four rounds before is measured on ten disjoint parts of the held-out rows: the gain is their mean, the noise its
    standard error. Where the gain is no more than the noise, the search ends. Both ensembles are chosen on these rows,
    so the gain is too large rather than too small: the rule ends late rather than early.
    """

    problem: Problem
    seed: int
    said: str = ""  # why the search ended, once it has
    means: list[Tensor] = field(default_factory=list)

    @property
    def reached(self) -> bool:
        """Whether the search may end."""
        return bool(self.said)

    def close(self, candidates: Sequence[Candidate]) -> None:
        """Look at the candidates after a round, the best first."""
        if not candidates:
            return
        library = Library(self.problem, candidates)
        # Fewer picks and bags than at the end: what counts is the difference between two ensembles made alike.
        self.means.append(library.mean(library.shares(self.seed, picks=10, bags=3)))
        if len(self.means) <= ROUNDS:
            return
        gain, noise = library.gain(self.means[-1 - ROUNDS], self.means[-1], self.seed)
        if gain <= noise < math.inf:
            self.said = (
                f"The search ended early, after {len(self.means)} rounds: over the last {ROUNDS} the ensemble gained "
                f"{max(gain, 0.0):.2g} on held-out rows, within the noise of {noise:.2g}."
            )
