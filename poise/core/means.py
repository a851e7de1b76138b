"""Means over the rows of a step, as the data's loss takes them."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["each_row", "row_mean", "wide"]


def wide(values: Tensor) -> Tensor:
    """Return the values in float32 at least: a sum of squares overflows in fp16."""
    return values if values.dtype.itemsize > 2 else values.float()


def each_row(values: Tensor) -> Tensor:
    """Return each row's mean. Shapes: (B, ...) -> (B,)."""
    return values.flatten(1).mean(1) if values.dim() > 1 else values


def row_mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean over rows of each row's mean; with row weights sum(w v) / sum(w), 0 if all are 0.

    Shapes: values (B, ...), weights (B,) or None.

    >>> row_mean(torch.tensor([[1.0, 3.0], [8.0, 8.0]]), torch.tensor([3.0, 1.0]))
    tensor(3.5000)
    """
    rows = each_row(values)
    if weights is None:
        return rows.mean()
    weights = weights.to(rows)
    return (rows * weights).sum() / weights.sum().clamp(min=torch.finfo(rows.dtype).tiny)
