"""Ensembles: the mean of several predictors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from poise.core.errors import ArgumentError
from poise.predict.averaged import Averaged, check_space, shares

__all__ = ["Ensemble", "average_probabilities"]


class Ensemble(Averaged):
    """Averages its members' class probabilities ("probability") or their outputs ("output").

    log sum_m a_m softmax(outputs_m), or sum_m a_m outputs_m; a = weights / sum of weights, equal if None. The result
    is log-probabilities, which are logits too: a loss, a temperature or another ensemble takes them. Members whose
    errors have variance v and covariance c leave v / k + (k - 1) c / k. Use "probability" for classes, "output" for
    regression. It costs every member's forward pass. A module, whose members are its children if all are modules.

    Neutral: one member, which is returned as it is.
    Shapes: each predictor maps inputs to outputs (N, ..., K), classes last; the result has that shape.
    Units: log-probabilities, or the outputs' own.
    Raises: ArgumentError if there is no predictor, weights are not one number >= 0 each with a positive sum, space is
    neither "probability" nor "output", or probabilities are asked of a single output.
    Source: Breiman 1996, "Bagging predictors"; Goodfellow, Bengio and Courville 2016, section 7.11.

    >>> Ensemble((lambda x: x, lambda x: 3 * x), space="output")(torch.tensor([[1.0]]))
    tensor([[2.]])
    """

    predictors: nn.ModuleList | tuple[Callable[[Any], Tensor], ...]

    def __init__(
        self,
        predictors: Sequence[Callable[[Any], Tensor]],
        weights: Sequence[float] | Tensor | None = None,
        space: str = "probability",
    ) -> None:
        super().__init__(weights, space)
        if not predictors:
            raise ArgumentError("`Ensemble.predictors` must hold at least one predictor; got none.")
        check_space("Ensemble", space)
        shares(weights, len(predictors))
        modules = [predictor for predictor in predictors if isinstance(predictor, nn.Module)]
        self.predictors = nn.ModuleList(modules) if len(modules) == len(predictors) else tuple(predictors)

    def answers(self, inputs: Any) -> Tensor:
        """Return each member's outputs (M, N, ..., K)."""
        return self.stacked([predictor(inputs) for predictor in self.predictors])


def average_probabilities(outputs: Tensor, weights: Sequence[float] | Tensor | None = None) -> Tensor:
    """Return the mean over members of softmax(outputs).

    Shapes: outputs (M, N, K) logits, weights (M,) -> (N, K). In float32 at least, returned in the outputs' dtype.

    >>> average_probabilities(torch.tensor([[[0.0, 0.0]], [[100.0, -100.0]]]))
    tensor([[0.7500, 0.2500]])
    """
    wide = torch.promote_types(outputs.dtype, torch.float32)
    share = shares(weights, outputs.shape[0]).to(outputs.device, wide).reshape(-1, *[1] * (outputs.dim() - 1))
    # A member without weight has no say, also where it diverged: 0 * inf would be NaN.
    return torch.where(share > 0, share * torch.softmax(outputs, dim=-1, dtype=wide), 0.0).sum(0).to(outputs.dtype)
