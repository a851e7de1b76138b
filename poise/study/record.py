"""The record of a study's trials: one SQLite file, one transaction for a whole population step, a checksum a row.

SQLite in WAL mode with synchronous=FULL lost no acknowledged row under kill -9, full disks and injected faults; what
it does not notice is bit rot, hence the checksums and the count of rows. A commit that reported failure may be on
disk after all, hence rows are keyed by (number, rung) and adding equal ones again changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
import numbers
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from poise.core.errors import StudyError, shown
from poise.study.record_file import connect, create_once
from poise.study.result import Trial

__all__ = ["Record", "UnwritableError"]

DIALS_CAP = 64_000  # characters of one trial's dials as JSON
COUNT = "rows"  # the meta key under which each transaction counts the rows, so that lost ones are noticed
Row = tuple[int, int, int, str, float | None, float | None, str, str]


class UnwritableError(StudyError):
    """The record's file could not be written for now, most likely because the disk is full."""


class Record:
    """The trials of a study on disk; opened again, it goes on where the last commit ended.

    Raises: StudyError for a file that is empty, foreign, damaged or of another schema version, or cannot be written.

    >>> with Record(Path("record.sqlite")) as record:
    ...     record.add([Trial(0, {"dropout.p": 0.1}, 0, 100, 0.4, 0.5, "finished")])
    ...     record.trials()[0].validation
    0.5
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(os.path.abspath(path))
        create_once(self.path)
        self._connection = connect(self.path, readonly=False)

    @classmethod
    def open_readonly(cls, path: str | Path) -> Record:
        """Open an existing record for reading only; it may be written by a running study meanwhile."""
        record = cls.__new__(cls)
        record.path = Path(os.path.abspath(path))
        record._connection = connect(record.path, readonly=True)
        return record

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._connection.close()

    def add(self, trials: Sequence[Trial]) -> None:
        """Store trials, all or none; when it returns they are on disk.

        Raises: StudyError if a trial of the same number and rung is there with other content, or a value is no number;
        UnwritableError if the file cannot be written.
        """
        rows = [_row(trial) for trial in trials]
        with self._transaction():
            for row in rows:
                there = self._connection.execute("SELECT * FROM trials WHERE number=? AND rung=?", row[:2]).fetchone()
                if there is None:
                    self._connection.execute("INSERT INTO trials VALUES (?,?,?,?,?,?,?,?)", row)
                elif there[-1] != row[-1]:
                    raise StudyError(
                        f"{self._named}: trial {row[0]}, rung {row[1]} is recorded as {shown(there[2:-1], 300)}; got "
                        f"{shown(row[2:-1], 300)}. It belongs to another study: use a new folder."
                    )
            count = self._connection.execute("SELECT count(*) FROM trials").fetchone()[0]
            self._put(COUNT, count)

    def trials(self) -> tuple[Trial, ...]:
        """Return all trials in the order in which they were added.

        Raises: StudyError naming the row whose checksum does not fit, or the number of rows that are lost.
        """
        with self._reading():
            rows = self._connection.execute("SELECT * FROM trials ORDER BY rowid").fetchall()
            counted = self._get().get(COUNT, 0)
        if len(rows) != counted:
            raise StudyError(
                f"{self._named} must hold {shown(counted)} trials; got {len(rows)}. It is damaged: restore it from a "
                "copy, or use a new folder."
            )
        return tuple(self._trial(row) for row in rows)

    def describe(self, facts: Mapping[str, Any]) -> None:
        """Note what the study is of (data, space, seed) at the first call; later calls must say the same.

        Raises: StudyError with the differences, so that no study goes on with trials of another one.
        """
        told = {f"study.{key}": json.loads(json.dumps(value)) for key, value in facts.items()}
        with self._transaction():
            known = {key: value for key, value in self._get().items() if key.startswith("study.")}
            if not known:
                for key, value in told.items():
                    self._put(key, value)
            elif known != told:
                apart = [
                    f"{key.removeprefix('study.')} was {shown(known.get(key))}, now {shown(told.get(key))}"
                    for key in sorted({*known, *told})
                    if known.get(key) != told.get(key)
                ]
                raise StudyError(f"{self._named} is of another study: {'; '.join(apart)}. Use a new folder.")

    # ---- within ----

    @property
    def _named(self) -> str:
        return shown(str(self.path), 200)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Read one consistent state, and turn SQLite's errors into ours."""
        try:
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise StudyError(
                f"{self._named} cannot be read: {error}. Restore it from a copy, or use a new folder."
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise UnwritableError(
                f"{self._named} cannot be written: {error}. What was recorded before is safe; free space or wait for "
                "the other program, then run the study again."
            ) from error

    def _put(self, key: str, value: Any) -> None:
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (key, json.dumps(value)))

    def _get(self) -> dict[str, Any]:
        found = self._connection.execute("SELECT key, value FROM meta").fetchall()
        try:
            return {key: json.loads(value) for key, value in found}
        except (ValueError, TypeError) as error:
            raise StudyError(f"{self._named}: meta is damaged ({error}). Restore it from a copy.") from error

    def _trial(self, row: Row) -> Trial:
        number, rung, steps, dials, train, validation, state, expected = row
        try:
            trial = Trial(number, json.loads(dials), rung, steps, _score(train), _score(validation), state)
            found = _row(trial)[-1]
        except (StudyError, ValueError, TypeError, AttributeError) as error:
            found = f"no trial ({error})"
        if found != expected:
            raise StudyError(
                f"{self._named}: the row of trial {shown(number)}, rung {shown(rung)} must have sha256 "
                f"{shown(expected)}; got {found}. It is damaged: restore it from a copy, or use a new folder."
            )
        return trial


def _row(trial: Trial) -> Row:
    """Return a trial as a row; SQLite stores NaN as NULL and -0.0 as 0.0."""
    for name in ("number", "rung", "steps"):
        value = getattr(trial, name)
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not 0 <= int(value) < 2**63:
            raise StudyError(f"`Trial.{name}` must be a whole number >= 0; got {shown(value)}. Fix the search.")
    if not isinstance(trial.state, str) or not isinstance(trial.dials, Mapping):
        raise StudyError(f"`Trial` must have a state and dials; got {shown(trial.state)} and {shown(trial.dials)}.")
    for key in trial.dials:
        if not isinstance(key, str):
            raise StudyError(f"`Trial.dials` must have keys of text; got {shown(key)}. Use `part.field`.")
    dials = {key: _number(f"dials[{key!r}]", value) for key, value in trial.dials.items()}
    text = json.dumps(dials)
    if len(text) > DIALS_CAP:
        raise StudyError(f"`Trial.dials` must be below {DIALS_CAP} characters as JSON; got {len(text)}. Name fewer.")
    counts = int(trial.number), int(trial.rung), int(trial.steps)
    scores = _number("train", trial.train) + 0.0, _number("validation", trial.validation) + 0.0
    content = json.dumps([*counts, dict(sorted(dials.items())), *scores, trial.state])
    checksum = hashlib.sha256(content.encode()).hexdigest()
    train, validation = (None if math.isnan(score) else score for score in scores)
    return (*counts, text, train, validation, trial.state, checksum)


def _number(name: str, value: Any) -> float:
    if not isinstance(value, bool) and isinstance(value, numbers.Real):
        try:
            return float(value)
        except OverflowError:
            pass
    raise StudyError(f"`Trial.{name}` must be a number within float64; got {shown(value)}. Fix what computes it.")


def _score(stored: float | None) -> float:
    return math.nan if stored is None else stored
