"""Retrained networks that each leave a part of the rows out: what they say of it tells how sure the ensemble may be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from poise.core.errors import DataError
from poise.data.target import Task
from poise.study.folds import Folds, make_folds
from poise.study.problem import Problem
from poise.train.stack import Stack

__all__ = ["PARTS", "bags_of", "temperatures_of"]

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
    means, singles, sums = [], [], []
    for bag in range(len(bags) - 1):
        places = torch.tensor([place for place, own in enumerate(bag_of) if own == bag])
        rows = torch.nonzero(bags.validation[bag]).flatten()
        if len(places) and len(rows):
            answers = problem.answers(stack.select(places).outputs(problem.rows.inputs[rows]))
            own = shares[places] / shares[places].sum()
            means.append((torch.tensordot(own, answers, 1), rows))
            singles += [(one, rows) for one in answers]
            sums.append(float(torch.square(own).sum()))
    if not means:
        return None
    few, alone = (_fitted(problem, answers) for answers in (means, singles))
    now, wanted = float(np.mean(sums)), float(torch.square(shares / shares.sum()).sum())
    further = (now - wanted) / (1 - now) if now < _ALONE else 0.0
    return tuple(max(t / 2, t + (t - one) * further) for t, one in zip(few, alone, strict=True))


def _fitted(problem: Problem, answers: Sequence[tuple[Tensor, Tensor]]) -> tuple[float, ...]:
    """Return each head's temperature for answers (n, W) to rows of these numbers (n,), all together."""
    rows = torch.cat([own for _, own in answers])
    values, targets = torch.cat([own for own, _ in answers]), problem.rows.targets[rows]
    parts = problem.of_heads(values, targets, problem.weights_of(rows))
    return tuple(head.temperature(*own) for head, *own in parts)
