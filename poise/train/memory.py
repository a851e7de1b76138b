"""Memory of the process: freed blocks are kept, and how much there is still to be had.

A population frees and asks for the same megabytes hundreds of times a second.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

__all__ = ["keep_freed_memory", "memory_at_hand", "sharing_memory"]

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


_share = 1.0  # of the memory at hand that this process may count on


def memory_at_hand(device: torch.device | None = None) -> int | None:
    """Return the bytes that this process can still have on a device, the CPU if None; None where nothing tells.

    On a CPU the least of what the system has available and what each control group around the process leaves it.
    """
    if device is not None and device.type == "cuda":
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int((torch.cuda.mem_get_info(device)[0] + reserved) * _share)
    found = [size for size in (_available(), *_left_by_groups()) if size is not None]
    return int(min(found) * _share) if found else None


@contextmanager
def sharing_memory(processes: int) -> Iterator[None]:
    """Count, inside, on one of so many equal shares of the memory at hand: others like this one work beside it."""
    global _share  # noqa: PLW0603  # a fact about the process, like its number of threads
    before = _share
    _share = before / processes
    try:
        yield
    finally:
        _share = before


def _available() -> int | None:
    """Return the bytes that the system can give without swapping."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import psutil  # of the extra `study`
    except ImportError:
        return None
    return int(psutil.virtual_memory().available)


def _left_by_groups(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[int]:
    """Return the bytes that are left under the limit of each control group that the process is in."""
    try:
        entries = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return []
    left = []
    for _, controllers, place in entries:
        if controllers == "":  # version 2
            base, limit, used, cache = root, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            base, limit, used, cache = (
                root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file",
            )  # fmt: skip
        else:
            continue
        folder = base / place.lstrip("/")
        for inner in (folder, *folder.parents):
            if base == inner or base in inner.parents:
                left += _left(inner, limit, used, cache)
    return left


def _left(folder: Path, limit: str, used: str, cache: str) -> list[int]:
    try:
        most, now = (folder / limit).read_text().strip(), int((folder / used).read_text())
        if most == "max":
            return []
        lines = [line.split() for line in (folder / "memory.stat").read_text().splitlines()]
    except (OSError, ValueError):
        return []  # no such group seen from here, or no limit in it
    # Pages of files that nobody has touched lately are given up first, so they do not count.
    return [int(most) - now + sum(int(line[1]) for line in lines if line[0] == cache)]
