"""L1: the sum of absolute weights, acting by soft threshold so that zeros are exact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.kinds import Proximal, summed
from poise.core.regularizer import Memory
from poise.core.select import select
from poise.update.threshold import soft_threshold

__all__ = ["L1"]


@dataclass(frozen=True)
class L1(Proximal):
    """Moves the selected weights towards zero by weight times the optimizer's effective step, and stops at zero.

    The penalty is weight * sum |w| (no half); it acts as w <- sign(w) max(|w| - weight * scale, 0) after the
    optimizer's step, scale being lr for SGD and lr / (sqrt(v) + eps) for Adam, per coordinate. Its fixed point is the
    lasso's. Use it to switch inputs and connections off. It costs two passes over the weights. With `subgradient` it
    is the bare penalty, differentiated like any other term: no weight then becomes exactly zero; for comparison only.

    Neutral: weight = 0.
    Shapes: parameters keep shape and dtype; the reported term is 0-d, float32 at least.
    Units: objective per weight; scikit-learn's Lasso(alpha) if the loss is half the mean squared error.
    Raises: ArgumentError if weight is not a finite number >= 0, or `where` is no selection.
    Source: Tibshirani 1996, "Regression shrinkage and selection via the lasso"; Yun et al. 2021, "Adaptive proximal
    gradient methods for structured neural networks" (the step per coordinate).

    >>> weight, step = torch.tensor([[1.0, -0.2]]), torch.tensor(0.5)
    >>> L1(weight=0.5).proximal("w", weight, step, Context(0, rng=None))
    tensor([[0.7500, 0.0000]])
    """

    # Before the other thresholds: only then is the operator of a sum, as the sparse group lasso's, one after the other.
    rank: ClassVar[int] = 45
    formula: ClassVar[str] = "weight * sum |w|: w <- sign(w) max(|w| - weight * scale, 0)"
    cost: ClassVar[str] = "two passes over the weights"

    weight: DialValue = dial(1e-4, neutral=0.0, low=0.0, log=True, search=(1e-7, 1e-1))
    subgradient: bool = False

    def penalty(self, params: Mapping[str, Tensor], ctx: Context) -> Tensor:
        wide = [torch.promote_types(w.dtype, torch.float32) for w in params.values()]
        total = summed([w.abs().sum(dtype=dtype) for w, dtype in zip(params.values(), wide, strict=True)])
        return like(self.weight, total) * total

    def proximal(self, name: str, weight: Tensor, scale: Tensor, ctx: Context) -> Tensor:
        return soft_threshold(weight, like(self.weight, weight) * scale.to(weight))

    def objective(self, terms: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        if not self.subgradient:
            return super().objective(terms, memory, ctx)
        chosen = {name: ctx.params[name] for name in select(ctx.roles, self.where)}
        return terms | {self.name: self.penalty(chosen, ctx)}, memory

    def update(self, params: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        return (params, memory) if self.subgradient else super().update(params, memory, ctx)
