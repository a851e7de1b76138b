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
from poise.core.trees import leaves
from poise.train.cut import Cut
from poise.train.looped import is_looped
from poise.train.memory import memory_at_hand
from poise.train.recorded import Recorded
from poise.train.rows import Rows

if TYPE_CHECKING:
    from poise.train.population import Population, Score

__all__ = ["Footprint", "Phase", "allocated", "footprint", "plan_cut"]

_STEPS = 2  # the second finds what the first one left
_HEAP = 2  # times what is in use at a time: torch asks glibc for aligned blocks, and a freed one is too small for the
# next aligned block of its size, so that the heap grows past what is in use (measured: 1.6 to 2.8)
_LOOPED_HEAP = 1  # members one after another make many small blocks, that lie side by side and are freed together
_END = "poise: end of a phase"
_ROUGHLY = 400  # times what is held and the batch: activations of 100 times the inputs, and room to be wrong by four


@dataclass(frozen=True)
class Phase:
    """Bytes that come and go while something is done: `fixed`, and `working` for each member that is at work."""

    fixed: int
    working: int


@dataclass(frozen=True)
class Footprint:
    """Bytes: `kept` for each member as long as it lives, and what each phase takes besides, one after another."""

    kept: int
    phases: tuple[Phase, ...]

    def total(self, members: int, group: int | None = None) -> int:
        """Return the bytes of a population of which `group` members are at work at a time, all if None."""
        atonce = members if group is None else min(group, members)
        return self.kept * members + max(phase.fixed + phase.working * atonce for phase in self.phases)

    def group(self, members: int, memory: int) -> int:
        """Return how many members may be at work at a time, 1 at least, so that all stays within `memory` bytes.

        >>> Footprint(kept=2, phases=(Phase(fixed=10, working=5),)).group(members=4, memory=30)
        2
        """
        left = memory - self.kept * members
        room = min((left - phase.fixed) // max(1, phase.working) for phase in self.phases)
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
    heap = _LOOPED_HEAP if is_looped(population.program.module) else _HEAP
    if more == few:
        phases = [Phase(0, heap * working // few) for working in first[1:]]
        return Footprint(first[0] // few, tuple(phases))
    second = _trial(population, more, data, batch_size, rows, score)
    kept, *working = ((b - a) // (more - few) for a, b in zip(first, second, strict=True))
    phases = [Phase(max(0, taken - few * own), heap * max(0, own))
              for taken, own in zip(first[1:], working, strict=True)]  # fmt: skip
    return Footprint(kept, tuple(phases))


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
) -> list[int]:
    """Return the bytes of so many members: those that stay, and those that training, and scoring, take besides."""
    held: list[Population] = []

    def train() -> None:
        trial = copy.copy(population)
        held.append(trial)
        places = torch.arange(members)
        trial.state = population.state.select(places)
        trial.program, trial.recorded = replace(population.program), Recorded()
        trial.members = population.members[:members]
        trial.base_lr = population.base_lr[:members]
        trial.stopped, trial.diverged = population.stopped[:members], population.diverged[:members].clone()
        trial.best, trial.best_score = None, population.best_score[:members]
        trial.best_step = population.best_step[:members]
        trial.epoch_order = None
        trial.cut = Cut(planned=_shape(data, batch_size, rows))
        trial.train(data, _STEPS, batch_size, None if rows is None else rows[:members])

    def evaluate() -> None:
        assert score is not None
        for _ in range(_STEPS):
            held[0].evaluate(data, score, None if rows is None else rows[:members])

    was = population.program.module.training
    try:
        found = _allocated(train) if score is None else _allocated(train, evaluate)
        # What a phase leaves is there from then on, also when an earlier one comes again.
        return [found[-1][0], *(most - left for left, most in found)]
    finally:
        population.program.module.train(was)


def allocated(function: Callable[[], None]) -> tuple[int, int]:
    """Return (bytes that the call left allocated, the most at any time), of torch's CPU allocator in this thread.

    >>> allocated(lambda: (torch.ones(1000), None)[1])
    (0, 4000)
    """
    return _allocated(function)[0]


def _allocated(*functions: Callable[[], None]) -> list[tuple[int, int]]:
    """Return the same for calls one after another: what is allocated after each, and the most during it."""
    # The older profiler: the present one takes a second to start, and talks to the terminal.
    options = torch._C._profiler._ExperimentalConfig()
    profiler: Any = torch.autograd  # its private entries carry no types
    profiler._enable_profiler_legacy(ProfilerConfig(ProfilerState.CPU, False, True, False, False, False, options))
    try:
        for function in functions:
            function()
            with torch.profiler.record_function(_END):
                pass
    finally:
        threads = profiler._disable_profiler_legacy()
    found: list[tuple[int, int]] = []
    left = most = 0
    for events in threads:
        for event in events:
            if event.kind() == "memory_alloc":
                left += event.cpu_memory_usage()
                most = max(most, left)
            elif event.kind() == "push" and event.name() == _END:
                found.append((left, most))
                most = left
    return found


_TREES = ("buffers", "optimizer", "memory", "dials", "keys", "lr")
