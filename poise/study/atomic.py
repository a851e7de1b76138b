"""Files that appear whole or not at all: written beside their place, made durable, and renamed into it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from poise.core.errors import StudyError, shown

__all__ = ["beside", "leftovers", "reason", "sync_folder", "write_bytes_atomic", "write_new", "write_text_atomic"]

ABANDONED = 600
"""Seconds after which a draft is a killed writer's: a younger one may be another's who still writes."""


def write_text_atomic(path: Path, text: str) -> None:
    """Write a UTF-8 text file so that it appears whole or not at all. Raises StudyError with the reason."""
    write_bytes_atomic(path, text.encode("utf-8"))


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write a file so that it appears whole or not at all. Raises StudyError with the reason."""
    path = Path(os.path.abspath(path))
    if os.path.exists(path) and not os.path.isfile(path):  # unlike Path's, False for a name that is too long
        # Renaming over a folder fails late; renaming over /dev/null succeeds where the user may write there.
        raise StudyError(f"{shown(str(path), 200)} is no plain file. Choose the name of a file.")
    temporary = beside(path, ".new")
    try:
        write_new(temporary, data)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:  # Ctrl-C, too, leaves no draft
        with contextlib.suppress(OSError):
            temporary.unlink()
        if not isinstance(error, OSError):
            raise
        raise StudyError(
            f"{shown(str(path), 200)} cannot be written: {reason(error)}. Free space or choose another place."
        ) from error
    for leftover in leftovers(path, ".new"):
        with contextlib.suppress(OSError):  # another writer sweeps, too
            if time.time() - leftover.stat().st_mtime > ABANDONED:
                leftover.unlink()


def write_new(path: Path, data: bytes) -> None:
    """Write a file that does not exist yet and wait until it is on the disk."""
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system has such a call."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network and FUSE file systems
            raise
    finally:
        os.close(descriptor)


def beside(path: Path, ending: str) -> Path:
    """Return a fresh temporary name for `path` in its own folder, where a rename is one step."""
    return path.with_name(f"{_prefix(path)}{secrets.token_hex(4)}{ending}")


def leftovers(path: Path, ending: str) -> Iterator[Path]:
    """Yield what killed writers of `path` left under the names that `beside` gives, and nothing else."""
    prefix = _prefix(path)
    try:
        names = sorted(os.listdir(path.parent))
    except OSError:
        return
    for name in names:
        token = name[len(prefix) : -len(ending)]
        if (
            name.startswith(prefix)
            and name.endswith(ending)
            and len(token) == 8
            and not token.strip("0123456789abcdef")
        ):
            yield path.with_name(name)


def reason(error: OSError) -> str:
    """Return what the system says of a failure, without the path that the message names anyway."""
    return error.strerror or type(error).__name__


def _prefix(path: Path) -> str:
    # A long name is hashed, so that the temporary one stays below the 255 bytes that file systems allow.
    name = os.fsencode(path.name)
    return f".{path.name if len(name) <= 200 else hashlib.sha256(name).hexdigest()[:16]}."
