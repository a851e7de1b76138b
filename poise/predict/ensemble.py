"""Ensembles: the mean of several predictors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from poise.core.errors import ArgumentError, shown

__all__ = ["Ensemble", "average_probabilities", "weighted_mean"]


@dataclass(frozen=True)
class Ensemble:
    """Averages its members' class probabilities ("probability") or their outputs ("output").

    sum_m a_m softmax(outputs_m), or sum_m a_m outputs_m; a = weights / sum of weights, equal if None. Members whose
    errors have variance v and covariance c leave v / k + (k - 1) c / k. Use "probability" for classes, "output" for
    regression. It costs every member's forward pass. One member is returned as it is.

    Neutral: one member.
    Shapes: each predictor maps inputs to outputs (N, K), logits in probability space; the result is (N, K).
    Units: probabilities that sum to 1, or the outputs' own.
    Raises: ArgumentError if there is no predictor, weights are not one number >= 0 each with a positive sum, or
    space is neither "probability" nor "output".
    Source: Breiman 1996, "Bagging predictors"; Goodfellow, Bengio and Courville 2016, equation 7.50.

    >>> Ensemble((lambda x: x, lambda x: 3 * x), space="output")(torch.tensor([[1.0]]))
    tensor([[2.]])
    """

    predictors: Sequence[Callable[[Any], Tensor]]
    weights: Sequence[float] | Tensor | None = None
    space: str = "probability"

    def __post_init__(self) -> None:
        if not self.predictors:
            raise ArgumentError("`Ensemble.predictors` must hold at least one predictor; got none.")
        if self.space not in ("probability", "output"):
            raise ArgumentError(f'`Ensemble.space` must be "probability" or "output"; got {shown(self.space)}.')
        shares(self.weights, len(self.predictors))

    def __call__(self, inputs: Any) -> Tensor:
        """Return the mean prediction (N, K): probabilities, or outputs."""
        outputs = torch.stack([predictor(inputs) for predictor in self.predictors])
        if self.space == "probability":
            return average_probabilities(outputs, self.weights)
        return weighted_mean(outputs, self.weights)


def average_probabilities(outputs: Tensor, weights: Sequence[float] | Tensor | None = None) -> Tensor:
    """Return the mean over members of softmax(outputs).

    Shapes: outputs (M, N, K) logits, weights (M,) -> (N, K). In float32 at least, returned in the outputs' dtype.

    >>> average_probabilities(torch.tensor([[[0.0, 0.0]], [[100.0, -100.0]]]))
    tensor([[0.7500, 0.2500]])
    """
    wide = torch.promote_types(outputs.dtype, torch.float32)
    return weighted_mean(torch.softmax(outputs, dim=-1, dtype=wide), weights).to(outputs.dtype)


def weighted_mean(values: Tensor, weights: Sequence[float] | Tensor | None = None) -> Tensor:
    """Return sum_m a_m values_m over the first dimension, a = weights / sum of weights (1 / M if None).

    Shapes: values (M, ...), weights (M,) -> (...).
    """
    wide = values.to(torch.promote_types(values.dtype, torch.float32))
    share = shares(weights, values.shape[0]).to(wide)
    share = share.reshape(-1, *[1] * (values.dim() - 1))
    # A member without weight has no say, also where it diverged: 0 * inf would be NaN.
    return torch.where(share > 0, wide * share, torch.zeros_like(wide)).sum(0).to(values.dtype)


def shares(weights: Sequence[float] | Tensor | None, members: int) -> Tensor:
    """Return the members' shares (M,) in float64, which sum to 1."""
    if weights is None:
        return torch.full((members,), 1 / members, dtype=torch.float64)
    given = torch.as_tensor(weights, dtype=torch.float64)
    if (
        given.shape != (members,)
        or not bool((torch.isfinite(given) & (given >= 0)).all())
        or not float(given.sum()) > 0
    ):
        raise ArgumentError(
            f"`Ensemble.weights` must be one finite number >= 0 for each of {members} members, with a positive sum; "
            f"got {shown(given.tolist())}."
        )
    return given / given.sum()
