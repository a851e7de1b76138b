"""A population larger than the memory at hand: its members step some at a time, and fewer when memory runs out.

No operation mixes members, so a member's numbers are the same whatever the cut.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from poise.core.errors import PoiseWarning
from poise.core.trees import leaves, map_tree
from poise.train.optimizers import Flat
from poise.train.recorded import Recorded
from poise.train.rows import Picked, Rows
from poise.train.step import Program, State, step
from poise.train.work import Work

__all__ = ["Cut", "step_by_cut"]

Found = TypeVar("Found")


@dataclass
class Cut:
    """How many members are handled at a time, all if None; `planned` says for what data that was found."""

    size: int | None = None
    planned: Any = None

    def each(
        self, members: int, function: Callable[[slice], Found], undo: Callable[[], bool] = lambda: True
    ) -> list[Found]:
        """Return what the function gives for slices of the members, in order.

        On `torch.OutOfMemoryError` the slices become half as large and the work goes on where it was, once `undo` has
        put back what the failed call changed. The error is raised if it cannot, or if a slice was of one member.
        """
        found: list[Found] = []
        done = 0
        while done < members:
            size = self._next(members, done)
            try:
                found.append(function(slice(done, done + size)))
                done += size
                continue
            except torch.OutOfMemoryError:
                if size == 1 or not undo():
                    raise
            # Outside of the handler: the error holds the frames, and they hold what filled the memory.
            self.size = math.ceil(size / 2)
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()
            warnings.warn(
                f"memory ran out with {size} members of a population at a time: from here on it is {self.size}. "
                "Results are the same.",
                PoiseWarning,
                stacklevel=2,
            )
        return found

    def _next(self, members: int, done: int) -> int:
        """Return the next slice's size: the rest in parts as equal as can be."""
        left = members - done
        return left if self.size is None else math.ceil(left / math.ceil(left / self.size))


def step_by_cut(
    cut: Cut,
    program: Program,
    state: State,
    data: Rows,
    index: Tensor,
    epoch: int | None = None,
    rates: Tensor | None = None,
    later: Work | None = None,
    recorded: Recorded | None = None,
) -> dict[str, Tensor]:
    """Train every member for one step on its rows `index` (M, B), as `step` does, some members at a time.

    With `later`, what kernels do of it waits on that list, if all members go at once: see `step`, and for `rates`.
    With `recorded`, a step of all members is replayed, once it can be.
    """
    members = len(state.keys)
    rates = state.lr[None] if rates is None else rates
    parts: list[State] = []
    kept: list[_Kept] = []

    def one(places: slice) -> dict[str, Tensor]:
        whole = places.stop - places.start == members
        part = state if whole else _part(state, places)
        kept[:] = [_Kept(program, part)]
        if whole and recorded is not None:
            replayed = recorded.step(program, state, Picked(data, index, epoch), rates)
            if replayed is not None:
                parts.append(state)
                return replayed
        terms = step(program, part, Picked(data, index[places], epoch), later if whole else None, rates[:, places])
        parts.append(part)
        return terms

    def undo() -> bool:
        return kept[0].put_back()

    found = cut.each(members, one, undo)
    if len(found) == 1:
        return found[0]
    _join(state, parts)
    return {name: torch.cat([terms[name] for terms in found]) for name in found[0]}


class _Kept:
    """What a step changes before its optimizer acts, as it was before the step."""

    def __init__(self, program: Program, state: State) -> None:
        self.state = state
        self.memory, self.averaged = state.memory, state.averaged
        self.buffers = {name: state.buffers[name].clone() for name in program.moving if name in state.buffers}
        self.versions = self._versions()

    def put_back(self) -> bool:
        """Return whether the state is as it was before: not if the weights or the optimizer's state have moved."""
        if self._versions() != self.versions:
            return False
        self.state.memory, self.state.averaged = self.memory, self.averaged
        for name, buffer in self.buffers.items():
            self.state.buffers[name].copy_(buffer)
        return True

    def _versions(self) -> list[int]:
        return [tensor._version for tensor in (self.state.flat.data, *leaves(self.state.optimizer))]


def _part(state: State, places: slice) -> State:
    """Return some members' state: views, into which what changes in place is written."""

    def own(tree: Any) -> Any:
        return map_tree(lambda leaf: leaf[places], tree)

    return replace(
        state,
        flat=Flat(state.flat.data[places], state.flat.shapes),
        **{name: own(getattr(state, name)) for name in ("buffers", "optimizer", "memory", "dials", "keys", "lr")},
        averaged=None if state.averaged is None else own(state.averaged),
    )


def _join(state: State, parts: list[State]) -> None:
    """Take over what the parts' step replaced: memory, averaged weights and the count of steps."""

    def joined(*pieces: Tensor) -> Tensor:
        return torch.cat(pieces)

    state.memory = map_tree(joined, *[part.memory for part in parts])
    if parts[0].averaged is not None:
        state.averaged = map_tree(joined, *[part.averaged for part in parts])
    state.step, state.lr = parts[0].step, torch.cat([part.lr for part in parts])
