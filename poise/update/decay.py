"""Decoupled weight decay: weights shrink by a share of themselves, outside the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, double, like
from poise.core.means import wide
from poise.core.regularizer import Memory, Regularizer
from poise.core.select import check_selection, select

__all__ = ["Decay"]


@dataclass(frozen=True)
class Decay(Regularizer):
    """Multiplies the selected weights by 1 - lr * rate before each step of the optimizer.

    w <- w (1 - lr rate), then the optimizer's step; lr is multiplied in, as in torch.optim.AdamW, and unlike the
    paper, whose rate is our lr * rate. Under plain SGD this is L2(weight=rate); under Adam it shrinks all weights at
    one rate, where L2 shrinks least those with large gradients. The optimizer's own `weight_decay` must be 0. It costs
    one pass over the weights.

    Neutral: rate = 0.
    Shapes: parameters keep shape and dtype.
    Units: rate is a share per step and unit of learning rate: at lr 1e-3 and rate 0.01, 1e-5 of each weight a step.
    Raises: ArgumentError if rate is not a finite number >= 0, or `where` is no selection.
    Source: Loshchilov and Hutter 2019, "Decoupled weight decay regularization", algorithm 2, in PyTorch's convention.

    >>> import torch
    >>> from poise.core.select import Role
    >>> roles = {"w": Role("weight")}
    >>> Decay(rate=0.5).shrink({"w": torch.tensor([[8.0]])}, {}, Context(0, rng=None, lr=0.5, roles=roles))[0]
    {'w': tensor([[6.]])}
    """

    formula: ClassVar[str] = "w <- w (1 - lr * rate), before the optimizer's step"
    cost: ClassVar[str] = "one pass over the weights"

    rate: DialValue = dial(0.01, neutral=0.0, low=0.0, log=True, search=(1e-5, 1e-1), unit="1 / learning rate")
    where: str | tuple[str, ...] = "weights"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_selection(type(self).__name__, self.where)

    def shrink(self, params: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        return params | {
            name: self._shrunk(params[name], ctx.rate_of(name)) for name in select(ctx.roles, self.where)
        }, memory

    def _shrunk(self, weight: Tensor, rate: float | Tensor) -> Tensor:
        # In float64 and rounded once, as torch.optim does with Python numbers: bit-equal to AdamW. The product is wide,
        # because in bfloat16 the factor of a dial that is a tensor would be 1 or 0.996.
        values = wide(weight)
        return (values * like(1 - double(rate) * double(self.rate), values)).to(weight.dtype)
