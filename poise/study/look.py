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

    def score(self, fold: Tensor, tempered: Tensor) -> Score:
        """Return what scores the outputs (M, n, W) of members that train on the folds (M,).

        Members that are `tempered` (M,) bool are scored after the temperature that suits them best here: what they
        know counts, and not how sure they are of it.
        """
        weights = self.weights[fold]

        def score(outputs: Tensor, batch: Batch) -> Tensor:
            own = Batch(None, batch.targets, weights)
            if bool(tempered.any()):
                found = self.problem.heads[0].temperatures(outputs, batch.targets, weights)
                outputs = outputs / torch.where(tempered, found, 1.0)[:, None, None]
            return self.problem.score(outputs, own)

        return score

    def judge(
        self, answer: Callable[[Tensor, Tensor | None], Tensor], fold: Tensor, tempered: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the scores (M,) and outputs (M, n, W) of what answers on inputs and members' rows of them."""
        outputs, targets = self._answers(answer, fold)
        return self.score(fold, tempered)(outputs, Batch(None, targets, None)), outputs

    def temperatures(self, answer: Callable[[Tensor, Tensor | None], Tensor], fold: Tensor) -> Tensor:
        """Return the temperature (M,) that suits each member best."""
        outputs, targets = self._answers(answer, fold)
        return self.problem.heads[0].temperatures(outputs, targets, self.weights[fold])

    def _answers(self, answer: Callable[[Tensor, Tensor | None], Tensor], fold: Tensor) -> tuple[Tensor, Tensor]:
        rows, targets = self.rows(fold), self.data.targets
        own = targets.expand(len(fold), *targets.shape) if rows is None else targets[rows]
        return answer(self.data.inputs, rows), own
