"""Gradient surgery: what one task's gradient would undo of another's is taken out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.regularizer import Memory, Regularizer
from poise.gradient.surgery import added, check_several, meeting_order, products_of, realigned, stacked

__all__ = ["PcGrad"]


@dataclass(frozen=True)
class PcGrad(Regularizer):
    """Projects each task's gradient off those of the other tasks that it conflicts with (projecting conflicting).

    For each task i: p <- g_i; for each other task j in random order, if p . g_j < 0: p <- p - (p . g_j / |g_j|^2) g_j.
    The tasks' part of the gradient, sum g_i, becomes sum p_i; the penalties' part stays. g_j is the original gradient
    throughout, over all parameters, zero where a task has none. Use it where tasks pull the shared weights apart; it
    works with any weighting, as it sees the weighted losses. Costs a backward pass for each task and their T x T dot
    products: projections are done on the products, not on the gradients.

    Neutral: share = 0; tasks that do not conflict are left as they are, and equal tasks give their plain sum.
    Shapes: gradients keep shape and dtype; dot products are summed in float32 at least.
    Units: share is the part of the way from the sum of the gradients to the sum of the projected ones.
    Raises: ArgumentError if share is outside [0, 1], or the loss is not given by task.
    Source: Yu, Kumar, Gupta, Levine, Hausman and Finn 2020, "Gradient surgery for multi-task learning", algorithm 1.

    >>> from poise.core.rng import Rng, key
    >>> tasks = {"a": {"w": torch.tensor([1.0, 0.0])}, "b": {"w": torch.tensor([-1.0, 1.0])}}
    >>> ctx = Context(0, Rng(key(0)), tasks=tasks)
    >>> PcGrad().gradient({"w": torch.tensor([0.0, 1.0])}, {}, ctx)[0]["w"]  # (0.5, 0.5) + (0, 1)
    tensor([0.5000, 1.5000])
    """

    rank: ClassVar[int] = 30  # before clipping and noise: it edits the tasks' part of the plain gradient
    formula: ClassVar[str] = "p <- p - min(0, p . g_j) / |g_j|^2 g_j over the other tasks j; the gradient is sum p"
    cost: ClassVar[str] = "a backward pass for each task and their dot products"
    needs: ClassVar[tuple[str, ...]] = ("tasks",)
    conditional: ClassVar[bool] = True

    share: DialValue = dial(1.0, neutral=0.0, low=0.0, high=1.0, unit="share of the way", search=(0.0, 1.0))

    def gradient(self, grads: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        check_several("PcGrad", ctx)
        stacks = stacked(grads, ctx.tasks)
        products = products_of(stacks)
        mixed, _ = realigned(products, meeting_order(ctx).to(products.device), torch.zeros_like(products))
        return added(grads, stacks, like(self.share, mixed) * (mixed.sum(0) - 1)), memory
