"""Gradient surgery: what one task's gradient would undo of another's is taken out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.regularizer import Memory, Regularizer
from poise.gradient.values import map_values, rows_like

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
    Raises: ArgumentError if share is outside [0, 1].
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
        count = len(ctx.tasks)
        if count < 2:
            return grads, memory
        stacks = {name: _stack(name, ctx.tasks, like_this) for name, like_this in grads.items()}
        products = _products(stacks)
        order = torch.stack([ctx.rng.permutation(f"order/{task}", count) for task in ctx.tasks])
        # What is added to each task's gradient in the sum: 0 for all where nothing conflicts.
        added = projected(products, order.to(products.device)).sum(0) - 1
        amount = torch.as_tensor(like(self.share, products)).to(products) * added

        def edited(grad: Tensor, stack: Tensor) -> Tensor:
            change: Tensor = torch.tensordot(amount.to(stack.dtype), stack, dims=1).reshape(grad.shape).to(grad.dtype)
            # A sparse gradient has a row wherever a task's gradient is not 0: nothing changes elsewhere.
            return map_values(lambda values: values + rows_like(change, grad), grad)

        return {name: edited(grad, stacks[name]) for name, grad in grads.items()}, memory


def _stack(name: str, tasks: Mapping[str, Mapping[str, Tensor]], grad: Tensor) -> Tensor:
    """Return the tasks' gradients of one parameter as rows (T, n), in float32 at least, zeros where there is none."""
    zeros = torch.zeros(grad.shape, dtype=grad.dtype, device=grad.device)
    rows = [gradient[name] if name in gradient else zeros for gradient in tasks.values()]
    return torch.stack([row.to(torch.promote_types(row.dtype, torch.float32)).flatten() for row in rows])


def _products(stacks: Mapping[str, Tensor]) -> Tensor:
    """Return the dot products (T, T) of the tasks' gradients over all parameters."""
    return torch.stack([stack @ stack.T for stack in stacks.values()]).sum(0)


def projected(products: Tensor, order: Tensor) -> Tensor:
    """Return C (T, T): the projected gradient of task i is sum_j C_ij g_j.

    Shapes: products (T, T) of the gradients; order (T, T) int64, row i the order in which task i meets the others.
    """
    count = len(products)
    mixed = torch.eye(count, dtype=products.dtype, device=products.device)
    places = torch.arange(count, device=products.device)
    for turn in range(count):
        other = order[:, turn]
        dots = torch.gather(mixed @ products, 1, other[:, None])[:, 0]
        squares = torch.gather(products.diagonal(), 0, other)
        conflicts = (dots < 0) & (squares > 0) & (other != places)
        amount = torch.where(conflicts, dots / torch.where(squares > 0, squares, 1.0), 0.0)
        mixed = mixed - amount[:, None] * (other[:, None] == places)
    return mixed
