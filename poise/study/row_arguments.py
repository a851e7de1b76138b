"""What comes with each row besides its columns: a weight and a group, checked once."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from poise.core.errors import DataError, PoiseWarning
from poise.data import Encoder
from poise.data.frames import as_vector, check_lengths, first_row
from poise.data.kinds import numbers_of

__all__ = ["row_groups", "row_weights", "without_zeros"]


def row_weights(weights: object, rows: int) -> np.ndarray | None:
    """Return the weights as float64. Raises: DataError unless they are finite, 0 or more, not all 0, one a row."""
    if weights is None:
        return None
    values = numbers_of(as_vector(weights))
    check_lengths(X=rows, sample_weight=len(values))
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        row = first_row(wrong)
        raise DataError(f"`sample_weight` must be finite and 0 or more; got {values[row]} in row {row}.")
    if not (values > 0).any():
        raise DataError(f"`sample_weight` must hold a weight above zero; all {rows} weights are zero.")
    return values


def row_groups(groups: object, rows: int) -> np.ndarray | None:
    """Return the groups as objects. Raises: DataError unless there is one a row."""
    if groups is None:
        return None
    values = as_vector(groups)
    check_lengths(X=rows, groups=len(values))
    gone = values.isna().to_numpy()
    if gone.any():
        raise DataError(f"groups, row {first_row(gone)}: the group is missing. Fill it or drop the row.")
    return np.asarray(values.to_numpy(dtype=object))


def without_zeros(
    encoder: Encoder, X: object, labels: pd.Series, weights: np.ndarray | None
) -> tuple[np.ndarray, pd.Series]:
    """Return encoded inputs and labels without the rows of weight 0: those are as if they were absent."""
    if weights is None or bool((weights > 0).all()):
        return encoder.transform(X), labels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PoiseWarning)  # only the rows that are left out can hold anything unseen
        inputs = encoder.transform(X)
    kept = weights > 0
    return inputs[kept], labels[kept].reset_index(drop=True)
