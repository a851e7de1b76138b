"""Reading what others wrote: plain files only, no further than a cap, never through a link, never for writing."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from poise.core.errors import StudyError, shown

__all__ = ["Signature", "identity", "read_text", "signature"]

Signature = tuple[tuple[str, int, int], ...]
"""Names, sizes and times of files: while it is equal, nothing need be read again."""


def identity(path: Path) -> str:
    """Return the id under which a page asks for a run: 16 letters of a hash, from which no path can be made."""
    return hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()[:16]


def read_text(path: Path, cap: int) -> str:
    """Return a UTF-8 text; bytes that are none become marks. Raises StudyError with what is wrong."""
    named = shown(path.name)
    try:
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(path, flags), "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise StudyError(f"{named} is no plain file. Links and pipes are not read.")
            if facts.st_size > cap:
                raise StudyError(f"{named} has {facts.st_size:,} bytes; the lab reads up to {cap:,}. Thin it out.")
            return file.read(cap).decode("utf-8-sig", "replace")
    except OSError as error:
        raise StudyError(f"{named} cannot be read: {error.strerror}. Links are not followed.") from error


def signature(*paths: Path) -> Signature:
    """Return what tells a changed file; a missing one has the size -1."""
    found = []
    for path in paths:
        try:
            facts = os.stat(path, follow_symlinks=False)
            found.append((path.name, facts.st_size, facts.st_mtime_ns))
        except OSError:
            found.append((path.name, -1, 0))
    return tuple(found)
