"""Non-negative weights: what a unit reads can only add up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.regularizer import Memory, Regularizer
from poise.core.select import check_selection, select

__all__ = ["NonNegative"]


@dataclass(frozen=True)
class NonNegative(Regularizer):
    """Sets the selected weights to zero where they are negative, after the optimizer's step.

    w <- w - share min(w, 0); share = 1 is the projection onto w >= 0, the nearest such weights, and holds after every
    step. Use it where effects are known to be additive or monotone (with increasing activations, a network whose
    weights are all non-negative rises with every input). It costs one pass over the weights.

    Neutral: share = 0.
    Shapes: parameters keep shape and dtype.
    Units: share of the negative part that is taken away at each step.
    Raises: ArgumentError if share is outside [0, 1], or `where` is no selection.
    Source: Chorowski and Zurada 2015, "Learning understandable neural networks with nonnegative weight constraints".

    >>> import torch
    >>> from poise.core.select import Role
    >>> params, ctx = {"w": torch.tensor([[3.0, -4.0]])}, Context(0, rng=None, roles={"w": Role("weight")})
    >>> NonNegative().update(params, {}, ctx)[0]["w"]
    tensor([[3., 0.]])
    """

    rank: ClassVar[int] = 70  # before norms, which then are those of weights that stay
    formula: ClassVar[str] = "w <- w - share min(w, 0)"
    cost: ClassVar[str] = "one pass over the weights"
    conditional: ClassVar[bool] = True

    share: DialValue = dial(1.0, neutral=0.0, low=0.0, high=1.0, unit="share", search=(0.0, 1.0))
    where: str | tuple[str, ...] = "weights"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_selection(type(self).__name__, self.where)

    def update(self, params: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        return params | {name: self.project(params[name]) for name in select(ctx.roles, self.where)}, memory

    def project(self, weight: Tensor) -> Tensor:
        """Return the weight with the share of its negative part taken away."""
        return weight - like(self.share, weight) * weight.clamp(max=0)
