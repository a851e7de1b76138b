"""Whether the groups of input columns that a run was given fit the table that its network reads."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from poise.core.errors import ArgumentError, shown
from poise.core.recipe import Recipe
from poise.core.select import Role, select
from poise.core.units import units_first
from poise.update import GroupLasso, HierarchicalLasso

__all__ = ["check_columns"]


def check_columns(recipe: Recipe, module: nn.Module, roles: Mapping[str, Role], columns: Tensor | None) -> None:
    """Raise ArgumentError if `columns` is no list of groups, or a group lasso would ignore it.

    A group lasso takes the groups that the input layer declares (`column_groups`), else `columns`, if there are as
    many as the layer has inputs; otherwise each input would be a group of its own, without a word.
    """
    if columns is None:
        return
    if not isinstance(columns, Tensor) or columns.dim() != 1 or columns.dtype != torch.int64:
        raise ArgumentError(
            f"`columns` must be an int64 tensor with the group of each input column; got {shown(columns)}."
        )
    if len(columns) and not 0 <= int(columns.min()) <= int(columns.max()) < len(columns):
        raise ArgumentError(
            f"`columns` must hold group numbers from 0 to {len(columns) - 1}; got {shown(columns.tolist())}."
        )
    parameters = dict(module.named_parameters())
    for part in recipe:
        where = "inputs" if isinstance(part, HierarchicalLasso) else getattr(part, "where", ())
        for name in select(roles, where) if isinstance(part, (GroupLasso, HierarchicalLasso)) else ():
            role = roles[name]
            if not role.inputs or role.column_groups is not None:
                continue
            inputs = units_first(parameters[name], min(1, role.transposed)).shape[1]  # of all groups
            if inputs != len(columns):
                raise ArgumentError(
                    f"`columns` must have one group for each of the {inputs} inputs of {name}, which "
                    f"{part.name} reads; got {len(columns)}. Or set the layer's `column_groups`."
                )
