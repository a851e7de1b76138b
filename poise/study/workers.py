"""One shard a core: independent populations run in worker processes, each on one thread.

On a busy machine a multi-threaded operation waits for its slowest thread at every barrier; processes do not.
joblib's loky starts them, so a script needs no `if __name__ == "__main__"` guard.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import joblib  # type: ignore[import-untyped]  # it ships no types
import torch

from poise.train.memory import sharing_memory

__all__ = ["default_jobs", "one_thread", "run_all"]

Result = TypeVar("Result")


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


def run_all(function: Callable[..., Result], tasks: Sequence[tuple[Any, ...]], jobs: int) -> list[Result]:
    """Return [function(*arguments) for arguments in tasks], in order, in up to `jobs` processes.

    Each process counts on its share of the memory at hand, so that populations in all of them fit at once.
    """
    if jobs <= 1 or len(tasks) <= 1:
        with one_thread():
            return [function(*arguments) for arguments in tasks]
    workers = min(jobs, len(tasks))
    parallel = joblib.Parallel(n_jobs=workers, backend="loky", inner_max_num_threads=1)
    found: list[Result] = parallel(joblib.delayed(_task)(function, arguments, workers) for arguments in tasks)
    return found
