"""A target's labels as a problem has them: codes, -1 where missing, or standardised numbers, NaN where missing."""

from __future__ import annotations

import numpy as np
import pandas as pd

from poise.data import Target

__all__ = ["encoded", "is_known", "strata"]


def encoded(target: Target, values: pd.Series) -> np.ndarray:
    """Return the labels of rows (N,), of which some may be missing."""
    known = values.notna().to_numpy()
    if known.all():
        return target.encode(values)
    classes = target.task == "classification"
    found = np.full(len(values), -1, np.int64) if classes else np.full(len(values), np.nan, np.float32)
    if known.any():
        found[known] = target.encode(values[known])
    return found


def is_known(labels: np.ndarray) -> np.ndarray:
    """Return (N,) whether each label is there."""
    return np.asarray(labels >= 0 if labels.dtype.kind in "iu" else ~np.isnan(labels))


def strata(labels: np.ndarray) -> np.ndarray:
    """Return what rows can be divided by: a missing class is one more class, a missing number is the mean of 0.

    >>> strata(np.array([1, -1, 0])).tolist()
    [1, 2, 0]
    """
    known = is_known(labels)
    if known.all():
        return labels
    return np.where(known, labels, labels.max() + 1 if labels.dtype.kind in "iu" else 0).astype(labels.dtype)
