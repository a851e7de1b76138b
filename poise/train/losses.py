"""The data's loss: soft cross-entropy for classes, squared error for numbers; weighted means over rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from poise.core.context import Batch

__all__ = ["CrossEntropy", "Loss", "SquaredError"]

Loss = Callable[[Tensor, Batch], Tensor]


def _mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean over rows; with weights, sum(w v) / sum(w)."""
    return values.mean() if weights is None else (values * weights).sum() / weights.sum()


@dataclass(frozen=True)
class CrossEntropy:
    """-sum_k w_k t_k log softmax(outputs)_k, averaged over rows.

    Shapes: outputs (B, K), targets (B, K) distributions, class_weights (K,). With class weights the mean divides by
    the rows' weights only, so that mixing two targets mixes their two losses.
    """

    class_weights: Tensor | None = None

    def __call__(self, outputs: Tensor, batch: Batch) -> Tensor:
        targets = batch.targets if self.class_weights is None else batch.targets * self.class_weights
        return _mean(-(targets * F.log_softmax(outputs, dim=-1)).sum(-1), batch.weights)


@dataclass(frozen=True)
class SquaredError:
    """(outputs - targets)^2 averaged over rows and targets. Shapes: outputs (B, T) or (B, 1), targets (B, T) or (B,)."""

    def __call__(self, outputs: Tensor, batch: Batch) -> Tensor:
        targets = batch.targets if batch.targets.dim() == outputs.dim() else batch.targets.unsqueeze(-1)
        return _mean(torch.square(outputs - targets).mean(-1), batch.weights)
