"""Elastic net: absolute and squared weights together, acting by their joint proximal operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.kinds import Proximal, summed
from poise.core.means import wide
from poise.update.threshold import soft_threshold

__all__ = ["ElasticNet"]


@dataclass(frozen=True)
class ElasticNet(Proximal):
    """Thresholds the selected weights and shrinks what is left, so that correlated inputs are kept together.

    The penalty is weight * (ratio * sum |w| + (1 - ratio) / 2 * sum w^2), scikit-learn's convention. It acts after the
    optimizer's step by its exact proximal operator, w <- soft(w, s weight ratio) / (1 + s weight (1 - ratio)), s the
    optimizer's effective step of the coordinate. Use it in place of L1 where inputs are correlated: the lasso keeps
    one of them, rather arbitrarily. It costs two passes over the weights.

    Neutral: weight = 0; ratio then has no effect and stands at its default.
    Shapes: parameters keep shape and dtype; the reported term is 0-d, float32 at least.
    Units: weight as in scikit-learn's ElasticNet(alpha) if the loss is half the mean squared error; ratio is a share.
    Raises: ArgumentError if weight is not a finite number >= 0, ratio not in [0, 1], or `where` is no selection.
    Source: Zou and Hastie 2005, "Regularization and variable selection via the elastic net".

    >>> import torch
    >>> part = ElasticNet(weight=1.0, ratio=0.5)
    >>> part.proximal("w", torch.tensor([[3.5, -0.4]]), torch.tensor(1.0), Context(0, rng=None))
    tensor([[2., 0.]])
    """

    formula: ClassVar[str] = "weight * (ratio * sum |w| + (1 - ratio)/2 * sum w^2), by its proximal operator"
    cost: ClassVar[str] = "two passes over the weights"

    weight: DialValue = dial(1e-4, neutral=0.0, low=0.0, log=True, search=(1e-7, 1e-1))
    ratio: DialValue = dial(0.5, neutral=0.5, low=0.0, high=1.0, search=(0.0, 1.0))

    def penalty(self, params: Mapping[str, Tensor], ctx: Context) -> Tensor:
        values = [wide(w) for w in params.values()]
        absolute, squared = summed([w.abs().sum() for w in values]), summed([w.square().sum() for w in values])
        ratio = like(self.ratio, absolute)
        return like(self.weight, absolute) * (ratio * absolute + (1 - ratio) / 2 * squared)

    def proximal(self, name: str, weight: Tensor, scale: Tensor, ctx: Context) -> Tensor:
        values = wide(weight)  # in bfloat16 the divisor below would be 1 for any step under 0.004
        ratio, step = like(self.ratio, values), like(self.weight, values) * scale.to(values)
        return (soft_threshold(values, step * ratio) / (1 + step * (1 - ratio))).to(weight.dtype)
