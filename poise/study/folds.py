"""How the development rows are divided: folds for a small table, one holdout for a large one; an inner stop part."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold
from torch import Tensor

from poise.core.errors import DataError, PoiseWarning
from poise.data.split import pooled, split
from poise.data.target import Task

__all__ = ["Folds", "make_folds"]


@dataclass(frozen=True)
class Folds:
    """K divisions of the same rows.

    Shapes: train (K, n) int64 row numbers (trimmed to one length); stop, validation (K, N) float 0/1 masks.
    """

    train: Tensor
    stop: Tensor
    validation: Tensor

    def __len__(self) -> int:
        return int(self.train.shape[0])


def make_folds(
    targets: np.ndarray,
    *,
    task: Task,
    count: int,
    seed: int,
    groups: np.ndarray | None = None,
    time: np.ndarray | None = None,
) -> Folds:
    """Divide rows into `count` folds, or one holdout if count is 1 or the rows are ordered in time.

    Of each fold's training rows, 15 % are set aside for early stopping, so that the validation rows that choose a
    recipe never choose a step. Groups that are fewer than `count` make fewer folds, and no
    fold holds out more than 60 % of the rows.

    Raises: DataError if the rows, groups or times are too few.
    """
    rows = np.arange(len(targets))
    if groups is not None and time is None:
        different = len(np.unique(groups))
        if different < 3:
            raise DataError(
                f"{different} group(s) cannot be divided: a search needs 3 at least, to train, to stop and to choose "
                "by. Get rows of other groups, or divide by none."
            )
        count = min(count, different)
    elif len(rows) < 2 * count:
        raise DataError(f"{count} folds need {2 * count} rows at least; got {len(rows)} (n_samples={len(rows)}).")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PoiseWarning)  # said once, by the study's own outer split
        if count <= 1 or time is not None:
            parts = split(targets, task=task, groups=groups, time=time, seed=seed, test=0.2, validation=0.0, stop=0.12)
            pieces = [(parts.train, parts.stop, parts.test)]
        else:
            pieces = []
            for outer, validation in _splitter(targets, task, count, groups, seed):
                if len(outer) < 0.4 * len(rows):
                    continue  # one group is most of the table: all folds would be trimmed to the few other rows
                own = None if groups is None else groups[outer]
                inner = split(targets[outer], task=task, groups=own, seed=seed, test=0.15, validation=0.0, stop=0.0)
                pieces.append((outer[inner.train], outer[inner.test], validation))
    size = min(len(train) for train, _, _ in pieces)
    generator = np.random.default_rng(seed)
    train = np.stack([np.sort(generator.permutation(train)[:size]) for train, _, _ in pieces])
    masks = [np.stack([np.isin(rows, piece[place]) for piece in pieces]) for place in (1, 2)]
    return Folds(torch.from_numpy(train), *(torch.from_numpy(mask).float() for mask in masks))


def _splitter(
    targets: np.ndarray, task: Task, count: int, groups: np.ndarray | None, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    rows = np.arange(len(targets))
    if task == "classification":
        targets, _ = pooled(targets, count)  # a class of two rows must not cost the others their shares
    else:
        # Quantile bins keep each fold's spread of a numeric target alike.
        edges = np.quantile(targets, np.linspace(0, 1, 11)[1:-1])
        targets = np.digitize(targets, np.unique(edges))
    stratify = np.bincount(targets)[np.unique(targets)].min() >= count
    if groups is not None:
        kind = StratifiedGroupKFold if stratify else GroupKFold
        return list(kind(count, shuffle=True, random_state=seed).split(rows, targets, groups))
    if stratify:
        return list(StratifiedKFold(count, shuffle=True, random_state=seed).split(rows, targets))
    return list(KFold(count, shuffle=True, random_state=seed).split(rows))
