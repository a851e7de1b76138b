"""The course of a study while it runs, a line of JSON an event, for those who watch: it is read, never needed.

The lines say what the study is of, what it is doing, and the losses of its networks at every evaluation; worker
processes add theirs to the same file. The study holds a lock on the file, which the system lets go of when the process
dies, however it dies: so a reader can tell a study that runs from one that is gone.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from poise.study.cohort import Cohort

if sys.platform != "win32":
    import fcntl

__all__ = ["COURSE", "Course", "Losses", "Seen", "read_course"]

COURSE = ".course.jsonl"
"""The file's name in a study's folder."""

CAP = 16 * 2**20  # bytes; what a study of some thousand configurations writes. Then only its phases are noted
PAUSE = 0.5  # seconds between two notes of one phase


class Course:
    """Writes the course. Nothing that goes wrong here may end a study, so a full disk is passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._told = ("", -math.inf)
        self._lock: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_told": self._told, "_lock": None}  # a worker holds no lock of its own

    def begin(self, facts: Mapping[str, object]) -> None:
        """Make the file, lock it, and note what the study is of."""
        try:
            self._lock = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            if sys.platform != "win32":
                fcntl.flock(self._lock, fcntl.LOCK_EX)
        except OSError:
            return
        self._write({"kind": "study", "time": time.time(), **facts})

    def phase(self, message: str, best: float | None, share: float) -> None:
        """Note what the study is doing; of many notes of one phase, two a second."""
        now = time.monotonic()
        if message != self._told[0] or now - self._told[1] >= PAUSE:
            self._told = message, now
            known = best if best is not None and math.isfinite(best) else None
            self._write({"kind": "phase", "message": message, "best": known, "share": round(share, 4)})

    def evaluated(self, cohort: Cohort) -> None:
        """Note the losses of a cohort after an evaluation."""
        self.losses([config.number for config in cohort.configs], cohort.owner, *cohort.history[-1])

    def losses(self, numbers: Sequence[int], owner: Sequence[int], step: int, train: Tensor, stop: Tensor) -> None:
        """Note the losses of configurations `numbers`: the means over the members that each owns."""
        places = [[at for at, own in enumerate(owner) if own == place] for place in range(len(numbers))]
        sides = {
            name: [_short(float(values[own].mean())) for own in places]
            for name, values in (("train", train), ("validation", stop))
        }
        self._write({"kind": "losses", "step": step, "numbers": list(numbers), **sides}, CAP)

    def close(self) -> None:
        """Let go of the file; a second call does nothing."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _write(self, line: Mapping[str, object], cap: float = math.inf) -> None:
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
            try:
                if os.fstat(file).st_size < cap:
                    os.write(file, (json.dumps(line, allow_nan=False) + "\n").encode("ascii"))
            finally:
                os.close(file)
        except (OSError, ValueError):
            return


def _short(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


# ---- reading ----


@dataclass(frozen=True)
class Losses:
    """One configuration's losses: the training loss and that of the rows which stopping watches; NaN if not finite."""

    number: int
    steps: tuple[int, ...]
    train: tuple[float, ...]
    validation: tuple[float, ...]


@dataclass(frozen=True)
class Seen:
    """What a course says. `runs`: whether the study's process holds the file; `started` in seconds since 1970."""

    runs: bool = False
    started: float = 0.0
    facts: Mapping[str, object] = field(default_factory=dict)
    phase: str = ""
    share: float = 0.0
    losses: tuple[Losses, ...] = ()


def read_course(path: Path) -> Seen:
    """Return what the course of a study says so far; lines that are cut or foreign are passed over."""
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return Seen()
    try:
        runs = _held(file)
        text = os.read(file, CAP + 2**20).decode("utf-8", "replace")
    except OSError:
        return Seen()
    finally:
        os.close(file)
    facts: dict[str, object] = {}
    phase, share = "", 0.0
    rows: dict[int, list[tuple[int, float, float]]] = {}
    for line in text.split("\n"):
        try:
            one = json.loads(line)
            if one["kind"] == "study":
                facts = {str(key): value for key, value in one.items() if isinstance(value, str | int | float)}
            elif one["kind"] == "phase":
                phase, share = str(one["message"]), float(one["share"])
            elif one["kind"] == "losses":
                for number, train, stop in zip(one["numbers"], one["train"], one["validation"], strict=True):
                    rows.setdefault(int(number), []).append((int(one["step"]), _number(train), _number(stop)))
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
    losses = tuple(
        Losses(number, *(tuple(part) for part in zip(*sorted(found), strict=True)))
        for number, found in sorted(rows.items())
    )
    began = facts.get("time")
    return Seen(runs, float(began) if isinstance(began, int | float) else 0.0, facts, phase, share, losses)


def _held(file: int) -> bool:
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
