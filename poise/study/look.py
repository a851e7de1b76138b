"""The rows that each fold is looked at on: those that stop, or those that choose."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from poise.core.context import Batch
from poise.study.problem import Problem
from poise.train.population import Score

__all__ = ["Look"]


class Look:
    """One part of every fold: its row numbers (K, n), padded to one length, and their weights (K, n), 0 where padded.

    Each member is asked for its own fold's rows only: of three folds, the stop rows are a tenth of the table.
    """

    def __init__(self, problem: Problem, mask: Tensor) -> None:
        self.problem = problem
        longest = int(mask.sum(1).max())
        # A stable sort keeps the rows of a fold in their order, in front of those that fill it up.
        self.numbers = torch.argsort(mask, dim=1, descending=True, stable=True)[:, :longest]
        self.held = torch.gather(mask, 1, self.numbers)
        own = problem.rows.weights
        self.weights = self.held if own is None else self.held * own[self.numbers]
        self.data = problem.rows.select(self.numbers[0]) if len(mask) == 1 else problem.rows

    def rows(self, fold: Tensor) -> Tensor | None:
        """Return the rows of `data` of members that train on the folds (M,); None if all members share them."""
        return None if len(self.numbers) == 1 else self.numbers[fold]

    def score(self, fold: Tensor) -> Score:
        """Return what scores the outputs (M, n, W) of members that train on the folds (M,)."""
        weights = self.weights[fold]

        def score(outputs: Tensor, batch: Batch) -> Tensor:
            return self.problem.score(outputs, Batch(None, batch.targets, weights))

        return score

    def judge(self, answer: Callable[[Tensor, Tensor | None], Tensor], fold: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores (M,) and outputs (M, n, W) of what answers on inputs and members' rows of them."""
        rows = self.rows(fold)
        outputs = answer(self.data.inputs, rows)
        targets = self.data.targets
        own = targets.expand(len(fold), *targets.shape) if rows is None else targets[rows]
        return self.score(fold)(outputs, Batch(None, own, None)), outputs
