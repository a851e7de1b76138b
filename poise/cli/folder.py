"""The folder of a study: claimed before any work, given back if the study ends without a result."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from poise.core.errors import PoiseError, StudyError, shown

__all__ = ["FILES", "check_space", "claimed"]

FILES = {
    "report.html": "the report, for a browser",
    "recipe.yaml": "the recipe found; poise explain {folder}/recipe.yaml",
    "model": "the ensemble; poise predict {folder} {new}",
    "predictions.csv": "predictions of the test rows",
    "result.json": "every number of the report",
    "record.sqlite": "every trial of the search",
}
"""The files of a study's folder, and what each is."""

LEFT_BY_A_CRASH = re.compile(
    r"\.course\.jsonl|record\.sqlite-(wal|shm)|\.record\.sqlite\.lock|\..+\.[0-9a-f]{8}\.(new|old)|\..+\.draft"
)
SPACE = 64 * 2**20  # bytes; a study of a wide table writes about half of that


@contextmanager
def claimed(out: str | None, data: str, force: bool) -> Iterator[Path]:
    """Give a study a folder of its own; a study that ends without a result leaves things as they were.

    A former study (`force`) stands aside until the new one is complete. Raises: StudyError before any work is done.
    """
    check_space(Path(out or "runs"))
    folder = _numbered(data) if out is None else Path(os.path.realpath(out))
    try:
        there = out is not None and os.path.lexists(folder)
        aside = _set_aside(folder, force) if there else None
    except OSError as error:
        raise StudyError(f"`--out`: {shown(str(folder), 200)} cannot be used: {error.strerror}.") from error
    try:
        yield folder
    except BaseException as error:
        # After a fault of ours the record is all that is left of the search: only a replacement is taken back then.
        expected = isinstance(error, (PoiseError, KeyboardInterrupt))
        if not os.path.exists(folder / "result.json") and (aside is not None or expected):
            shutil.rmtree(folder, ignore_errors=True)
            if aside is not None:
                aside.rename(folder)
            elif there:
                folder.mkdir(exist_ok=True)
        raise
    if aside is not None:
        shutil.rmtree(aside, ignore_errors=True)


def check_space(folder: Path, least: int = SPACE) -> None:
    """Raise StudyError where the disk of a folder, which need not exist, has too few free bytes."""
    place = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if os.path.isdir(parent))
    if (free := shutil.disk_usage(place).free) < least:
        raise StudyError(f"{shown(str(place), 200)} has {free} free bytes; a study needs {least}. Free some first.")


def _numbered(data: str) -> Path:
    """Make and return the first free folder of runs/TABLE-1, runs/TABLE-2, ..."""
    stem, number = Path(data).stem[:60] or "table", 1
    try:
        os.makedirs("runs", exist_ok=True)
        while True:
            folder = Path("runs") / f"{stem}-{number}"
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                number += 1
    except OSError as error:
        raise StudyError(f"the folder `runs` cannot be written here: {error.strerror}. Pass --out DIR.") from error


def _set_aside(folder: Path, force: bool) -> Path | None:
    """Refuse what is no empty folder, or, with `force`, rename a former study and return its new place."""
    named = shown(str(folder), 200)
    if not folder.is_dir():
        raise StudyError(f"`--out` must be a folder; {named} is a file. Choose another name.")
    entries = set(os.listdir(folder))
    if not entries:
        return None
    if foreign := sorted(name for name in entries - FILES.keys() if not LEFT_BY_A_CRASH.fullmatch(name)):
        raise StudyError(f"`--out` must be a new or empty folder; {named} holds {shown(foreign)}. Choose another name.")
    if not force:
        raise StudyError(f"`--out`: {named} holds a study. Pass --force to replace it, or choose another name.")
    from poise.study.atomic import beside

    aside = beside(folder, ".old")
    folder.rename(aside)
    return aside
