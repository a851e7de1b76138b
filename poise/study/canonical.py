"""Rows in an order that their content decides, and equal rows as one row of their summed weight.

A fit then depends on what rows hold and not on where they stand, and a row of weight 2 is the row given twice, to the
last bit: both become the same rows. It also keeps copies of a row from being held out and trained on at once.
"""

from __future__ import annotations

import numpy as np

__all__ = ["canonical"]

_FEWEST = 6  # different rows: fewer cannot be divided into three folds
_COPIES = 8  # more copies a row than this are a small world seen often, where every sighting counts
_CONFLICTS = 1.05  # rows a different input: where targets differ among equal inputs, copies tell how often
_CHUNK = 1 << 20  # numbers hashed at a time


def canonical(
    inputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the row numbers (D,) to go on with, in their order, and their weights (D,) of mean 1, or None if equal.

    Rows of weight 0 are left out. Rows equal in inputs, target and group become one, unless the table is small and
    seen often: fewer than 6 different rows, above 8 copies a row, or equal inputs with different targets in more
    than 5 % of them. There, a fold of different rows would be a fold of cases never met in training.

    Shapes: inputs (N, F) float32, targets (N,) or (N, T), weights (N,) >= 0, groups (N,).

    >>> rows = np.arange(12.0, dtype=np.float32)
    >>> twice = np.concatenate([rows, rows[:3]])
    >>> weights = np.where(rows < 3, 2.0, 1.0)
    >>> places, shares = canonical(twice[:, None], twice)
    >>> others, same = canonical(rows[:, None], rows, weights)
    >>> bool((twice[places] == rows[others]).all() and (shares == same).all())
    True
    """
    kept = np.arange(len(inputs)) if weights is None else np.flatnonzero(weights > 0)
    inputs = inputs[kept] + np.float32(0)  # -0.0 becomes 0.0
    targets = np.asarray(targets, np.float64).reshape(len(targets), -1)[kept] + 0.0
    owners = np.zeros(len(kept), np.int64) if groups is None else np.asarray(groups, np.int64)[kept]
    of_inputs = _hashes(inputs, 0)
    place = inputs.shape[1]
    hashes = of_inputs + _hashes(targets, place) + _hashes(owners[:, None], place + 2 * targets.shape[1])
    order = np.argsort(hashes, kind="stable")
    first = np.ones(len(kept), dtype=bool)
    alike = 1 + np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
    one, other = order[alike - 1], order[alike]
    # Equal hashes only propose: what is merged has been compared.
    first[alike] = (
        (inputs[one] != inputs[other]).any(1) | (targets[one] != targets[other]).any(1) | (owners[one] != owners[other])
    )
    different = int(first.sum())
    own = np.ones(len(kept)) if weights is None else np.asarray(weights, np.float64)[kept]
    if _FEWEST <= different <= _CONFLICTS * len(np.unique(of_inputs)) and len(kept) <= _COPIES * different:
        starts = np.flatnonzero(first)
        order, own = order[starts], np.add.reduceat(own[order], starts)
    else:
        own = own[order]
    return kept[order], None if bool((own == own[0]).all()) else own / own.mean()


def _hashes(values: np.ndarray, place: int) -> np.ndarray:
    """Return one 64-bit hash a row: the sum over columns of a mix of the column's bits and its place.

    The mix is the finalizer of SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators").
    """
    words = np.ascontiguousarray(values).view(np.uint32)
    salts = (np.arange(words.shape[1], dtype=np.uint64) + np.uint64(place + 1)) * np.uint64(0x9E3779B97F4A7C15)
    found = np.zeros(len(words), np.uint64)
    step = max(1, _CHUNK // max(1, words.shape[1]))
    for start in range(0, len(words), step):
        mixed = words[start : start + step] + salts
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        found[start : start + step] = (mixed ^ (mixed >> np.uint64(31))).sum(1)
    return found
