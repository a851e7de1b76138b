"""Max norm: the weights into each unit stay in a ball."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.regularizer import Memory, Regularizer
from poise.core.select import check_selection, select
from poise.core.units import map_units

__all__ = ["MaxNorm"]


@dataclass(frozen=True)
class MaxNorm(Regularizer):
    """Projects the weight vector into each unit onto the ball of radius `limit`, after the optimizer's step.

    w_unit <- w_unit min(1, limit / |w_unit|): a unit is a row of (out, in) and a filter of a convolution (out, in,
    ...); of a transposed convolution (in, out, ...), a slice of its dimension 1; of an embedding, one entry's vector;
    of a vector (a bias) and of a 0-d parameter, one number. Use it with dropout and large learning rates, where decay
    would be too weak early and too strong late. It costs two passes over the weights.

    Neutral: limit = inf, no limit.
    Shapes: parameters keep shape and dtype; norms are summed in float32 at least; vectors of zeros stay.
    Units: the norm of one unit's weights, without its bias.
    Raises: ArgumentError if limit is neither a number > 0 nor inf, or `where` is no selection.
    Source: Srebro and Shraibman 2005, "Rank, trace-norm and max-norm"; Srivastava et al. 2014, "Dropout", section 5.1
    and appendix A.3 (limits of 3 to 4).

    >>> from poise.core.select import Role
    >>> params, ctx = {"w": torch.tensor([[3.0, 4.0], [0.0, 1.0]])}, Context(0, rng=None, roles={"w": Role("weight")})
    >>> MaxNorm(limit=2.5).update(params, {}, ctx)[0]["w"]
    tensor([[1.5000, 2.0000],
            [0.0000, 1.0000]])
    """

    rank: ClassVar[int] = 80  # after thresholds: what the step leaves behind satisfies the limit
    conditional: ClassVar[bool] = True
    formula: ClassVar[str] = "w_unit <- w_unit min(1, limit / |w_unit|)"
    cost: ClassVar[str] = "two passes over the weights"

    limit: DialValue = dial(3.0, neutral=math.inf, low=0.0, open_low=True, log=True, search=(0.3, 30.0))
    where: str | tuple[str, ...] = "weights"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_selection(type(self).__name__, self.where)

    def update(self, params: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        chosen = select(ctx.roles, self.where)
        return params | {n: map_units(self.project, params[n], ctx.roles[n].transposed) for n in chosen}, memory

    def project(self, weight: Tensor) -> Tensor:
        """Return the nearest weight (out, in, ...) whose units are within the limit."""
        wide = torch.promote_types(weight.dtype, torch.float32)
        units = weight.flatten(1) if weight.dim() > 1 else weight.reshape(-1, 1)
        norm = torch.linalg.vector_norm(units, dim=1, dtype=wide)
        limit = like(self.limit, norm)
        # The slack keeps what was projected from being projected again, because its norm is off by rounding. `where`
        # and not min(1, ratio): inside the ball a weight is left as it is, also if it is not finite.
        outside = norm > limit * (1 + 4 * torch.finfo(weight.dtype).eps)
        factor = torch.where(outside, limit / norm, torch.ones_like(norm))
        return weight * factor.to(weight.dtype).reshape(weight.shape[:1] + (1,) * (weight.dim() - 1))
