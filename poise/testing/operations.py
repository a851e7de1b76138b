"""A pretended graph of a device's operations: taken down once, and done again on the same memory, as in a CUDA graph.

What replays right here reads no value in Python, copies nothing from the host, and finds all it needs where it lay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

__all__ = ["Operations", "recording"]

_under_way: list[Operations] = []


def recording() -> Operations | None:
    """Return the graph that is being recorded, if one is."""
    return _under_way[-1] if _under_way else None


def _memory(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


@dataclass(frozen=True)
class _Done:
    """One operation, with the tensors that it had, and those that it made."""

    function: Any
    values: Any
    named: Mapping[str, Any]
    made: tuple[Tensor | None, ...]  # None for what is another's memory


class Operations:
    """A graph: `record(body)` takes down the operations on the device, and leaves their results undone; `replay()`."""

    def __init__(self) -> None:
        self.done: list[_Done] = []
        self._own: set[int] = set()  # memory that came into being while recording
        self._before: dict[int, tuple[Tensor, Tensor]] = {}  # memory that was there and was changed: as it was

    def record(self, body: Callable[[], None]) -> None:
        _under_way.append(self)
        try:
            body()
        finally:
            _under_way.pop()
            for place, values in self._before.values():
                place.copy_(values)

    def run(self, function: Any, values: Any, named: Mapping[str, Any], *, waits: bool) -> Any:
        """Do an operation and take it down. Raises RuntimeError if it `waits`: for a value, or a copy of the host's."""
        if waits:
            raise RuntimeError(f"{function}: operation not permitted while a graph is recorded")
        given = [leaf for leaf in pytree.tree_leaves((values, named)) if isinstance(leaf, Tensor)]
        if function._schema.is_mutable:
            for tensor in given:  # any of them may be the one that is written to
                self._keep(tensor)
        found = function(*values, **named)
        before = {_memory(tensor) for tensor in given}
        leaves = [leaf for leaf in pytree.tree_leaves(found) if isinstance(leaf, Tensor)]
        made = tuple(None if _memory(leaf) in before else leaf for leaf in leaves)
        self._own |= {_memory(leaf) for leaf in made if leaf is not None}
        self.done.append(_Done(function, values, named, made))
        return found

    def _keep(self, tensor: Tensor) -> None:
        number = _memory(tensor)
        if number not in self._own and number not in self._before:
            flat = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())
            self._before[number] = (flat, flat.clone())

    def replay(self) -> None:
        """Do all operations again, each on the memory that it had."""
        for one in self.done:
            if not one.function._schema.is_mutable and all(made is None for made in one.made):
                continue  # a view, which is still one
            found = one.function(*one.values, **one.named)
            again = [leaf for leaf in pytree.tree_leaves(found) if isinstance(leaf, Tensor)]
            for old, new in zip(one.made, again, strict=True):
                if old is not None:
                    old.copy_(new)
