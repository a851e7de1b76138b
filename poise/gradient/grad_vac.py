"""Gradient vaccine: tasks' gradients brought to the angles at which they usually meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.errors import ArgumentError, shown
from poise.core.regularizer import Memory, Regularizer
from poise.gradient.surgery import added, check_several, meeting_order, products_of, realigned, stacked

__all__ = ["GradVac"]


@dataclass(frozen=True)
class GradVac(Regularizer):
    """Turns each task's gradient towards those of the others until their cosines are no less than usual.

    For each task i: p <- g_i; for each other task j in random order, with f = cos(p, g_j) and t the usual cosine of
    the pair: if f < t, p <- p + a g_j, a = |p| (t sqrt(1 - f^2) - f sqrt(1 - t^2)) / (|g_j| sqrt(1 - t^2)); then
    t <- (1 - rate) t + rate f. The tasks' part of the gradient, sum g_i, becomes sum p_i; the penalties' part stays.
    Use it where tasks mostly agree, where `PcGrad`, the case t = 0, has nothing to do. Costs a backward pass for each
    task. The paper also does this for each layer alone; here the angles are those of all parameters together.

    Neutral: share = 0. With rate = 0 the usual cosine stays 0: that is `PcGrad`.
    Shapes: gradients keep shape and dtype; memory holds the usual cosines (T, T), float32 at least.
    Units: share is the part of the way to the turned gradients; rate the share of the new cosine in the average.
    Raises: ArgumentError if share or rate is outside [0, 1], or `tasks` are not the tasks of the loss.
    Source: Wang, Tsvetkov, Firat and Cao 2021, "Gradient vaccine: investigating and improving multi-task optimization
        in massively multilingual models".

    >>> from poise.core.rng import Rng, key
    >>> tasks = {"a": {"w": torch.tensor([1.0, 0.0])}, "b": {"w": torch.tensor([0.0, 1.0])}}
    >>> ctx, usual = Context(0, Rng(key(0)), tasks=tasks), torch.full((2, 2), 0.6)
    >>> part = GradVac(tasks=("a", "b"))
    >>> part.gradient({"w": torch.tensor([1.0, 1.0])}, {"cosine": usual}, ctx)[0]["w"]  # a turns to (1, 0.75)
    tensor([1.7500, 1.7500])
    """

    rank: ClassVar[int] = 30  # before clipping and noise: it edits the tasks' part of the plain gradient
    formula: ClassVar[str] = "p <- p + a g_j where cos(p, g_j) is below its running mean; the gradient is sum p"
    cost: ClassVar[str] = "a backward pass for each task and their dot products"
    needs: ClassVar[tuple[str, ...]] = ("tasks",)
    conditional: ClassVar[bool] = True

    share: DialValue = dial(1.0, neutral=0.0, low=0.0, high=1.0, unit="share of the way", search=(0.0, 1.0))
    rate: DialValue = dial(0.01, neutral=0.0, low=0.0, high=1.0, log=True, unit="share a step", search=(1e-3, 0.2))
    tasks: tuple[str, ...] = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.tasks
        if not isinstance(given, tuple) or len(set(given)) < max(2, len(given)):
            raise ArgumentError(
                f"`GradVac.tasks` must be a tuple of two or more distinct task names; got {shown(given)}. "
                'Name the keys of the loss, as in tasks=("age", "income").'
            )

    def remember(self, params: Mapping[str, Tensor]) -> Memory:
        first = next(iter(params.values()))
        wide = torch.promote_types(first.dtype, torch.float32)
        return {"cosine": torch.zeros(len(self.tasks), len(self.tasks), dtype=wide, device=first.device)}

    def gradient(self, grads: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        check_several("GradVac", ctx)
        if set(ctx.tasks) != set(self.tasks):
            raise ArgumentError(
                f"`GradVac.tasks` must be the tasks of the loss, {', '.join(ctx.tasks)}; got {shown(self.tasks)}."
            )
        stacks = stacked(grads, {task: ctx.tasks[task] for task in self.tasks})
        products = products_of(stacks)
        usual = memory["cosine"].to(products)
        mixed, found = realigned(products, meeting_order(ctx).to(products.device), usual)
        squares = products.diagonal()
        # A pair of which one task has no label in the batch has no angle.
        met = (squares[:, None] > 0) & (squares > 0)
        cosine = torch.where(met, torch.lerp(usual, found, like(self.rate, usual)), usual)
        cosine = cosine.clamp(-0.999, 0.999)  # a usual cosine of 1 would divide by 0
        amount = like(self.share, mixed) * (mixed.sum(0) - 1)
        return added(grads, stacks, amount), {"cosine": cosine.to(memory["cosine"])}
