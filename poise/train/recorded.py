"""Steps that are recorded once on a GPU and replayed: the host then launches one graph, instead of each operation.

On a GPU a step of small networks takes as long as the host takes to ask for its operations, about four hundred. A CUDA
graph holds them all, with the places in memory that they read and write. So what a step reads anew each time, the rows,
the learning rates and the step's number, is copied to places that stay; what it replaces, the parts' memory and the
averaged weights, is copied back to where it was. A part that looks at the step's number in Python, or waits for a
value, cannot be recorded, and the population steps as usual. A recording is used once two replays have moved the
weights as two usual steps do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from poise.core.regularizer import EVERY_STAGE
from poise.core.trees import leaves, map_tree
from poise.kernels.library import switched_on
from poise.train.looped import is_looped
from poise.train.rows import Picked
from poise.train.step import Program, State, step

__all__ = ["CudaGraph", "Graph", "Recorded"]

_WARM = 3
"""Steps that a population takes as usual first: libraries make themselves ready in these, which no graph may hold."""
_TOLERANCE = 0.2
"""How far replays may be off, of the way that weights go: sums on a GPU may run in another order each time, and where a
gradient is nothing but rounding, Adam makes whole steps of that."""
_AFTER = ("stop", "predict")
"""Stages that no step reaches."""


class Graph(Protocol):
    """What records the operations that a function asks of a device, without doing them, and replays them."""

    def record(self, body: Callable[[], None]) -> None: ...

    def replay(self) -> None: ...


class CudaGraph:
    """torch.cuda.CUDAGraph as a `Graph`."""

    def __init__(self) -> None:
        self.graph = torch.cuda.CUDAGraph()

    def record(self, body: Callable[[], None]) -> None:
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            body()

    def replay(self) -> None:
        self.graph.replay()


_GRAPHS: dict[str, Callable[[], Graph]] = {"cuda": CudaGraph}
"""By kind of device, what records there."""


class Recorded:
    """A population's recorded step: made once some steps were of one kind, and made anew when they change.

    `refused` says why steps of this kind are not recorded, if they are not.
    """

    def __init__(self) -> None:
        self.refused: str | None = None
        self._kind: _Kind | None = None
        self._seen = 0
        self._recording: _Recording | None = None

    def step(self, program: Program, state: State, picked: Picked, rates: Tensor) -> dict[str, Tensor] | None:
        """Do one step of all members as `step` does, by the recorded one; None, with nothing done, if there is none."""
        graph = _GRAPHS.get(state.flat.data.device.type)
        if graph is None or not switched_on() or len(rates) != 1 or program.moves or is_looped(program.module):
            return None
        kind = _Kind.of(program, state, picked)
        if self._kind is None or not self._kind.same(kind):
            self._kind, self._seen, self._recording, self.refused = kind, 0, None, None
        if self._recording is not None and not self._recording.holds(state):
            self._recording = None
        self._seen += 1
        if self.refused is not None or self._seen <= _WARM:
            return None
        if self._recording is None:
            try:
                recording = _Recording(graph(), program, state, picked, rates)
                recording.check(state, picked, rates)
            except Exception as error:  # noqa: BLE001  # whatever it is, the usual way is there, and raises what is wrong
                self.refused = f"{type(error).__name__}: {error}"
                return None
            self._recording = recording
        return self._recording.step(state, picked, rates)


@dataclass(frozen=True, eq=False)
class _Kind:
    """The objects that a step changes in place or only reads: a recorded step is right while they are the same."""

    objects: tuple[Any, ...]
    shapes: tuple[Any, ...]

    @staticmethod
    def of(program: Program, state: State, picked: Picked) -> _Kind:
        own = [state.flat.data, state.keys, *leaves([state.buffers, state.optimizer, state.dials])]
        return _Kind((program, picked.data, *own), (picked.index.shape, picked.epoch is None))

    def same(self, other: _Kind) -> bool:
        alike = len(self.objects) == len(other.objects) and self.shapes == other.shapes
        return alike and all(a is b for a, b in zip(self.objects, other.objects, strict=True))


def _replaced(program: Program, state: State) -> dict[str, Any]:
    """Return what a step puts new tensors in place of: the memory of its stages' parts, and the averaged weights."""
    stages = [stage for stage in EVERY_STAGE if stage not in _AFTER]
    names = {part.name for stage in stages for part in program.recipe.stage(stage)}
    averaged = {} if state.averaged is None else state.averaged
    return {"memory": {name: state.memory[name] for name in sorted(names)}, "averaged": averaged}


class _Recording:
    """One recorded step, with the places that it reads and writes. Raises what the device raises if it cannot be."""

    def __init__(self, graph: Graph, program: Program, state: State, picked: Picked, rates: Tensor) -> None:
        # A program of its own, because what a program finds out once must lie where the graph has it, and stay.
        self.graph, self.program = graph, replace(program)
        self.index, self.rates = picked.index.clone(), rates.clone()
        device = rates.device
        self.number = torch.full((), float(state.step), dtype=torch.float64, device=device)
        self.epoch = None if picked.epoch is None else torch.full((), picked.epoch, device=device)
        self.data = picked.data
        self.terms: dict[str, Tensor] = {}
        wide, members = torch.promote_types(state.flat.data.dtype, torch.float32), len(state.keys)
        self.dials = dict(state.dials)  # all of them as tensors: a number would be copied from the host
        for name, value in program.recipe.dials().items():
            if name not in self.dials and not isinstance(value, Tensor):
                self.dials[name] = torch.full((members,), float(value), dtype=wide, device=device)
        mine = map_tree(torch.clone, _replaced(program, state))  # of their own memory: they may be views of the weights
        state.memory = state.memory | mine["memory"]
        state.averaged = None if state.averaged is None else mine["averaged"]
        self.places = leaves(mine)
        inside = replace(state, dials=self.dials, step=self.number)  # type: ignore[arg-type]  # a number that is not known
        graph.record(lambda: self._body(inside))

    def _body(self, state: State) -> None:
        """Take a step of a state whose number is a tensor, which a part may compute with, but not look at."""
        before = leaves(_replaced(self.program, state))
        picked = Picked(self.data, self.index, self.epoch)  # type: ignore[arg-type]
        self.terms = step(self.program, state, picked, rates=self.rates)
        after = leaves(_replaced(self.program, state))
        moved = [(old, new) for old, new in zip(before, after, strict=True) if not _same_place(old, new)]
        own = {tensor.untyped_storage()._cdata for tensor in (state.flat.data, *before)}
        # All are read before one is written, where what is new is a view of what was there.
        moved = [(old, new.clone() if new.untyped_storage()._cdata in own else new) for old, new in moved]
        for old, new in moved:
            old.copy_(new)

    def check(self, state: State, picked: Picked, rates: Tensor) -> None:
        """Raise RuntimeError unless two replays move the weights as two usual steps do; the state stays as it was."""
        everyone = torch.arange(len(state.keys), device=state.keys.device)
        twin, program = replace(state, dials=self.dials).select(everyone), replace(self.program)
        owned = [state.flat.data, state.keys, *leaves([state.buffers, state.optimizer]), *self.places]
        before, done, lr = [tensor.clone() for tensor in owned], state.step, state.lr
        try:
            for index in (picked.index, picked.index.flip(1)):
                rows = replace(picked, index=index)
                step(program, twin, rows, rates=rates)
                self.step(state, rows, rates)
            way, off = (tensor.norm(dim=1) for tensor in (twin.flat.data - before[0], state.flat.data - twin.flat.data))
            wrong = torch.isfinite(way) & ~(off <= _TOLERANCE * way)
            if bool(wrong.any()):
                raise RuntimeError(f"replays are off by {off[wrong].max().item():g} where weights move by "
                                   f"{way[wrong].max().item():g} in two steps")  # fmt: skip
        finally:
            for tensor, values in zip(owned, before, strict=True):
                tensor.copy_(values)
            state.step, state.lr = done, lr

    def holds(self, state: State) -> bool:
        """Whether what a step replaces still lies where the recording has it."""
        now = leaves(_replaced(self.program, state))
        return len(now) == len(self.places) and all(a is b for a, b in zip(now, self.places, strict=True))

    def step(self, state: State, picked: Picked, rates: Tensor) -> dict[str, Tensor]:
        """Replay it on these rows, at these rates; the state advances."""
        self.index.copy_(picked.index)
        self.rates.copy_(rates)
        self.number.fill_(state.step)
        if self.epoch is not None and picked.epoch is not None:
            self.epoch.fill_(picked.epoch)
        self.graph.replay()
        state.step += 1
        state.lr = rates[-1].clone()
        return {name: term.clone() for name, term in self.terms.items()}


def _same_place(old: Tensor, new: Tensor) -> bool:
    def place(tensor: Tensor) -> tuple[Any, ...]:
        return tensor.untyped_storage()._cdata, tensor.storage_offset(), tensor.shape, tensor.stride()

    return place(old) == place(new)
