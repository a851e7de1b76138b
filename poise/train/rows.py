"""A data set in memory, and the rows of it that each member of a population sees."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from poise.core.context import Batch
from poise.core.errors import ArgumentError
from poise.core.rng import Rng
from poise.core.trees import leaves, map_tree
from poise.train.fast_order import orders_by_kernel

__all__ = ["Picked", "Rows", "all_rows", "epoch_order", "rows_of", "shared_rows", "take"]


@dataclass(frozen=True)
class Rows:
    """A data set in memory.

    Shapes: inputs (N, ...); targets (N, K) or (N,) or (N, T), or a dict of these by task; weights (N,) or None.
    Raises: ArgumentError if the lengths differ, or there is no row.
    """

    inputs: Tensor
    targets: Any
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        given = [self.inputs, *leaves(self.targets), self.weights]
        lengths = [len(tensor) for tensor in given if tensor is not None]
        if len(set(lengths)) != 1 or lengths[0] == 0:
            raise ArgumentError(
                f"`Rows` must hold one input, target and weight a row, of 1 row or more; got {lengths}."
            )

    def __len__(self) -> int:
        return int(self.inputs.shape[0])

    def select(self, rows: Tensor) -> Rows:
        """Return the data set of the given rows."""
        targets = map_tree(lambda tensor: tensor[rows], self.targets)
        return Rows(self.inputs[rows], targets, None if self.weights is None else self.weights[rows])

    def to(self, device: torch.device | str) -> Rows:
        """Return the data set on a device."""
        targets = map_tree(lambda tensor: tensor.to(device), self.targets)
        return Rows(self.inputs.to(device), targets, None if self.weights is None else self.weights.to(device))


@dataclass(frozen=True)
class Picked:
    """Each member's rows of a data set, not gathered yet. Shapes: index (M, B) int64.

    With the epoch, rows that are images are known by their numbers: the same image in the same epoch is edited alike.
    """

    data: Rows
    index: Tensor
    epoch: int | None = None

    def of(self, members: Tensor) -> Picked:
        """Return the rows of some of the members."""
        return replace(self, index=self.index[members])

    def batch(self) -> Batch:
        """Return the rows."""
        batch = rows_of(self.data, self.index)
        if self.epoch is None or self.data.inputs.dim() != 4:  # of a table's rows, edits go by place
            return batch
        return batch._replace(visits=torch.stack([self.index, torch.zeros_like(self.index) + self.epoch], -1))


def all_rows(data: Rows, members: int) -> Tensor:
    """Return the numbers (M, N) of all rows, the same for each member."""
    return torch.arange(len(data), device=data.inputs.device).expand(members, -1)


def take(tensor: Tensor, index: Tensor) -> Tensor:
    """Return the rows of each member in one pass: index (M, B) -> (M, B, ...)."""
    return tensor.index_select(0, index.reshape(-1)).view(*index.shape, *tensor.shape[1:])


def rows_of(data: Rows, index: Tensor) -> Batch:
    """Return each member's own rows: index (M, B) -> a batch of (M, B, ...)."""
    weights = None if data.weights is None else take(data.weights, index)
    return Batch(take(data.inputs, index), map_tree(lambda tensor: take(tensor, index), data.targets), weights)


def shared_rows(data: Rows, members: int) -> Batch:
    """Return the same rows for every member, without a copy."""

    def own(tensor: Tensor) -> Tensor:
        return tensor.expand(members, *tensor.shape)

    weights = None if data.weights is None else own(data.weights)
    return Batch(own(data.inputs), map_tree(own, data.targets), weights)


def epoch_order(keys: Tensor, epoch: int, count: int) -> Tensor:
    """Return each member's order of `count` rows in an epoch. Shapes: keys (M, 3) -> (M, count) int64."""
    own = keys.clone()
    own[:, 2] = epoch
    if (found := orders_by_kernel(own, "/order", count)) is not None:
        return found
    order: Tensor = torch.vmap(lambda one: Rng(one).permutation("order", count))(own)
    return order
