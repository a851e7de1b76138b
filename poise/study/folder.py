"""The folder that a study writes: refused at the start, made when the table has proved usable."""

from __future__ import annotations

import os
from pathlib import Path

from poise.core.errors import StudyError, shown

__all__ = ["free_folder", "made_folder"]


def free_folder(folder: Path) -> Path:
    """Refuse a folder that has files or cannot be written, before any work is done; nothing is made yet."""
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise StudyError(
                f"`Study.out` must be a new or empty folder; {shown(str(folder))} "
                f"{'has files' if folder.is_dir() else 'is a file'}. Name another."
            )
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    except OSError as error:
        raise StudyError(f"`Study.out`: cannot write to {shown(str(folder))}: {error.strerror}.") from None
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "may not be written" if there.is_dir() else "is a file"
        raise StudyError(f"`Study.out`: cannot write to {shown(str(folder))}: {shown(str(there))} {why}.")
    return folder


def made_folder(folder: Path) -> Path:
    """Make the folder, and see that files can be written there."""
    free_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".poise-probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StudyError(f"`Study.out`: cannot write to {shown(str(folder))}: {error.strerror}.") from None
    return folder
