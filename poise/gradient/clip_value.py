"""Clipping each number of the gradient by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.placed import placed
from poise.core.regularizer import Memory, Regularizer
from poise.gradient.values import map_values

__all__ = ["ClipValue"]


@dataclass(frozen=True)
class ClipValue(Regularizer):
    """Puts every number of the gradient into [-limit, limit].

    g <- min(max(g, -limit), limit). It turns the gradient, where `ClipNorm` only shortens it; use it where single
    coordinates explode and the rest should still move. NaN stays NaN, so that divergence is seen; an infinite number
    becomes the limit, as in torch. It costs one pass over the gradients.

    Neutral: limit = inf, no limit.
    Shapes: gradients keep shape and dtype.
    Units: the gradient's own; it depends on whether the loss is a mean (here) or a sum over rows.
    Raises: ArgumentError if limit is neither a number >= 0 nor inf.
    Source: Mikolov 2012, "Statistical language models based on neural networks"; torch.nn.utils.clip_grad_value_.

    >>> import torch
    >>> ClipValue(limit=2.0).gradient({"w": torch.tensor([3.0, -1.0])}, {}, Context(0, rng=None))[0]["w"]
    tensor([ 2., -1.])
    """

    rank: ClassVar[int] = 80  # after noise and surgery: the step that is taken stays within the limit
    conditional: ClassVar[bool] = True
    formula: ClassVar[str] = "g <- min(max(g, -limit), limit), each number by itself"
    cost: ClassVar[str] = "one pass over the gradients"

    limit: DialValue = dial(1.0, neutral=math.inf, low=0.0, log=True, search=(1e-3, 1e2))

    def gradient(self, grads: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        def clipped(values: Tensor) -> Tensor:
            limit = placed(like(self.limit, values), values, values.dtype)
            return values.clamp(-limit, limit)

        return {name: map_values(clipped, g) for name, g in grads.items()}, memory
