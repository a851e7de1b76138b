"""One shard a core: independent populations run in worker processes, each on one thread.

On a busy machine a multi-threaded operation waits for its slowest thread at every barrier; processes do not.
loky starts them, so a script needs no `if __name__ == "__main__"` guard. Where the system kills one, mostly for lack of
memory, loky ends the others too; a task's result follows from its arguments, so what was lost is done again by half as
many.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import loky  # type: ignore[import-untyped]  # it ships no types
import torch
from loky.process_executor import TerminatedWorkerError  # type: ignore[import-untyped]

from poise.core.errors import PoiseWarning, StudyError, counted
from poise.train.memory import sharing_memory

__all__ = ["Crew", "Work", "WorkersLostError", "crew", "default_jobs", "first_done", "one_thread", "run_all"]

Result = TypeVar("Result")

IDLE = 300
"""Seconds after which a worker without work ends; starting one takes some two, for its imports."""

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def default_jobs() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one torch thread inside; results are then equal bit for bit whatever the number of workers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _task(function: Callable[..., Result], arguments: tuple[Any, ...], workers: int) -> Result:
    """Run one task in one of the workers. Ctrl-C reaches the whole process group, but it is the parent's to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with one_thread(), sharing_memory(workers):
        return function(*arguments)


class WorkersLostError(StudyError):
    """A worker was killed though it was the only one that was left to work."""


@dataclass(eq=False)
class Work(Generic[Result]):
    """A task that a crew has taken up, and its result to come; begun again where its worker was killed."""

    crew: Crew
    function: Callable[..., Result]
    arguments: tuple[Any, ...]
    future: Future[Result] = field(default_factory=Future)
    began: float = field(default_factory=time.monotonic)

    @property
    def succeeded(self) -> bool:
        """Whether the result is there."""
        return self.future.done() and not self.future.cancelled() and self.future.exception() is None

    def result(self) -> Result:
        """Return the result as soon as it is there.

        Raises: what the task raised; WorkersLostError.
        """
        while True:
            try:
                found = self.future.result()
                self.crew.open.remove(self)
                return found
            except TerminatedWorkerError as error:
                self.crew.begin_again(error)


@dataclass
class Crew:
    """So many worker processes, which take up one task after another; a crew of one is this process itself."""

    workers: int
    apart: bool = field(init=False)  # whether they are processes of their own, also where one is left
    open: list[Work[Any]] = field(default_factory=list)  # begun, their results not asked for yet

    def __post_init__(self) -> None:
        self.apart = self.workers > 1

    def begin(self, function: Callable[..., Result], *arguments: Any) -> Work[Result]:
        """Take up function(*arguments); a crew of one has done it, or raised, on return.

        Each process counts on its share of the memory at hand, so that populations in all of them fit at once.
        """
        work = Work(self, function, arguments)
        if self.apart:
            self._submit(work)
        else:
            with one_thread():
                work.future.set_result(function(*arguments))
        self.open.append(work)
        return work

    def begin_again(self, error: TerminatedWorkerError) -> None:
        """Begin again what a killed worker took along, with half as many workers, so that each has more memory.

        Raises: WorkersLostError if there was one only.
        """
        signals = re.search(r"\{(.+)\}", str(error))
        told = f"a worker process was killed ({signals[1] if signals else 'no exit code'}), mostly for lack of memory"
        if self.workers == 1:
            raise WorkersLostError(f"{told}, and it was the last one. Free memory, or use fewer jobs.") from error
        self.workers //= 2
        again = f"what was in work is begun again by {counted(self.workers, 'worker')}"
        warnings.warn(f"{told}; {again}.", PoiseWarning, stacklevel=4)
        _executor(self.workers)  # it waits for the end of the old one, which fails one task after another
        for work in self.open:
            if work.future.done() and isinstance(work.future.exception(), TerminatedWorkerError):
                self._submit(work)

    def _submit(self, work: Work[Any]) -> None:
        work.began = time.monotonic()
        while True:
            try:
                work.future = _executor(self.workers).submit(_task, work.function, work.arguments, self.workers)
                return
            except TerminatedWorkerError:  # one that idled was killed just now; what was in work will say so
                continue


@contextmanager
def crew(workers: int) -> Iterator[Crew]:
    """Yield a crew; where an error leaves the block, what its workers still do is broken off."""
    own = Crew(1 if multiprocessing.current_process().daemon else workers)  # a daemon may not start processes
    try:
        yield own
    except BaseException:
        if own.apart:
            _executor(own.workers).shutdown(kill_workers=True)
        raise


def _executor(workers: int) -> Any:
    """Return the workers, the same processes again where there are as many already."""
    return loky.get_reusable_executor(workers, timeout=IDLE, env=dict.fromkeys(_THREADS, "1"))


def first_done(futures: Sequence[Future[Any]]) -> int:
    """Return the place of one that is done, the earliest in the sequence, as soon as there is one."""
    done = wait(futures, return_when=FIRST_COMPLETED).done
    return next(place for place, future in enumerate(futures) if future in done)


def run_all(function: Callable[..., Result], tasks: Sequence[tuple[Any, ...]], jobs: int) -> list[Result]:
    """Return [function(*arguments) for arguments in tasks], in order, in up to `jobs` processes.

    Raises: what a task raised; WorkersLostError.
    """
    with crew(min(jobs, len(tasks))) as workers:
        begun = [workers.begin(function, *arguments) for arguments in tasks]
        return [work.result() for work in begun]
