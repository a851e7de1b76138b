"""Gradient surgery in the plane of the tasks' dot products: T x T numbers decide what T gradients become."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.errors import ArgumentError
from poise.gradient.values import map_values, rows_like

__all__ = ["added", "check_several", "meeting_order", "products_of", "realigned", "stacked"]


def check_several(owner: str, ctx: Context) -> None:
    """Raise ArgumentError if the loss was not given by task: there would be nothing to mend, in silence."""
    if ctx.tasks.keys() <= {"data"}:
        raise ArgumentError(
            f"`{owner}` must have the loss of each task; got one loss. "
            'Give it as a dict: run.objective({"age": ..., "income": ...}).'
        )


def stacked(grads: Mapping[str, Tensor], tasks: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the tasks' gradients of each parameter as rows (T, n), float32 at least; zeros where a task has none."""

    def rows(name: str, grad: Tensor) -> Tensor:
        zeros = torch.zeros(grad.shape, dtype=grad.dtype, device=grad.device)
        found = [own.get(name, zeros) for own in tasks.values()]
        return torch.stack([row.to(torch.promote_types(row.dtype, torch.float32)).flatten() for row in found])

    return {name: rows(name, grad) for name, grad in grads.items()}


def products_of(stacks: Mapping[str, Tensor]) -> Tensor:
    """Return the dot products (T, T) of the tasks' gradients over all parameters."""
    return torch.stack([stack @ stack.T for stack in stacks.values()]).sum(0)


def meeting_order(ctx: Context) -> Tensor:
    """Return the order in which each task meets the others (T, T) int64, drawn for each row; itself is among them."""
    return torch.stack([ctx.rng.permutation(f"order/{task}", len(ctx.tasks)) for task in ctx.tasks])


def realigned(products: Tensor, order: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return (C, cosines): task i's gradient becomes sum_j C_ij g_j, which meets g_j at a cosine of target_ij or more.

    For each other task j in the order of row i, with p the gradient so far and f the cosine of p and g_j: if f < t,
    p <- p + a g_j, a = |p| (t sqrt(1 - f^2) - f sqrt(1 - t^2)) / (|g_j| sqrt(1 - t^2)). At t = 0 that is the
    projection p - (p . g_j / |g_j|^2) g_j. `cosines` (T, T) are those found, before each change.

    Shapes: products (T, T) of the gradients g; order (T, T) int64; target (T, T) in (-1, 1).
    """
    count = len(products)
    mixed = torch.eye(count, dtype=products.dtype, device=products.device)
    places = torch.arange(count, device=products.device)
    squares = products.diagonal()
    cosines = torch.zeros_like(mixed)
    tiny = torch.finfo(products.dtype).tiny
    for turn in range(count):
        other = order[:, turn, None]
        hit = other == places  # one in each row
        dots = torch.gather(mixed @ products, 1, other)
        length = (mixed @ products * mixed).sum(1, keepdim=True).clamp(min=0).sqrt()
        theirs = squares[other].clamp(min=0).sqrt()
        both = (length > 0) & (theirs > 0)
        found = torch.where(both, dots / (length * theirs).clamp(min=tiny), 0.0).clamp(-1, 1)
        wanted = torch.gather(target, 1, other)
        slope = wanted * (1 - found * found).sqrt() / (1 - wanted * wanted).sqrt()
        # The two halves apart, so that a target of 0 leaves the plain projection.
        amount = slope * length / theirs.clamp(min=tiny) - dots / squares[other].clamp(min=tiny)
        acts = both & (found < wanted) & (other != places[:, None])
        mixed = mixed + torch.where(acts, amount, 0.0) * hit
        cosines = torch.where(hit, found, cosines)
    return mixed, cosines


def added(grads: Mapping[str, Tensor], stacks: Mapping[str, Tensor], amount: Tensor) -> dict[str, Tensor]:
    """Return the gradients with `amount` (T,) of each task's gradient added; what is not the tasks' stays."""

    def edited(grad: Tensor, stack: Tensor) -> Tensor:
        more: Tensor = torch.tensordot(amount.to(stack.dtype), stack, dims=1).reshape(grad.shape).to(grad.dtype)
        # A sparse gradient has a row wherever a task's gradient is not 0: nothing changes elsewhere.
        return map_values(lambda values: values + rows_like(more, grad), grad)

    return {name: edited(grad, stacks[name]) for name, grad in grads.items()}
