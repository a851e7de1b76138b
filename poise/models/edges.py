"""Where the bins of numeric columns lie: at quantiles, of which frequent values get no more than they need."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["quantile_edges"]

ROWS_OF_BIN, ROWS_OF_MANY = 128, 32
"""Rows that a bin of a numeric embedding needs, before frequent values make room for others: of eight bins or fewer,
and of 32 or more; what eight need is enough for those between. With fewer rows a bin, eight of them do better by steps
at a frequent value than by bins of the few others (benchmarks/tables_backbone.py); but a capital gain that 92 % do not
have is worth 64 bins of 50 rows."""


def quantile_edges(inputs: np.ndarray, columns: Sequence[int], bins: int) -> Tensor:
    """Return (n, bins + 1) edges at training quantiles of each column, strictly increasing.

    Of a column that is mostly 0, plain quantiles are mostly 0, and few bins are left for all that differs. So, where
    there are rows enough (`ROWS_OF_BIN`), a value that many share counts as fewer: as one bin's, if the other rows are
    enough for the other bins. Equal edges, as of a column of few values, are nudged apart by a millionth of the
    column's range or of its largest value, so that no bin has width 0 in float32.

    >>> column = np.array([0.0] * 4000 + [i / 999 for i in range(1000)])
    >>> quantile_edges(column[:, None], [0], bins=4).round(decimals=2)
    tensor([[0.0000, 0.0000, 0.3300, 0.6700, 1.0000]])
    """
    edges = np.stack([_even_quantiles(inputs[:, column].astype(np.float64), bins) for column in columns])
    width = np.maximum(np.maximum(edges[:, -1:] - edges[:, :1], np.abs(edges).max(1, keepdims=True)), 1.0) * 1e-6
    return torch.from_numpy(np.maximum.accumulate(edges, axis=1) + width * np.arange(bins + 1)).float()


def _even_quantiles(column: np.ndarray, bins: int) -> np.ndarray:
    """Return bins + 1 quantiles (NumPy's linear ones) of a column whose frequent values count less than they occur."""
    grid = np.linspace(0.0, 1.0, bins + 1)
    least = max(ROWS_OF_BIN * min(bins, 8), ROWS_OF_MANY * bins)
    if len(column) <= least:
        return np.asarray(np.quantile(column, grid))
    values, counts = np.unique(column, return_counts=True)
    falling = np.sort(counts)[::-1]
    others = len(column) - np.concatenate([[0], np.cumsum(falling[:bins])])
    # What the `heavy` most frequent values count each: what a bin of the others holds, but `least` must be left in all.
    for heavy in range(min(bins, len(values))):
        most = max(others[heavy] / (bins - heavy), (least - others[heavy]) / max(1, heavy))
        if falling[heavy] <= most:
            break
    else:  # all values are frequent: every one of them has a bin already
        return np.asarray(np.quantile(column, grid))
    weights = np.minimum(counts, most)
    last = np.cumsum(weights) - 1
    places = np.stack([last - weights + 1, last], axis=1).ravel()  # of each value's first and last row
    return np.asarray(np.interp(grid * last[-1], places, np.repeat(values, 2)))
