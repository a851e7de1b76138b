"""Calls on the tensors behind `torch.vmap`, for the few hot functions that handle many members themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch as functorch
from torch._functorch.pyfunctorch import temporarily_pop_interpreter_stack

__all__ = ["behind_vmap", "map_members"]


def map_members(function: Callable[..., Any], members: int, *trees: Any) -> Any:
    """Return `torch.vmap(function)(*trees)`; None is passed on, and an output that is no tensor is refused.

    Every leaf is a tensor with the member first. Trees are dicts, tuples, named tuples and lists.

    >>> map_members(lambda row, rest: {"sum": row.sum() + rest["x"]}, 2, torch.ones(2, 3), {"x": torch.arange(2)})
    {'sum': tensor([3., 4.])}
    """
    level = functorch._vmap_increment_nesting(members, "error")
    try:
        inside = [_walk(lambda leaf: functorch._add_batch_dim(leaf, 0, level), tree) for tree in trees]
        return _walk(lambda leaf: functorch._remove_batch_dim(leaf, level, members, 0), function(*inside))
    finally:
        functorch._vmap_decrement_nesting()


def _walk(function: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """Return the tree with the function applied to its leaves; torch's own, for any kind of tree, is 5x slower."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, dict):
        return {name: _walk(function, inner) for name, inner in tree.items()}
    if tree is None:
        return None
    if isinstance(tree, (tuple, list)):
        inner = [_walk(function, item) for item in tree]
        return type(tree)(*inner) if hasattr(tree, "_fields") else type(tree)(inner)
    raise TypeError(f"a tree over members must hold tensors; got a {type(tree).__name__}")


def behind_vmap(function: Callable[..., tuple[Tensor, ...]], *tensors: Tensor) -> tuple[Tensor, ...]:
    """Return `function(*tensors)`; under vmap, call it once on the stacked tensors with the member first.

    The function must accept leading dimensions: every tensor has one rank, and reductions name negative dimensions.
    Autograd goes through it as if it were called outside.
    """
    if torch.compiler.is_compiling() or not any(functorch.is_batchedtensor(tensor) for tensor in tensors):
        return function(*tensors)
    level = max(functorch.maybe_get_level(tensor) for tensor in tensors if functorch.is_batchedtensor(tensor))
    if level != functorch.maybe_current_level():
        return function(*tensors)  # a gradient transform is nearer: torch's own rule handles that

    def behind(tensor: Tensor) -> Tensor:
        if functorch.is_batchedtensor(tensor) and functorch.maybe_get_level(tensor) == level:
            return functorch.get_unwrapped(tensor).movedim(functorch.maybe_get_bdim(tensor), 0)
        return tensor.unsqueeze(0)

    raw = [behind(tensor) for tensor in tensors]
    with temporarily_pop_interpreter_stack():
        found = behind_vmap(function, *raw)
    return tuple(functorch._add_batch_dim(tensor, 0, level) for tensor in found)
