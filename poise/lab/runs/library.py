"""The runs under the places that the command line named: found, listed, read again when they have changed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from poise.core.errors import ArgumentError, shown
from poise.lab.base import Figure
from poise.lab.runs.figures import figure_of
from poise.lab.runs.files import Signature, identity, signature
from poise.lab.runs.logs import ENDINGS, looks_like_a_log, read_log
from poise.lab.runs.pages import ComparePage, RunLine, RunPage, compare_page, line_of, page_of
from poise.lab.runs.record import RunRecord
from poise.lab.runs.study_folder import is_study, read_study, study_signature

__all__ = ["Library"]

PAUSE = 1.0  # seconds in which a run is read once at most
DEEPEST = 5  # folders below a given one
MOST = 20_000  # names looked at in one search
MOST_RUNS = 2_000


@dataclass
class _Known:
    """What was read of a run, when it was looked at, and how its files were then."""

    looked: float
    files: Signature
    record: RunRecord


class Library:
    """Studies and logs under `places` (folders, studies' folders, log files). Reads only; one for all threads.

    A study that runs is read again when it has written, once a second at most. What is broken or foreign is listed
    with what is wrong in words; a foreign file in a folder is passed over.

    Raises: ArgumentError for a place that is not there, or a file that is no log.
    """

    def __init__(self, places: Sequence[str | Path] = (), *, clock: Callable[[], float] = time.monotonic) -> None:
        self.places = tuple(Path(os.path.abspath(place)) for place in places)
        for place in self.places:
            if not place.exists():
                raise ArgumentError(f"`lab`: there is no {shown(str(place), 200)}. Name a folder of studies or a log.")
            if place.is_file() and place.suffix.lower() not in ENDINGS:
                raise ArgumentError(f"`lab`: {shown(str(place), 200)} must end in {', '.join(ENDINGS)}.")
        self.cut = ""  # says that not everything was looked at
        self._clock = clock
        self._lock = threading.RLock()
        self._paths: dict[str, tuple[Path, str, str]] = {}  # id -> path, name below the given place, name in a script
        self._looked = -PAUSE
        self._known: dict[str, _Known] = {}

    def runs(self) -> tuple[RunLine, ...]:
        """Return a line for every run, the newest first."""
        with self._lock:
            self._search()
            records = [self._read(one) for one in list(self._paths)]
        return tuple(line_of(one) for one in sorted(records, key=lambda one: (-one.changed, one.place)))

    def page(self, run: str) -> RunPage | None:
        """Return the page of a run, None if there is none of this id."""
        record = self.record(run)
        return None if record is None else page_of(record)

    def comparison(self, first: str, second: str) -> ComparePage | None:
        """Return the page of two runs, None if one of them is not there."""
        one, two = self.record(first), self.record(second)
        return None if one is None or two is None else compare_page(one, two)

    def figure(self, name: str, of: Sequence[str]) -> Figure:
        """Return a figure of one or two runs as they are now. Raises ArgumentError for a name or a run unknown."""
        records = [self.record(run) for run in of]
        if not records or any(record is None for record in records):
            raise ArgumentError(f"`{shown(name)}` is of a run that is not here: {shown(list(of))}. Open the list.")
        return figure_of(name, [record for record in records if record is not None])

    def record(self, run: str) -> RunRecord | None:
        """Return what is known of a run."""
        with self._lock:
            if run not in self._paths:
                self._search()
            return self._read(run) if run in self._paths else None

    def live(self, of: Sequence[str]) -> bool:
        """Whether one of the runs may still change: it runs, or it is a log."""
        records = [self.record(run) for run in of]
        return any(record is not None and record.status in ("running", "log", "stopped") for record in records)

    # ---- within ----

    def _read(self, run: str) -> RunRecord:
        path, place, source = self._paths[run]
        now, known = self._clock(), self._known.get(run)
        if known is not None and now - known.looked < PAUSE:
            return known.record
        folder = path.is_dir()
        files = study_signature(path) if folder else signature(path)
        # A study that is not over may have died without writing: its lock must be looked at.
        if known is not None and known.files == files and known.record.status != "running":
            known.looked = now
            return known.record
        record = read_study(path, place, source) if folder else read_log(path, place, source)
        if record.status == "unreadable" and known is not None and known.record.status == "running":
            record = replace(known.record, words=record.words)  # between two writes; the next look tells
        self._known[run] = _Known(now, files, record)
        return record

    def _search(self) -> None:
        if self._clock() - self._looked < PAUSE:
            return
        found: dict[str, tuple[Path, str, str]] = {}
        self.cut = ""
        for place in self.places:
            for path in self._under(place):
                own = path.name if path == place else str(path.relative_to(place))
                found.setdefault(identity(path), (path, own, _short(path)))
        self._paths, self._looked = found, self._clock()

    def _under(self, place: Path) -> Iterator[Path]:
        """Yield the studies and logs in a place: no link is followed, and a study's folder is not looked into."""
        if place.is_file() or is_study(place):
            yield place
            return
        seen, count, waiting = 0, 0, [(place, 0)]
        while waiting:
            folder, depth = waiting.pop(0)
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError:
                continue
            for entry in entries:
                seen += 1
                if seen > MOST or count >= MOST_RUNS:
                    self.cut = f"Only the first {count:,} runs are listed: there is too much in {place.name}."
                    return
                path = Path(entry.path)
                if entry.name.startswith(".") or entry.is_symlink():
                    continue
                if entry.is_dir():
                    if is_study(path):
                        count += 1
                        yield path
                    elif depth < DEEPEST:
                        waiting.append((path, depth + 1))
                elif entry.is_file() and looks_like_a_log(path):
                    count += 1
                    yield path


def _short(path: Path) -> str:
    """Return a path as one would type it here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
