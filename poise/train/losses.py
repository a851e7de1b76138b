"""The data's loss: soft cross-entropy for classes, squared error for numbers; weighted means over rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from poise.core.context import Batch
from poise.core.errors import ArgumentError

__all__ = ["CrossEntropy", "Loss", "SquaredError"]

Loss = Callable[[Tensor, Batch], Tensor]
"""Takes one member's outputs and batch, returns the data's loss (0-d)."""


def _mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean over rows; with weights, sum(w v) / sum(w), 0 if all weights are 0."""
    if weights is None:
        return values.mean()
    return (values * weights).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)


def _check_shapes(owner: str, outputs: Tensor, targets: Tensor, hint: str) -> None:
    """Raise ArgumentError if the shapes differ: broadcasting would pair every row with every other."""
    if outputs.shape != targets.shape:
        raise ArgumentError(
            f"`{owner}` must have outputs and targets of one shape; got {tuple(outputs.shape)} and "
            f"{tuple(targets.shape)}. {hint}"
        )


@dataclass(frozen=True)
class CrossEntropy:
    """-sum_k w_k t_k log softmax(outputs)_k, averaged over rows.

    Shapes: outputs (B, K), targets (B, K) distributions, class_weights (K,). With class weights the mean divides by
    the rows' weights only, so that mixing two targets mixes their two losses.
    Raises: ArgumentError if the shapes differ.
    """

    class_weights: Tensor | None = None

    def __call__(self, outputs: Tensor, batch: Batch) -> Tensor:
        _check_shapes("CrossEntropy", outputs, batch.targets, "Encode classes with torch.nn.functional.one_hot.")
        targets = batch.targets if self.class_weights is None else batch.targets * self.class_weights
        return _mean(-(targets * F.log_softmax(outputs, dim=-1)).sum(-1), batch.weights)


@dataclass(frozen=True)
class SquaredError:
    """(outputs - targets)^2 averaged over rows and targets. Shapes: both (B, T), or (B, 1) or (B,) for one target.

    Raises: ArgumentError if the shapes differ.
    """

    def __call__(self, outputs: Tensor, batch: Batch) -> Tensor:
        answers, targets = (t.unsqueeze(-1) if t.dim() == 1 else t for t in (outputs, batch.targets))
        _check_shapes("SquaredError", answers, targets, "Give the network as many outputs as there are targets.")
        return _mean(torch.square(answers - targets).mean(-1), batch.weights)
