"""Finds and loads the compiled kernels: a shared object beside this file, called through ctypes on data pointers.

A call by ctypes releases Python's lock, so threads run kernels side by side.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

__all__ = ["address", "available", "function", "native", "switched_on"]

_switch = {"on": os.environ.get("POISE_NATIVE", "1") != "0"}


@cache
def _library() -> ctypes.CDLL | None:
    """Return the compiled kernels, or None if there are none that this version can call."""
    for suffix in EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_native{suffix}")
        if path.exists():
            try:
                library = ctypes.CDLL(str(path))
                number = library.poise_interface
            except (OSError, AttributeError):
                return None
            number.restype = ctypes.c_int64
            wanted = source_number()
            return library if wanted is None or number() == wanted else None
    return None


def source_number(folder: Path = Path(__file__).parent) -> int | None:
    """Return a number of the C sources, which the build puts into the object; None where they were not shipped.

    An object that was built of other sources is not called: after an update, an editable install still holds the old.
    """
    sources = sorted([*folder.glob("*.c"), *folder.glob("*.h")])
    if not sources:
        return None
    digest = hashlib.sha256()
    for path in sources:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return int(digest.hexdigest()[:15], 16)


def available() -> bool:
    """Whether the compiled kernels are there and in use; without them, every face calls its eager twin.

    The environment variable `POISE_NATIVE=0` turns them off for a process, `native(False)` for a block.
    """
    return switched_on() and _library() is not None


def switched_on() -> bool:
    """Whether kernels are to be used where there are any."""
    return _switch["on"]


@contextmanager
def native(on: bool) -> Iterator[bool]:
    """Use the compiled kernels within this block, or the eager twins; yields what is then in use."""
    before = _switch["on"]
    _switch["on"] = on
    try:
        yield available()
    finally:
        _switch["on"] = before


def function(name: str, *arguments: Any) -> Callable[..., Any]:
    """Return a kernel that returns nothing, by name; `arguments` are its ctypes. Found at its first call."""
    found: list[Any] = []

    def call(*given: Any) -> None:
        if not found:
            library = _library()
            if library is None:
                raise RuntimeError(f"the kernel {name} was called, but none are built; ask `available()` first.")
            kernel = getattr(library, name)
            kernel.argtypes, kernel.restype = arguments, None
            found.append(kernel)
        found[0](*given)

    return call


@cache
def address(name: str) -> int:
    """Return where a kernel begins, for kernels that call it."""
    library = _library()
    if library is None:
        raise RuntimeError(f"the kernel {name} was asked for, but none are built; ask `available()` first.")
    return int(ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0)
