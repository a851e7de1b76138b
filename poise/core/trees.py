"""Trees of tensors: nested dicts, tuples and lists whose leaves are tensors. torch's pytrees, under our names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

__all__ = ["Tree", "leaves", "map_tree", "select_members", "stack_trees", "tree_to", "where_members"]

Tree = Any


def leaves(tree: Tree) -> list[Any]:
    """Return the leaves of a tree, in its order."""
    return pytree.tree_leaves(tree)


def map_tree(function: Callable[..., Any], *trees: Tree) -> Tree:
    """Apply `function` to the corresponding leaves of trees of one structure."""
    return pytree.tree_map(function, *trees)


def tree_to(tree: Tree, device: torch.device | str) -> Tree:
    """Return the tree with its tensors on a device; other leaves stay."""
    return map_tree(lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf, tree)


def stack_trees(trees: Sequence[Tree]) -> Tree:
    """Stack the leaves of M equal trees: each (...) becomes (M, ...)."""
    return pytree.tree_map(lambda *leaves: torch.stack(leaves), *trees)


def select_members(tree: Tree, members: Tensor) -> Tree:
    """Return the tree of the given members: each leaf (M, ...) becomes (len(members), ...)."""
    return pytree.tree_map(lambda leaf: leaf[members], tree)


def where_members(choose: Tensor, first: Tree, second: Tree) -> Tree:
    """Per member: the leaf of `first` where `choose` (M,), else of `second`."""

    def pick(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(choose.reshape(-1, *[1] * (a.dim() - 1)), a, b)

    return pytree.tree_map(pick, first, second)
