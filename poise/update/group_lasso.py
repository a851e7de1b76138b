"""Group lasso: whole input columns (or groups of them) become exactly zero together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.kinds import Proximal, summed
from poise.core.placed import placed
from poise.core.select import group_numbers, transposed_of
from poise.core.units import units_first

__all__ = ["GroupLasso", "block_threshold"]

# Newton's method below is at rounding error after 8 steps for effective steps that differ by 8 orders of magnitude.
_NEWTON_STEPS = 10


@dataclass(frozen=True)
class GroupLasso(Proximal):
    """Thresholds the weights of each input column together, so that unneeded inputs leave the network.

    The penalty is weight * sum over groups of sqrt(n) |W_g|, |W_g| the Euclidean norm of the group's n coordinates
    (columns in the group times out, times the kernel's size in a convolution). It acts after the optimizer's step by
    its exact proximal operator in the optimizer's metric: under SGD W_g <- W_g max(0, 1 - lr weight sqrt(n) / |W_g|),
    under Adam by Newton's method for the group's norm. Groups of an input layer (out, in, ...), or
    of a transposed convolution (in, out, ...): the role's `column_groups`, else `ctx.columns` when there is one for
    each column, else each column (of a vector: each number). Use it to select inputs, one-hot columns of one category
    together. It costs about 10 passes.

    Neutral: weight = 0.
    Shapes: parameters keep shape and dtype; group numbers are in 0 .. in-1; the reported term is 0-d.
    Units: objective per weight, times the square root of the group's size.
    Raises: ArgumentError if weight is not a finite number >= 0, or `where` is no selection.
    Source: Yuan and Lin 2006, "Model selection and estimation in regression with grouped variables", equation 2.4 (the
    threshold).

    >>> part, W = GroupLasso(weight=1.0), torch.tensor([[3.0, 0.3], [4.0, 0.4]])
    >>> part.proximal("w", W, torch.tensor(2.0 ** 0.5), Context(0, rng=None)).round(decimals=4)
    tensor([[1.8000, 0.0000],
            [2.4000, 0.0000]])
    """

    formula: ClassVar[str] = "weight * sum_g sqrt(n_g) |W_g|, by its proximal operator in the optimizer's metric"
    cost: ClassVar[str] = "about 10 passes over the selected weights"

    weight: DialValue = dial(1e-3, neutral=0.0, low=0.0, log=True, search=(1e-6, 1e-1))
    where: str | tuple[str, ...] = field(default="inputs", kw_only=True)

    def penalty(self, params: Mapping[str, Tensor], ctx: Context) -> Tensor:
        terms = []
        for name, weight in params.items():
            wide = columns_last(inputs_second(weight, name, ctx)).to(torch.promote_types(weight.dtype, torch.float32))
            add, _ = group_sums(wide, groups_of(name, wide, ctx))
            size = add(torch.ones_like(wide))
            # Each column bears its share of the group's term, so that columns can be summed without listing groups.
            share = wide.shape[0] / size
            terms.append((size.sqrt() * add(wide.square()).sqrt() * share).sum())
        total = summed(terms)
        return like(self.weight, total) * total

    def proximal(self, name: str, weight: Tensor, scale: Tensor, ctx: Context) -> Tensor:
        if weight.numel() == 0:
            return weight
        turned = inputs_second(weight, name, ctx)
        wide = columns_last(turned).to(torch.promote_types(weight.dtype, torch.float32))
        steps = columns_last(inputs_second(scale.expand_as(weight), name, ctx)).to(wide)
        strength = placed(like(self.weight, wide), wide, wide.dtype)
        new = block_threshold(wide, steps, strength, groups_of(name, wide, ctx))
        moved = turned.movedim(1, -1).shape if weight.dim() > 1 else weight.shape
        new = new.reshape(moved)
        new = inputs_second(new.movedim(-1, 1), name, ctx) if weight.dim() > 1 else new  # turned back
        return new.to(weight.dtype)


def inputs_second(weight: Tensor, name: str, ctx: Context) -> Tensor:
    """Return the parameter with its inputs as dimension 1; twice, it is the parameter again.

    Those of a transposed convolution are its dimension 0, of all groups.
    """
    return units_first(weight, min(1, transposed_of(ctx.roles, name)))


def columns_last(weight: Tensor) -> Tensor:
    """Return (out, in, ...) as (out * ..., in): one column an input."""
    return weight.movedim(1, -1).flatten(0, -2) if weight.dim() > 1 else weight[None]


def groups_of(name: str, matrix: Tensor, ctx: Context) -> Tensor | None:
    """Return the group number of each column, or None if each is its own group."""
    role = ctx.roles.get(name)
    if role is None or not role.inputs:
        return None
    if role.column_groups is not None:
        return torch.tensor(group_numbers(role.column_groups), device=matrix.device)
    fits = ctx.columns is not None and ctx.columns.shape[-1] == matrix.shape[-1]
    return ctx.columns.to(matrix.device) if fits and ctx.columns is not None else None


def group_sums(matrix: Tensor, groups: Tensor | None) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Return functions (rows, in) -> (in,): the sum and the largest of each column's group, given to each column."""
    if groups is None:
        return (lambda values: values.sum(0)), (lambda values: values.amax(0))
    zeros = torch.zeros_like(matrix[0])

    def add(values: Tensor) -> Tensor:
        return zeros.scatter_add(0, groups, values.sum(0)).gather(0, groups)

    def largest(values: Tensor) -> Tensor:
        lowest = torch.full_like(zeros, -torch.inf)
        return lowest.scatter_reduce(0, groups, values.amax(0), "amax").gather(0, groups)

    return add, largest


def block_threshold(weight: Tensor, scale: Tensor, strength: Tensor, groups: Tensor | None = None) -> Tensor:
    """Return argmin_Z strength sum_g sqrt(n_g) |Z_g| + sum (Z - W)^2 / (2 scale), groups being sets of columns.

    With r = |Z_g| and t = strength sqrt(n_g), Z = W r / (r + t scale), and r solves N(r) = |W / (r + t scale)| = 1;
    Z_g = 0 where |W_g / scale| <= t. 1 / N is concave and rising, so Newton's method on 1 / N(r) = 1 from the left
    climbs to the root, and takes one step where scale is constant (More and Sorensen 1983, "Computing
    a trust region step").

    Shapes: weight, scale (rows, in); strength 0-d; groups (in,) or None.
    """
    add, largest = group_sums(weight, groups)
    limit = strength * add(torch.ones_like(weight)).sqrt()
    # At scale 0 (a learning rate of 0) nothing may move; tiny, because 0 / 0 would be NaN.
    off = add((weight / scale.clamp(min=torch.finfo(scale.dtype).tiny)).square()).sqrt() <= limit
    shift = limit * scale
    # Left of the root, and r + t scale >= |w| everywhere, so that no quotient below exceeds 1.
    norm = torch.maximum(largest(weight.abs() - shift), add(weight.square()).sqrt() - largest(shift)).clamp(min=0)
    for _ in range(_NEWTON_STEPS):
        total = norm + shift
        share = (weight / total).square()
        size = add(share)
        norm = norm + (size.sqrt() - 1) * size / add(share / total)
    new = torch.where(off, torch.zeros_like(weight), weight * (norm / (norm + shift)))
    return torch.where(strength > 0, new, weight)
