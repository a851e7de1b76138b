"""How much memory a population needs: measured on a few of its members before it runs, and drawn out to all."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import ProfilerConfig, ProfilerState  # type: ignore[attr-defined]  # of the older profiler

from poise.core.errors import ArgumentError, PoiseWarning
from poise.core.trees import leaves, select_members
from poise.train.cut import Cut
from poise.train.memory import memory_at_hand
from poise.train.rows import Rows
from poise.train.step import State

if TYPE_CHECKING:
    from poise.train.population import Population, Score

__all__ = ["Footprint", "allocated", "footprint", "plan_cut"]

_STEPS = 2  # the second finds what the first one left
_HEAP = 2  # times what is in use at a time: torch asks glibc for aligned blocks, and a freed one is too small for the
# next aligned block of its size, so that the heap grows past what is in use (measured: 1.6 to 2.8)
_ROUGHLY = 400  # times what is held and the batch: activations of 100 times the inputs, and room to be wrong by four


@dataclass(frozen=True)
class Footprint:
    """Bytes: `fixed`, `kept` for each member as long as it lives, `working` for each member that steps at a time."""

    fixed: int
    kept: int
    working: int

    def total(self, members: int, group: int | None = None) -> int:
        """Return the bytes of a population that steps `group` members at a time, all if None."""
        return self.fixed + self.kept * members + self.working * (members if group is None else min(group, members))

    def group(self, members: int, memory: int) -> int:
        """Return how many members may step at a time, 1 at least, so that all stays within `memory` bytes.

        >>> Footprint(fixed=10, kept=2, working=5).group(members=4, memory=30)
        2
        """
        room = (memory - self.fixed - self.kept * members) // max(1, self.working)
        return max(1, min(members, room))


def footprint(
    population: Population, data: Rows, batch_size: int, rows: Tensor | None = None, score: Score | None = None
) -> Footprint:
    """Return what a population takes, by the training of copies of a few of its members for two steps each.

    `data` and `rows` are what it will train on; with `score`, it is also evaluated on them. The population itself is
    left as it is.

    Raises: ArgumentError while a profiler of torch is at work: its kind of event is what counts the bytes.
    """
    if torch.autograd._profiler_enabled():  # type: ignore[attr-defined]  # private, as all of the profilers' entries
        raise ArgumentError("memory cannot be predicted while torch's profiler is at work; ask before it is started.")
    # As many as there are threads at least: kernels have a work space a thread.
    few = min(len(population), max(2, torch.get_num_threads()))
    more = min(len(population), few + 2)
    _trial(population, few, data, batch_size, rows, score)  # for what is made once in a process
    first = _trial(population, few, data, batch_size, rows, score)
    if more == few:
        return Footprint(0, first[0] // few, _HEAP * (first[1] - first[0]) // few)
    second = _trial(population, more, data, batch_size, rows, score)
    kept, whole = ((b - a) // (more - few) for a, b in zip(first, second, strict=True))
    return Footprint(max(0, first[1] - few * whole), kept, _HEAP * max(0, whole - kept))


def plan_cut(population: Population, data: Rows, batch_size: int, rows: Tensor | None) -> None:
    """Let the population step as many members at a time as the memory allows, if that was not found out already.

    Without a limit of the user's own, four fifths of the memory at hand; a population that a rough bound finds small
    beside it is not measured.
    """
    cut, members, wanted = population.cut, len(population), _shape(data, batch_size, rows)
    if cut.planned == wanted or torch.autograd._profiler_enabled():  # type: ignore[attr-defined]  # as below
        return
    cut.planned = wanted
    held = sum(leaf.nbytes for leaf in leaves([population.state.flat.data, *map(vars(population.state).get, _TREES)]))
    limit = population.memory
    if limit is None:
        if population.state.flat.data.device.type != "cpu" or (hand := memory_at_hand()) is None:
            return  # elsewhere, an error tells that memory ran out, and the members are halved
        batch = members * min(batch_size, len(data)) * sum(leaf[0].nbytes for leaf in leaves(data.inputs))
        if _ROUGHLY * (held + batch) < hand:
            return
        limit = int(0.8 * hand) + held
    need = footprint(population, data, batch_size, rows)
    size = need.group(members, limit)
    if need.total(members, size) > limit:
        warnings.warn(
            f"a population of {members} members needs about {need.total(members, size) / 1e6:,.0f} MB, also one "
            f"member at a time; at hand are {limit / 1e6:,.0f} MB. Train fewer members, or smaller batches.",
            PoiseWarning,
            stacklevel=3,
        )
    cut.size = None if size == members else min(size, cut.size or size)


def _shape(data: Rows, batch_size: int, rows: Tensor | None) -> tuple[Any, ...]:
    return (len(data), tuple(data.inputs.shape[1:]), batch_size, None if rows is None else rows.shape[1])


def _trial(
    population: Population, members: int, data: Rows, batch_size: int, rows: Tensor | None, score: Score | None
) -> tuple[int, int]:
    """Return (bytes that stay, most bytes) of training so many members."""
    held: list[Population] = []

    def train() -> None:
        trial = copy.copy(population)
        held.append(trial)
        places = torch.arange(members)
        trial.state = _selected(population.state, places)
        trial.program = replace(population.program)
        trial.members = population.members[:members]
        trial.base_lr = population.base_lr[:members]
        trial.stopped, trial.diverged = population.stopped[:members], population.diverged[:members].clone()
        trial.best, trial.best_score = None, population.best_score[:members]
        trial.best_step = population.best_step[:members]
        trial.epoch_order = None
        trial.cut = Cut(planned=_shape(data, batch_size, rows))
        trial.train(data, _STEPS, batch_size, None if rows is None else rows[:members])
        if score is not None:
            for _ in range(_STEPS):
                trial.evaluate(data, score, None if rows is None else rows[:members])

    was = population.program.module.training
    try:
        return allocated(train)
    finally:
        population.program.module.train(was)


def allocated(function: Callable[[], None]) -> tuple[int, int]:
    """Return (bytes that the call left allocated, the most at any time), of torch's CPU allocator in this thread.

    >>> allocated(lambda: (torch.ones(1000), None)[1])
    (0, 4000)
    """
    # The older profiler: the present one takes a second to start, and talks to the terminal.
    options = torch._C._profiler._ExperimentalConfig()
    profiler: Any = torch.autograd  # its private entries carry no types
    profiler._enable_profiler_legacy(ProfilerConfig(ProfilerState.CPU, False, True, False, False, False, options))
    try:
        function()
    finally:
        threads = profiler._disable_profiler_legacy()
    left = most = 0
    for events in threads:
        for event in events:
            if event.kind() == "memory_alloc":
                left += event.cpu_memory_usage()
                most = max(most, left)
    return left, most


def _selected(state: State, places: Tensor) -> State:
    """Return copies of what the members at the given places own."""
    rest = {name: select_members(getattr(state, name), places) for name in _TREES}
    averaged = None if state.averaged is None else select_members(state.averaged, places)
    return State(flat=state.flat.select(places), averaged=averaged, step=state.step, **rest)


_TREES = ("buffers", "optimizer", "memory", "dials", "keys", "lr")
