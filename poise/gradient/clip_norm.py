"""Clipping by the global norm of the gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.regularizer import Memory, Regularizer
from poise.gradient.values import common_norm

__all__ = ["ClipNorm"]


@dataclass(frozen=True)
class ClipNorm(Regularizer):
    """Scales all gradients together so that their common norm does not exceed the limit.

    g <- g min(1, limit / (|g| + 1e-6)), |g| the norm over all parameters of this member, summed in float32 at least.
    Use it against rare, huge gradients (recurrent networks, early training); it costs two passes over the gradients.
    A gradient whose norm is not finite passes unchanged, so that divergence is seen, and is not scaled to 0 or NaN.

    Neutral: limit = inf, no limit.
    Shapes: gradients keep shape and dtype.
    Units: the gradient's own; it depends on whether the loss is a mean (here) or a sum over rows.
    Raises: ArgumentError if limit is neither a number >= 0 nor inf.
    Source: Pascanu, Mikolov and Bengio 2013, "On the difficulty of training recurrent neural networks", algorithm 1;
        the 1e-6 is torch.nn.utils.clip_grad_norm_'s.

    >>> grads, _ = ClipNorm(limit=1.0).gradient({"w": torch.tensor([3.0, 4.0])}, {}, Context(0, rng=None))
    >>> grads["w"]
    tensor([0.6000, 0.8000])
    """

    rank: ClassVar[int] = 80  # after noise and surgery: the step that is taken stays within the limit
    conditional: ClassVar[bool] = True
    formula: ClassVar[str] = "g <- g min(1, limit / (|g| + 1e-6))"
    cost: ClassVar[str] = "two passes over the gradients"

    limit: DialValue = dial(1.0, neutral=math.inf, low=0.0, log=True, search=(1e-2, 1e2))

    def gradient(self, grads: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        if not grads:
            return grads, memory
        norm = common_norm(grads.values())
        factor = (like(self.limit, norm) / (norm + 1e-6)).clamp(max=1.0)
        factor = torch.where(torch.isfinite(norm), factor, torch.ones_like(norm))
        return {name: g * factor.to(g.dtype) for name, g in grads.items()}, memory
