"""Unit norm: the weights into each unit keep length 1, so that only their direction is learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.regularizer import Memory, Regularizer
from poise.core.select import check_selection, select
from poise.core.units import map_units

__all__ = ["UnitNorm"]


@dataclass(frozen=True)
class UnitNorm(Regularizer):
    """Brings the weight vector into each unit to length 1, after the optimizer's step.

    w_unit <- w_unit (1 - share + share / |w_unit|); share = 1 is the projection onto the sphere, which holds after
    every step; less moves a part of the way. A unit is a row of (out, in) and a filter of a convolution (out, in,
    ...); of a transposed convolution (in, out, ...), a slice of its dimension 1; of an embedding, one entry's vector;
    of a vector (a bias) and of a 0-d parameter, one number. Vectors of zeros stay. Use it for embeddings that are
    compared by angle, and where norms drift. It costs two passes over the weights.

    Neutral: share = 0.
    Shapes: parameters keep shape and dtype; norms are summed in float32 at least.
    Units: share of the way to the sphere at each step.
    Raises: ArgumentError if share is outside [0, 1], or `where` is no selection.
    Source: Douglas, Amari and Kung 2000, "On gradient adaptation with unit-norm constraints".

    >>> from poise.core.select import Role
    >>> params, ctx = {"w": torch.tensor([[3.0, 4.0], [0.0, 0.0]])}, Context(0, rng=None, roles={"w": Role("weight")})
    >>> UnitNorm().update(params, {}, ctx)[0]["w"]
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """

    rank: ClassVar[int] = 90  # last: what the step leaves behind has length 1
    formula: ClassVar[str] = "w_unit <- w_unit (1 - share + share / |w_unit|)"
    cost: ClassVar[str] = "two passes over the weights"
    expansive: ClassVar[str] = "a sphere is not convex"

    share: DialValue = dial(1.0, neutral=0.0, low=0.0, high=1.0, unit="share", search=(0.0, 1.0))
    where: str | tuple[str, ...] = "weights"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_selection(type(self).__name__, self.where)

    def update(self, params: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        chosen = select(ctx.roles, self.where)
        return params | {n: map_units(self.project, params[n], ctx.roles[n].transposed) for n in chosen}, memory

    def project(self, weight: Tensor) -> Tensor:
        """Return the weight (out, in, ...) with its units the share of the way to length 1."""
        wide = torch.promote_types(weight.dtype, torch.float32)
        units = weight.flatten(1) if weight.dim() > 1 else weight.reshape(-1, 1)
        norm = torch.linalg.vector_norm(units, dim=1, dtype=wide)
        # The slack keeps what was projected from being projected again, because its norm is off by rounding.
        away = ((norm - 1).abs() > 4 * torch.finfo(weight.dtype).eps) & (norm > 0)
        ones = torch.ones_like(norm)
        factor = torch.lerp(ones, torch.where(away, 1 / torch.where(away, norm, ones), ones), like(self.share, norm))
        return (weight * factor.reshape(weight.shape[:1] + (1,) * (weight.dim() - 1))).to(weight.dtype)
