"""The ensemble of a search: which candidates, with which shares, on the rows that were held out from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from poise.study.bracket import Candidate
from poise.study.problem import Problem
from poise.study.selection import greedy_weights

__all__ = ["LARGEST", "LEAST", "MEMBERS", "Library", "gain_between"]

LARGEST = 40
"""Of the best candidates, how many an ensemble is chosen among."""

MEMBERS = 12
"""Configurations of an ensemble at most. On held-out halves of two tables, twelve lost 0.4 and 0.7 % less than six."""

LEAST = 0.02
"""A smaller share is noise of the bags, and each member costs a retraining."""


BLOCKS = 10
"""Parts of the held-out rows, whose differences tell what noise is."""

Loss = Callable[[Tensor], float]
"""What is lost on the rows of these numbers (n,)."""


def gain_between(before: Loss, now: Loss, rows: int, seed: int) -> tuple[float, float]:
    """Return by how much less `now` loses than `before`, functions of numbers of rows, and the noise of that.

    The gain is the mean over ten disjoint parts of the rows, the noise its standard error. Where the rows are too
    few for parts, nothing can be told: the gain is 0, the noise infinite.
    """
    if rows < 2 * BLOCKS:
        return 0.0, math.inf
    parts = torch.randperm(rows, generator=torch.Generator().manual_seed(seed)).tensor_split(BLOCKS)
    gains = torch.tensor([before(part) - now(part) for part in parts])
    return float(gains.mean()), float(gains.std()) / BLOCKS**0.5


class Library:
    """The best candidates' answers (C, n, W) on the rows that every one of them was held out from."""

    def __init__(self, problem: Problem, candidates: Sequence[Candidate]) -> None:
        self.problem = problem
        outputs = torch.stack([candidate.outputs for candidate in candidates[:LARGEST]])
        held = torch.isfinite(outputs[0]).flatten(1).all(-1)
        if problem.rows.weights is not None:
            held &= problem.rows.weights > 0  # half of the rows, all of weight 0, would have no loss
        self.answers, self.targets = problem.answers(outputs[:, held]), problem.rows.targets[held]
        self.weights = problem.weights_of(held)

    def __len__(self) -> int:
        return len(self.targets)

    def loss(self, answers: Tensor, rows: Tensor, temperatures: Sequence[float] | None = None) -> Tensor:
        """Return the losses (C,) of answers (C, n, W) on the rows of these numbers (n,), each after its temperature."""
        return self.problem.answer_score(answers, self.targets[rows], self.weights[rows], temperatures)

    def gain(self, before: Tensor, now: Tensor, seed: int) -> tuple[float, float]:
        """Return `gain_between` answers (n, W) to the library's rows."""

        def lost(answers: Tensor) -> Loss:
            return lambda rows: float(self.loss(answers[rows][None], rows))

        return gain_between(lost(before), lost(now), len(self), seed)

    def shares(self, seed: int, *, picks: int = 20, bags: int = 10, members: int = MEMBERS) -> dict[int, float]:
        """Return {place among the candidates: share}, the best single candidate always among them.

        Ensembles are compared at one temperature: that of the best candidate, and then that of a first choice.
        """
        found = torch.eye(len(self.answers))[0]
        for count in dict.fromkeys((max(1, bags // 3), bags)):
            loss = partial(self.loss, temperatures=self.temperatures(torch.tensordot(found, self.answers, 1)))
            found = greedy_weights(self.answers, loss, picks=picks, bags=count, seed=seed)
        kept = {place: float(share) for place, share in enumerate(found) if share >= LEAST}
        kept = dict(sorted(kept.items(), key=lambda item: -item[1])[:members])
        kept.setdefault(0, LEAST)  # its recipe is the study's, and member 0 must be its network
        total = sum(kept.values())
        return {place: share / total for place, share in kept.items()}

    def mean(self, shares: Mapping[int, float]) -> Tensor:
        """Return the ensemble's answers (n, W)."""
        return torch.stack([share * self.answers[place] for place, share in shares.items()]).sum(0)

    def temperatures(self, mean: Tensor) -> tuple[float, ...]:
        """Return each head's temperature for the ensemble's answers."""
        return tuple(head.temperature(*own) for head, *own in self.problem.of_heads(mean, self.targets, self.weights))
