"""Keep freed memory in the process: a population frees and asks for the same megabytes hundreds of times a second."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # from glibc's malloc.h


@cache
def keep_freed_memory() -> bool:
    """Tell glibc not to return large blocks to the system between steps; return whether it took effect.

    By default each block above 128 kB to 32 MB is mapped and unmapped anew, and the kernel clears its pages every
    time: at width 256 that took a third of a step. Does nothing where the C library is another one.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    # Both, also if one is refused: some versions of glibc allow no mapping threshold above 32 MB.
    return all([mallopt(_M_MMAP_THRESHOLD, 1 << 30), mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)])
