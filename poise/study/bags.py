"""Retrained networks that each leave a part of the rows out: what they say of it tells how sure the ensemble may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from poise.core.errors import DataError
from poise.data.target import Task
from poise.study.folds import Folds, make_folds
from poise.study.problem import Problem
from poise.train.stack import Stack

__all__ = ["PARTS", "LeftOut", "bags_of", "left_out", "temperatures_of"]

PARTS = 5
"""Parts of the rows, of which a network leaves one out."""

_ALONE = 0.8
"""A sum of squared shares above which a mean is as good as one network, and tells nothing of more."""


def bags_of(targets: np.ndarray, *, task: Task, seed: int, groups: np.ndarray | None = None) -> Folds | None:
    """Return the rows of networks that leave a part out, and last those of one that leaves none; None if too few.

    A network's own rows are filled up to the number of all by some of them again, so that an epoch is as long for all.
    """
    try:
        folds = make_folds(targets, task=task, count=PARTS, seed=seed, groups=groups)
    except DataError:
        return None
    rows, draw = np.arange(len(targets)), np.random.default_rng(seed)
    bags = []
    for held in folds.validation.numpy() > 0:
        own = rows[~held]
        bags.append(np.sort(np.concatenate([own, draw.choice(own, len(rows) - len(own))])))
    validation = torch.cat([folds.validation, torch.zeros(1, len(rows))])
    return Folds(torch.from_numpy(np.stack([*bags, rows])), torch.zeros_like(validation), validation)


def temperatures_of(
    problem: Problem, stack: Stack, shares: Tensor, bag_of: Sequence[int], bags: Folds
) -> tuple[float, ...] | None:
    """Return each head's temperature for the mean of all networks (M,) with their shares; None if no row is left out.

    Of a row that was left out, a few networks tell: of their mean the temperature is fitted. A mean of few networks
    needs a higher one than a mean of many, because each one's noise makes it surer than it should be. That part falls
    with the sum of squared shares (of equal networks, one over their number); how fast, a temperature for single
    networks tells. So the line through both is followed to the shares of all, but not below half.
    """
    told = _told(problem, stack, shares, bag_of, bags)
    if not told:
        return None
    means = [(torch.tensordot(own, answers, 1), rows) for answers, own, rows in told]
    singles = [(one, rows) for answers, _, rows in told for one in answers]
    few, alone = (_fitted(problem, answers) for answers in (means, singles))
    now = _squares(told)
    wanted = float(torch.square(shares / shares.sum()).sum())
    further = (now - wanted) / (1 - now) if now < _ALONE else 0.0
    return tuple(max(t / 2, t + (t - one) * further) for t, one in zip(few, alone, strict=True))


@dataclass(frozen=True)
class LeftOut:
    """What networks answer to rows (n,) that they left out: the `mean` (n, W) of each row's networks, by their shares,
    and J `single` ones (J, n, W); `squares` is the sum of squared shares of a mean.
    """

    rows: Tensor
    mean: Tensor
    single: Tensor
    squares: float

    def losses(self, problem: Problem, rows: Tensor) -> float:
        """Return what a mean of many would lose on some of the rows, by number, each answer at its best temperature.

        What the variance among networks adds to the loss falls with the sum of squared shares (of squared errors,
        exactly so): the line through a single network and the mean of few is followed to the end.
        """
        own = self.rows[rows]
        answers = torch.cat([self.mean[None], self.single])[:, rows]
        mean, *single = problem.answer_score(answers, problem.rows.targets[own], problem.weights_of(own)).tolist()
        further = self.squares / (1 - self.squares) if self.squares < _ALONE else 0.0
        return float(mean + (mean - np.mean(single)) * further)


def left_out(problem: Problem, stack: Stack, shares: Tensor, bag_of: Sequence[int], bags: Folds) -> LeftOut:
    """Return what networks with these shares (M,) answer to the rows that they left out."""
    told = _told(problem, stack, shares, bag_of, bags)
    fewest = min(len(own) for _, own, _ in told)
    return LeftOut(
        torch.cat([rows for _, _, rows in told]),
        torch.cat([torch.tensordot(own, answers, 1) for answers, own, _ in told]),
        torch.cat([answers[:fewest] for answers, _, _ in told], dim=1),
        _squares(told),
    )


def _told(
    problem: Problem, stack: Stack, shares: Tensor, bag_of: Sequence[int], bags: Folds
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return for each bag its networks' answers (m, n, W) to its rows, their shares (m,), which sum to 1, and the rows.

    Bags without networks are left out.
    """
    told = []
    for bag in range(len(bags) - 1):
        places = torch.tensor([place for place, own in enumerate(bag_of) if own == bag])
        rows = torch.nonzero(bags.validation[bag]).flatten()
        if len(places) and len(rows):
            answers = problem.answers(stack.select(places).outputs(problem.rows.inputs[rows]))
            told.append((answers, shares[places] / shares[places].sum(), rows))
    return told


def _squares(told: Sequence[tuple[Tensor, Tensor, Tensor]]) -> float:
    """Return the sum of squared shares of a bag's mean, on average."""
    return float(np.mean([float(torch.square(own).sum()) for _, own, _ in told]))


def _fitted(problem: Problem, answers: Sequence[tuple[Tensor, Tensor]]) -> tuple[float, ...]:
    """Return each head's temperature for answers (n, W) to rows of these numbers (n,), all together."""
    rows = torch.cat([own for _, own in answers])
    values, targets = torch.cat([own for own, _ in answers]), problem.rows.targets[rows]
    parts = problem.of_heads(values, targets, problem.weights_of(rows))
    return tuple(head.temperature(*own) for head, *own in parts)
