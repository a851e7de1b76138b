"""A study's folder as a record, finished or still running. It is opened for reading only and never locked for long."""

from __future__ import annotations

import dataclasses
import os
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

from poise.core.errors import StudyError, shown
from poise.lab.runs.files import Signature, identity, read_text, signature
from poise.lab.runs.record import Curves, RunRecord, Status
from poise.study.course import COURSE, read_course
from poise.study.record import Record
from poise.study.result import StudyResult, Trial, result_from_json

__all__ = ["is_study", "read_study", "record_of_result", "study_signature"]

RESULT, TRIALS, MODEL = "result.json", "record.sqlite", "model"
RESULT_CAP = 256 * 2**20  # bytes; a study of 100,000 trials has 60 MB
NETWORKS = {"before": "without regularization", "after": "with the recipe found"}


def is_study(folder: Path) -> bool:
    """Whether the folder looks like a study's."""
    return os.path.lexists(folder / RESULT) or os.path.lexists(folder / TRIALS)


def study_signature(folder: Path) -> Signature:
    """Return what changes when the study has written."""
    return signature(*(folder / name for name in (RESULT, TRIALS, f"{TRIALS}-wal", COURSE, MODEL)))


def read_study(folder: Path, place: str, source: str = "") -> RunRecord:
    """Return the folder's record; what cannot be read in it is said in `words`, and the rest is kept."""
    seen = read_course(folder / COURSE)
    words, result = "", None
    trials: tuple[Trial, ...] = ()
    try:
        if os.path.lexists(folder / RESULT):
            result = checked_result(read_text(folder / RESULT, RESULT_CAP))
            trials = result.trials
        else:
            trials = _trials(folder / TRIALS)
    except StudyError as error:
        words = str(error).replace(f"{folder}{os.sep}", "")
    status: Status = "running" if seen.runs else "stopped"
    if result is not None:
        status = "interrupted" if result.interrupted else "finished"
    elif words and not seen.runs:
        status = "unreadable"
    changed = max((time / 1e9 for _, _, time in study_signature(folder)), default=0.0)
    return RunRecord(
        id=identity(folder),
        name=folder.name,
        place=place,
        source=source or str(folder),
        kind="study",
        status=status,
        started=seen.started,
        changed=changed,
        words=words,
        result=result,
        trials=trials,
        facts=seen.facts,
        phase=seen.phase if status == "running" else "",
        share=seen.share,
        losses=seen.losses,
        curves=curves_of(result) if result is not None else (),
        model=folder / MODEL if os.path.isdir(folder / MODEL) else None,
    )


def record_of_result(result: StudyResult, name: str = "study") -> RunRecord:
    """Return the record of a result that is at hand."""
    status: Status = "interrupted" if result.interrupted else "finished"
    return RunRecord("0" * 16, name, "", "", "study", status, 0.0, 0.0, result=result, trials=result.trials,
                     curves=curves_of(result))  # fmt: skip


def curves_of(result: StudyResult) -> tuple[Curves, ...]:
    """Return the loss curves of the two networks, before and after."""
    return tuple(
        Curves(
            f"loss {NETWORKS.get(one.name, one.name)}",
            (one.steps, one.train),
            (one.steps, one.validation),
            float(one.best_step),
        )
        for one in result.curves
        if one.steps
    )


def _trials(path: Path) -> tuple[Trial, ...]:
    with Record.open_readonly(path) as record:
        return record.trials()


def checked_result(text: str) -> StudyResult:
    """Return the result that a file holds. Raises StudyError where it is not as a study writes it."""
    try:
        result = result_from_json(text)
        _check(StudyResult, result, "result")
        if not result.metrics:
            raise ValueError("it has no metric")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        told = shown(str(error), 160)
        raise StudyError(f"{RESULT} is not as a study writes it ({told}). Restore it from a copy.") from error
    return result


def _check(kind: Any, value: Any, place: str) -> None:
    """Refuse a value of another type than the record declares, so that no figure meets it. Raises TypeError."""
    wanted, parts = _wanted(kind)
    if wanted is None:
        if value is not None:
            _check(parts[0][1], value, place)
        return
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{place} is no {getattr(kind, '__name__', kind)}: {shown(value)}")
    if wanted is tuple:
        inner = parts[0][1]
        for item in value:
            _check(inner, item, place)
    elif wanted is dict:
        for item in value.values():
            _check(parts[0][1], item, place)
    else:
        for name, inner in parts:
            _check(inner, getattr(value, name), name)


@cache
def _wanted(kind: Any) -> tuple[Any, tuple[tuple[str, Any], ...]]:
    """Return the classes that a declared type admits (None: a value or nothing), and the types within by name."""
    if dataclasses.is_dataclass(kind):
        return kind, tuple(get_type_hints(kind).items())
    arguments = get_args(kind)
    if type(None) in arguments:
        return None, (("", arguments[0]),)
    if arguments:
        return (tuple, (("", arguments[0]),)) if arguments[-1] is Ellipsis else (dict, (("", arguments[1]),))
    return ((int, float) if kind is float else kind), ()
