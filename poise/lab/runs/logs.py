"""The log of a loop as curves: `run.history`, a list of records in JSON, JSON lines, a CSV, Lightning's metrics.csv.

A column belongs to training or to validation by its name: "train_loss", "val/acc", "loss_epoch". What remains of the
name is the measure, and the two sides of one measure make one figure. `run.history` calls them "data" and "score".
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from poise.core.errors import StudyError, shown
from poise.lab.runs.files import identity, read_text, signature
from poise.lab.runs.record import Curves, RunRecord, Status

__all__ = ["ENDINGS", "curves_of_rows", "looks_like_a_log", "read_log", "record_of_rows"]

ENDINGS = (".csv", ".jsonl", ".json")
"""How the names of logs end."""

CAP = 64 * 2**20  # bytes
MOST_ROWS = 2_000_000
MOST_COLUMNS = 400
MOST_MEASURES = 40
PLACES = ("step", "global_step", "iteration", "iter", "epoch", "time")  # what may run across, the best first
TRAIN = re.compile(r"(?:^|[/_.\- ])(train|training|fit|data)(?=$|[/_.\- ])", re.IGNORECASE)
VALID = re.compile(r"(?:^|[/_.\- ])(val|valid|validation|eval|dev|test|score)(?=$|[/_.\- ])", re.IGNORECASE)
LIGHTNING = re.compile(r"_(step|epoch)$")


def looks_like_a_log(path: Path) -> bool:
    """Whether a file found in a folder is worth reading: by its ending and its first line."""
    if path.suffix not in ENDINGS:
        return False
    try:
        with open(path, "rb") as file:
            start = file.read(4096).decode("utf-8-sig", "replace")
    except OSError:
        return False
    head = start.split("\n", 1)[0]
    if path.suffix == ".csv":
        names = [name.strip().strip('"').lower() for name in head.split(_delimiter(head))]
        return bool(set(names) & set(PLACES)) and any("loss" in name or VALID.search(name) for name in names)
    return head.lstrip().startswith(("{", "[")) and any(f'"{name}"' in start for name in PLACES)


def read_log(path: Path, place: str, source: str = "") -> RunRecord:
    """Return a log's record. Raises nothing for what is wrong in the file: `words` says it."""
    words = ""
    curves: tuple[Curves, ...] = ()
    try:
        text = read_text(path, CAP)
        curves = curves_of_rows(_csv(text) if path.suffix.lower() == ".csv" else _json(text))
    except StudyError as error:
        words = str(error)
    changed = max(time / 1e9 for _, _, time in signature(path))
    name = path.name if path.parent.name == "" else f"{path.parent.name}/{path.name}"
    status: Status = "unreadable" if words else "log"
    return RunRecord(
        identity(path), name, place, source or str(path), "log", status, 0.0, changed, words, curves=curves
    )


def record_of_rows(rows: Iterable[Mapping[str, object]], name: str = "run") -> RunRecord:
    """Return the record of a history that is at hand."""
    return RunRecord("0" * 16, name, "", "", "log", "log", 0.0, 0.0, curves=curves_of_rows(rows))


# ---- rows ----


def _delimiter(head: str) -> str:
    """Return what divides a line of names: a comma, unless there are more semicolons or tabs."""
    return max(",;\t", key=head.count)


def _csv(text: str) -> list[dict[str, object]]:
    divided = _delimiter(text.split("\n", 1)[0])
    try:
        rows: list[dict[str, object]] = []
        for row in csv.DictReader(io.StringIO(text), delimiter=divided):
            cells: dict[str, object] = {name: value for name, value in row.items() if isinstance(name, str)}
            if divided == ";":  # where these divide, a comma may be the decimal mark
                cells = {name: str(value or "").replace(",", ".") for name, value in cells.items()}
            rows.append(cells)
            if len(rows) >= MOST_ROWS:
                break
        return rows
    except csv.Error as error:
        raise StudyError(f"it is no CSV: {error}. Write a header and rows of numbers.") from error


def _json(text: str) -> list[dict[str, object]]:
    """Return the records of one list, or of one record a line; a last line that is cut is left out."""
    try:
        whole = json.loads(text)
        rows = whole if isinstance(whole, list) else [whole]
    except (ValueError, RecursionError):
        rows = []
        lines = [line for line in text.split("\n")[:MOST_ROWS] if line.strip()]
        for at, line in enumerate(lines):
            try:
                rows.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                if at == len(lines) - 1 and rows:
                    break  # it is being written
                raise StudyError(f"line {at + 1} is no JSON record: {shown(line)}. Write one record a line.") from error
    return [row for row in rows if isinstance(row, dict)]


def _number(value: object) -> float | None:
    """Return a cell as a number, None if it is empty or none."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:  # an int of hundreds of digits
            return math.inf
    if isinstance(value, str) and value.strip() and len(value) < 64:
        try:
            return float(value)
        except ValueError:
            return None
    return None


# ---- curves ----


def curves_of_rows(rows: Iterable[Mapping[str, object]]) -> tuple[Curves, ...]:
    """Return the measures found, the loss first. Raises StudyError if there is none."""
    columns: dict[str, list[tuple[int, float]]] = {}
    count = 0
    for at, row in enumerate(rows):
        count += 1
        for name, value in row.items():
            if (number := _number(value)) is not None and (name in columns or len(columns) < MOST_COLUMNS):
                columns.setdefault(str(name), []).append((at, number))
    lower = {name.lower(): name for name in columns}
    across = next((lower[place] for place in PLACES if place in lower), None)
    places = dict(columns[across]) if across is not None else {}
    named = across or "row"
    sides: dict[str, dict[str, str]] = {}
    for name in columns:
        if name.lower() in PLACES or name == "" or name.lower() in ("wall_time", "timestamp"):
            continue
        measure, side = _sorted_out(name)
        sides.setdefault(measure, {}).setdefault(side, name)
    if not sides:
        raise StudyError(
            f"it has no column of numbers to draw in {count} rows; there are {shown(sorted(columns), 120)}. "
            "Log `step`, `train_loss` and `val_loss`."
        )
    order = sorted(sides, key=lambda one: (one != "loss", "valid" not in sides[one], len(sides[one]) < 2))
    return tuple(
        Curves(
            measure,
            _points(columns, sides[measure].get("train"), places),
            _points(columns, sides[measure].get("valid"), places),
            across=named,
        )
        for measure in order[:MOST_MEASURES]
    )


def _sorted_out(name: str) -> tuple[str, str]:
    """Return what a column measures, and on which rows: ("loss", "valid") of "val_loss"."""
    short = LIGHTNING.sub("", name)
    if short.lower() == "score":
        return "loss", "valid"  # of `run.history`: what `run.stop` was given
    if short.lower() == "data":
        return "loss", "train"
    for side, pattern in (("valid", VALID), ("train", TRAIN)):
        if pattern.search(short):
            rest = pattern.sub("", short).strip("/_.- ")
            return (rest or "loss"), side
    return short, "train"


def _points(
    columns: Mapping[str, Sequence[tuple[int, float]]], name: str | None, places: Mapping[int, float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return a column over its places, in their order; of two values at one place the later one counts."""
    found: dict[float, float] = {}
    for at, value in columns[name] if name is not None else ():
        place = places.get(at, math.nan) if places else float(at)
        if math.isfinite(place):
            found[place] = value
    order = sorted(found)
    return tuple(order), tuple(found[place] for place in order)
