"""Columns that belong together: the one-hot columns of one category are noised, swapped or mixed as one."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from poise.core.context import Batch, Context
from poise.core.errors import ArgumentError

__all__ = ["ColumnGroups", "column_groups", "table_of"]


class ColumnGroups(NamedTuple):
    """Which group each column belongs to, without a loop over groups.

    Shapes: of_column (F,) int64 group ids below F; size (F,) int64, the number of columns of each id, 0 if unused.
    """

    of_column: Tensor
    size: Tensor

    @property
    def exists(self) -> Tensor:
        """(F,) bool: whether a group id is used."""
        return self.size > 0

    @property
    def alone(self) -> Tensor:
        """(F,) bool: whether a column is a group of its own."""
        return self.size[self.of_column] == 1


def column_groups(count: int, columns: Tensor | None, device: torch.device) -> ColumnGroups:
    """Return the groups of `count` columns; without `columns`, each column is a group of its own.

    Raises: ArgumentError if `columns` has another length.
    """
    if columns is None:
        own = torch.arange(count, device=device)
        return ColumnGroups(own, torch.ones_like(own))
    if columns.shape != (count,):
        raise ArgumentError(
            f"`columns` must give the group of each of the {count} input columns; got shape {tuple(columns.shape)}. "
            "Pass one int64 group number below the number of columns for each."
        )
    of_column = columns.to(device)
    counted = torch.zeros_like(of_column).scatter_add(0, of_column, torch.ones_like(of_column))
    return ColumnGroups(of_column, counted)


def table_of(owner: str, batch: Batch, ctx: Context) -> tuple[Tensor, ColumnGroups]:
    """Return the inputs, checked to be a table (B, F), and their groups. Raises ArgumentError otherwise."""
    inputs = batch.inputs
    if not isinstance(inputs, Tensor) or inputs.dim() != 2:
        got = f"shape {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else type(inputs).__name__
        raise ArgumentError(
            f"`{owner}` must have a table (rows, columns) as inputs; got {got}. "
            "Leave this part out for images and sequences; Mixup takes inputs of any shape."
        )
    return inputs, column_groups(inputs.shape[1], ctx.columns, inputs.device)
