"""Class indices as distributions, which is the form that mixing and smoothing work on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.train.swap import kept_modes

__all__ = ["classes_of", "distributions"]


def classes_of(model: nn.Module, inputs: Any) -> int:
    """Return the width of the model's output, of one row in evaluation mode."""
    with torch.no_grad(), kept_modes(model):
        return int(model.eval()(inputs[:1]).shape[-1])


def distributions(targets: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Return class indices (B,) int64 as (B, K) in the dtype of the outputs: stock losses take no other.

    >>> distributions(torch.tensor([1]), 2, torch.float32)
    tensor([[0., 1.]])
    """
    return F.one_hot(targets, classes).to(dtype)
