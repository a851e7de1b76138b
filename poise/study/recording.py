"""A study's record while the study runs: what cannot be written waits, and the study goes on without it."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from pathlib import Path

from poise.core.errors import PoiseWarning
from poise.study.record import Record, UnwritableError
from poise.study.result import Trial

__all__ = ["Recording"]


class Recording:
    """Adds trials to a record, which others read and the study itself does not need.

    Where the disk is full, trials are kept in memory and written with the next ones, or at the end; one warning says so
    and names the file.

    Raises: StudyError as `Record` does when it is opened, and for trials that are none.
    """

    def __init__(self, path: Path) -> None:
        self.record = Record(path)
        self._waiting: list[Trial] = []
        self._told = False

    def add(self, trials: Sequence[Trial]) -> None:
        """Write trials after those that wait, or let all of them wait."""
        waiting, self._waiting = [*self._waiting, *trials], []
        try:
            self.record.add(waiting)
        except UnwritableError as error:
            self._waiting = waiting
            if not self._told:
                self._told = True
                told = f"{error} Until then the study goes on, with the trials of its search in memory."
                warnings.warn(told, PoiseWarning, stacklevel=2)

    def close(self) -> None:
        """Try once more to write what waits, and close the file."""
        with contextlib.suppress(UnwritableError):  # said already
            if self._waiting:
                self.record.add(self._waiting)
        self.record.close()
