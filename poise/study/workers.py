"""One shard a core: independent populations run in worker processes, each on one thread.

On a busy machine a multi-threaded operation waits for its slowest thread at every barrier; processes do not.
loky starts them, so a script needs no `if __name__ == "__main__"` guard.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import loky  # type: ignore[import-untyped]  # it ships no types
import torch

from poise.train.memory import sharing_memory

__all__ = ["Crew", "crew", "default_jobs", "first_done", "one_thread", "run_all"]

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


@dataclass(frozen=True)
class Crew:
    """So many worker processes, which take up one task after another; a crew of one is this process itself."""

    workers: int

    def begin(self, function: Callable[..., Result], *arguments: Any) -> Future[Result]:
        """Return the result to come of function(*arguments); a crew of one has done it, or raised, on return.

        Each process counts on its share of the memory at hand, so that populations in all of them fit at once.
        """
        if self.workers > 1:
            future: Future[Result] = _executor(self.workers).submit(_task, function, arguments, self.workers)
            return future
        done: Future[Result] = Future()
        with one_thread():
            done.set_result(function(*arguments))
        return done


@contextmanager
def crew(workers: int) -> Iterator[Crew]:
    """Yield a crew; where an error leaves the block, what its workers still do is broken off."""
    own = Crew(1 if multiprocessing.current_process().daemon else workers)  # a daemon may not start processes
    try:
        yield own
    except BaseException:
        if own.workers > 1:
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
    """Return [function(*arguments) for arguments in tasks], in order, in up to `jobs` processes."""
    with crew(min(jobs, len(tasks))) as workers:
        futures = [workers.begin(function, *arguments) for arguments in tasks]
        return [future.result() for future in futures]
