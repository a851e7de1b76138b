"""The soft threshold, which the proximal regularizers share."""

from __future__ import annotations

from torch import Tensor

__all__ = ["soft_threshold"]


def soft_threshold(weight: Tensor, threshold: Tensor) -> Tensor:
    """Return sign(w) max(|w| - threshold, 0): the minimiser of threshold |z| + (z - w)^2 / 2.

    Shapes: both broadcast; threshold >= 0. What is cut is exactly 0; at threshold 0 the result is bit-equal to w.

    >>> import torch
    >>> soft_threshold(torch.tensor([3.0, -0.5, -2.0]), torch.tensor(1.0))
    tensor([ 2.,  0., -1.])
    """
    # w minus its projection onto [-t, t], rather than sign * max: exact at t = 0, and a NaN stays one.
    return weight - weight.clamp(-threshold, threshold)
