"""Gradient centralisation: the gradient of each unit's weights gets mean zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.means import wide
from poise.core.regularizer import Memory, Regularizer
from poise.core.select import check_selection, select
from poise.core.units import map_units
from poise.gradient.values import map_values

__all__ = ["Centralize"]


@dataclass(frozen=True)
class Centralize(Regularizer):
    """Takes from the gradient of each unit's weights its mean over the unit's inputs.

    g_unit <- g_unit - share mean(g_unit). Under SGD a unit's weights then keep their sum (at share 1): gradient descent
    within a hyperplane, which smooths training much as weight standardisation does. Use it with convolutions and wide
    layers; it costs two passes over the gradients.

    Neutral: share = 0.
    Shapes: gradients keep shape and dtype; a unit is a row of (out, in), a filter of (out, in, ...), of a transposed
        convolution (in, out, ...) a slice of its dimension 1, an entry of an embedding (if `where` selects those);
        vectors are left as they are. Computed in float32 at least.
    Units: share is the part of the mean that is taken away.
    Raises: ArgumentError if share is outside [0, 1], or `where` is no selection.
    Source: Yong, Huang, Hua and Zhang 2020, "Gradient centralization: a new optimization technique for deep neural
        networks", equation 1, which is share = 1.

    >>> import torch
    >>> from poise.core.select import Role
    >>> ctx = Context(0, rng=None, roles={"w": Role("weight")})
    >>> Centralize(share=1.0).gradient({"w": torch.tensor([[1.0, 3.0]])}, {}, ctx)[0]["w"]
    tensor([[-1.,  1.]])
    """

    rank: ClassVar[int] = 40  # of the loss's own gradient: before noise and clipping
    formula: ClassVar[str] = "g_unit <- g_unit - share * mean(g_unit)"
    cost: ClassVar[str] = "two passes over the gradients"

    share: DialValue = dial(1.0, neutral=0.0, low=0.0, high=1.0, search=(0.0, 1.0))
    where: str | tuple[str, ...] = "weights"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_selection(type(self).__name__, self.where)

    def gradient(self, grads: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        chosen = [name for name in select(ctx.roles, self.where) if name in grads and grads[name].dim() > 1]

        def centred(name: str) -> Tensor:
            turned = ctx.roles[name].transposed
            return map_values(lambda values: map_units(self.centralized, values, turned), grads[name])

        return grads | {name: centred(name) for name in chosen}, memory

    def centralized(self, grad: Tensor) -> Tensor:
        """Return the gradient (out, in, ...) without `share` of each unit's mean."""
        values = wide(grad)
        mean = values.mean(tuple(range(1, grad.dim())), keepdim=True)
        return (values - like(self.share, mean) * mean).to(grad.dtype)
