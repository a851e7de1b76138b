"""Any network in a population: where `torch.vmap` has no rule, the members run one after another, and the user is told.

Which of the two it is, is found out by one member's pass the first time, and kept with the network's structure.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from poise.core.errors import PoiseError, PoiseWarning
from poise.core.mapped import map_members
from poise.core.regularizer import Regularizer
from poise.core.rng import keyed_words, stream

__all__ = ["is_looped", "loop_members", "loops", "map_network", "mark_looped"]


def map_network(
    module: nn.Module, function: Callable[..., Any], members: int, *trees: Any, keys: Tensor | None = None
) -> Any:
    """Return `map_members(function, members, *trees)` for a function that runs the network, by vmap or by a loop.

    With `keys` (M, 3), what the network draws from torch's own generator depends on the member and the step alone;
    only a loop can do that, and vmap refuses such a network.
    """
    if loops(module, function, *trees, keys=keys):
        return loop_members(function, members, *trees, keys=keys)
    return map_members(function, members, *trees)


def loops(module: nn.Module, function: Callable[..., Any], *trees: Any, keys: Tensor | None = None) -> bool:
    """Return whether the members run one after another; if that is not known yet, run one member both ways.

    The loop decides: what fails there too is the caller's error, not vmap's, and is raised as a plain network has it.
    """
    # A plain attribute: a copy of the network, in this process or another, is known as well.
    known: dict[bool, bool] = module.__dict__.setdefault("_poise_loops", {})
    if not any(known.values()) and module.training not in known:
        known[module.training] = _must_loop(module, function, trees, keys)
    return any(known.values())


def is_looped(module: nn.Module) -> bool:
    """Whether it was found out that the members of this network run one after another."""
    return any(module.__dict__.get("_poise_loops", {}).values())


def mark_looped(module: nn.Module) -> None:
    """Let members of this network run one after another without finding it out again, and without a warning."""
    module.__dict__["_poise_loops"] = {True: True, False: True}


def _must_loop(module: nn.Module, function: Callable[..., Any], trees: Sequence[Any], keys: Tensor | None) -> bool:
    first = None if keys is None else keys[:1]
    try:
        map_members(function, 1, *[_copies(tree) for tree in trees])
        return False
    except (PoiseError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # noqa: BLE001  # what a network raises under vmap is its own affair
        place, reason = _culprit(module, error.__traceback__), str(error).strip().split("\n")[0]
    loop_members(function, 1, *[_copies(tree) for tree in trees], keys=first)
    warnings.warn(
        f"torch.vmap cannot map {place} over the members of a population ({reason}): they train one after another, "
        "with the same results and without the speed. Write it in plain tensor operations, or take poise's own part.",
        PoiseWarning,
        stacklevel=2,
    )
    return True


def loop_members(function: Callable[..., Any], members: int, *trees: Any, keys: Tensor | None = None) -> Any:
    """Return what `map_members` returns, one member after another.

    >>> loop_members(lambda row, rest: {"sum": row.sum() + rest["x"]}, 2, torch.ones(2, 3), {"x": torch.arange(2)})
    {'sum': tensor([3., 4.])}
    """
    trees = tuple(_unbound(tree) for tree in trees)
    found = []
    for place in range(members):
        with _drawing(None if keys is None else keys[place]):
            found.append(function(*[_own(tree, place) for tree in trees]))
    return _stacked(found)


@dataclass(frozen=True)
class _Parts:
    """The members' parts of a leaf that takes a gradient: unbound once, its gradient is one stack.

    Taken by place, it would be M tensors of M members, all zeros but for one.
    """

    members: tuple[Tensor, ...]


def _unbound(tree: Any) -> Any:
    """Return the tree with every leaf that takes a gradient in parts."""
    if isinstance(tree, Tensor):
        return _Parts(tree.unbind(0)) if tree.requires_grad else tree
    if isinstance(tree, dict):
        return {name: _unbound(value) for name, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        return _same(tree, [_unbound(value) for value in tree])
    if tree is None:
        return None
    raise TypeError(f"a tree over members must hold tensors; got a {type(tree).__name__}")


def _own(tree: Any, place: int) -> Any:
    """Return one member's tree, as views: what the network writes, running statistics, is kept."""
    if isinstance(tree, _Parts):
        return tree.members[place]
    if isinstance(tree, Tensor):
        return tree[place]
    if isinstance(tree, dict):
        return {name: _own(value, place) for name, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        return _same(tree, [_own(value, place) for value in tree])
    return None


def _stacked(found: Sequence[Any]) -> Any:
    """Return the members' trees as one with the member first."""
    first = found[0]
    if isinstance(first, Tensor):
        return torch.stack(list(found))
    if first is None:
        return None
    if isinstance(first, dict):
        return {name: _stacked([one[name] for one in found]) for name in first}
    if isinstance(first, (tuple, list)):
        return _same(first, [_stacked(values) for values in zip(*found, strict=True)])
    raise TypeError(f"a tree over members must hold tensors; got a {type(first).__name__}")


def _same(kind: Any, values: list[Any]) -> Any:
    """Return the values as a tuple, named tuple or list, as `kind` is."""
    return type(kind)(*values) if hasattr(kind, "_fields") else type(kind)(values)


def _copies(tree: Any) -> Any:
    """Return the first member's leaves as tensors of their own, (1, ...)."""
    if isinstance(tree, Tensor):
        return tree[:1].detach().clone().requires_grad_(tree.requires_grad)
    if isinstance(tree, dict):
        return {name: _copies(value) for name, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        return _same(tree, [_copies(value) for value in tree])
    return tree


@contextmanager
def _drawing(key: Tensor | None) -> Iterator[None]:
    """Let torch's own generator draw by the key, and put it back after; without a key, leave it alone."""
    if key is None:
        yield
        return
    devices = [key.device] if key.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(keyed_words(key, stream("torch"), 1)) & ((1 << 63) - 1))
        yield


def _culprit(module: nn.Module, trace: TracebackType | None) -> str:
    """Return the innermost layer, or else the part of the recipe, that was at work when the error came."""
    paths = {id(layer): path for path, layer in module.named_modules()}
    found = "the network's loss"
    while trace is not None:
        owner = trace.tb_frame.f_locals.get("self")
        if id(owner) in paths:
            path = paths[id(owner)]
            found = f"{path!r} ({type(owner).__name__})" if path else f"the network ({type(owner).__name__})"
        elif isinstance(owner, Regularizer):
            found = f"the part {owner.name!r} ({type(owner).__name__})"
        trace = trace.tb_next
    return found
