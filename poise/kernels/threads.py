"""Threads for kernels: a call by ctypes leaves Python's lock, so they run side by side."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

__all__ = ["in_threads"]

_pool: dict[str, ThreadPoolExecutor] = {}
os.register_at_fork(after_in_child=_pool.clear)  # a forked process has the pool, but not its threads


def in_threads(function: Callable[[], None], count: int) -> None:
    """Call the function `count` times at once, one of them here, and wait for all."""
    if count > 1 and "kernels" not in _pool:
        _pool["kernels"] = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="poise")
    others = [_pool["kernels"].submit(function) for _ in range(count - 1)]
    function()
    for other in others:
        other.result()
