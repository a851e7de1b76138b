"""Adaptive clipping: the gradient of each unit is bounded by a share of the unit's own weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.regularizer import Memory, Regularizer
from poise.core.select import output_layer, transposed_of
from poise.core.units import map_units, units_first
from poise.gradient.values import map_values, rows_like

__all__ = ["AdaptiveClip"]

_SMALLEST = 1e-3  # the norm that a unit of zeros counts as, so that it can leave zero: the paper's epsilon


@dataclass(frozen=True)
class AdaptiveClip(Regularizer):
    """Scales the gradient of each unit to at most `limit` times the norm of the unit's weights.

    g_unit <- g_unit min(1, limit max(|w_unit|, 0.001) / |g_unit|). A unit is a row of (out, in), a filter of (out, in,
    ...), of a transposed convolution (in, out, ...) a slice of its dimension 1, an entry of an embedding; a vector
    (bias, gain) is one unit. Use it for large batches and learning rates, and for deep networks without batch norm,
    where one limit for all layers (`ClipNorm`) suits none. The output layer is left alone, as the paper found best,
    unless `output` is True. It costs three passes over gradients and weights.

    Neutral: limit = inf, no limit.
    Shapes: gradients keep shape and dtype; norms are summed in float32 at least. A unit whose gradient is not finite
        is left as it is, so that divergence is seen.
    Units: limit is a share of a unit's norm, by which plain gradient descent at lr 1 would move it at most.
    Raises: ArgumentError if limit is neither a number >= 0 nor inf.
    Source: Brock, De, Smith and Simonyan 2021, "High-performance large-scale image recognition without
        normalization", equation 3; limit 0.01, epsilon 0.001.

    >>> ctx = Context(0, rng=None, params={"w": torch.tensor([[3.0, 4.0], [0.0, 1.0]])})
    >>> AdaptiveClip(limit=0.2).gradient({"w": torch.tensor([[0.0, 2.0], [0.1, 0.0]])}, {}, ctx)[0]["w"]
    tensor([[0.0000, 1.0000],
            [0.1000, 0.0000]])
    """

    rank: ClassVar[int] = 75  # after noise and surgery, before the limit of the common norm
    conditional: ClassVar[bool] = True
    formula: ClassVar[str] = "g_unit <- g_unit min(1, limit max(|w_unit|, 0.001) / |g_unit|)"
    cost: ClassVar[str] = "three passes over gradients and weights"

    limit: DialValue = dial(0.01, neutral=math.inf, low=0.0, log=True, search=(1e-3, 1.0))
    output: bool = False

    def gradient(self, grads: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        left = () if self.output else output_layer(ctx.roles)

        def clipped(name: str, grad: Tensor) -> Tensor:
            turned = transposed_of(ctx.roles, name)
            weight = units_first(rows_like(ctx.params[name], grad), turned)
            return map_values(lambda values: map_units(lambda units: self.clipped(units, weight), values, turned), grad)

        return {name: g if name in left else clipped(name, g) for name, g in grads.items()}, memory

    def clipped(self, grad: Tensor, weight: Tensor) -> Tensor:
        """Return the gradient with each unit within the limit. Shapes: both (out, ...) or, as one unit, (n,)."""
        size = unit_norm(grad)
        limit = like(self.limit, size) * unit_norm(weight).clamp(min=_SMALLEST)
        outside = (size > limit) & torch.isfinite(size)
        factor = torch.where(outside, limit / size.clamp(min=torch.finfo(size.dtype).tiny), torch.ones_like(size))
        return grad * factor.to(grad.dtype)


def unit_norm(values: Tensor) -> Tensor:
    """Return each unit's norm in float32 at least: (out, 1, ...) of (out, in, ...), (1,) of a vector (n,)."""
    inner = tuple(range(1, values.dim())) if values.dim() > 1 else None
    wide = torch.promote_types(values.dtype, torch.float32)
    norm: Tensor = torch.linalg.vector_norm(values, dim=inner, keepdim=True, dtype=wide)
    return norm
