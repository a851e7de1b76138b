"""Look a table over before a network is trained on it, and say what will go wrong."""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from poise.core.errors import DataError, shown
from poise.data.frames import as_frame, as_vector, check_lengths, check_size
from poise.data.kinds import date_format as format_of
from poise.data.kinds import kind_of, labels_of, numbers_of, seconds_of, times_of
from poise.data.leaks import find_leaks
from poise.data.read import Table
from poise.data.target import Target
from poise.data.text_numbers import with_numbers

__all__ = ["Column", "Inspection", "inspect"]

ROWS = 10_000  # looked at for kinds, copies and levels
LEAK_CELLS = 400_000  # rows times columns looked at for leaks: about a second
MANY = 64  # levels, as in `Encoder.max_levels`
SLIPS = 0.1  # of a column's texts; where fewer are no numbers, they are slips in a column of numbers
FEW_ROWS = 10  # of a class; below, its share of a validation part is one or two rows
ID_NAME = re.compile(r"(^|[_\s.-])(id|uuid|guid|index|idx|key|rownames?)$|^(id|unnamed: 0|x)$", re.IGNORECASE)


@dataclass(frozen=True)
class Column:
    """What one column holds: its kind, the share of missing values, and how many different values the sample has."""

    name: str
    kind: str
    missing: float
    distinct: int


@dataclass(frozen=True)
class Inspection:
    """What `inspect` saw. The names in `identifiers`, `constants` and `empty` are of no use to a model; `leaks` harm.

    Kinds: numeric, category, boolean, date, text, identifier, constant, empty. `copies` are pairs (later, earlier).
    """

    name: str
    rows: int
    columns: tuple[Column, ...]
    warnings: tuple[str, ...]
    leaks: tuple[str, ...] = ()
    copies: tuple[tuple[str, str], ...] = ()

    @property
    def kinds(self) -> dict[str, str]:
        """Return the kind of each column by name."""
        return {column.name: column.kind for column in self.columns}

    @property
    def identifiers(self) -> tuple[str, ...]:
        """Return the columns that number the rows."""
        return self._of("identifier")

    @property
    def constants(self) -> tuple[str, ...]:
        """Return the columns with one value."""
        return self._of("constant")

    @property
    def empty(self) -> tuple[str, ...]:
        """Return the columns without any value; `Encoder` refuses them."""
        return self._of("empty")

    def _of(self, kind: str) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.kind == kind)

    def __str__(self) -> str:
        counts = pd.Series([column.kind for column in self.columns]).value_counts()
        kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        return "\n".join([f"{self.name}: {self.rows} rows; {kinds}", *(f"- {told}" for told in self.warnings)])


def inspect(source: object, target: object = None) -> Inspection:
    """Return the kind of every column, and warnings that name columns; nothing is changed.

    `source`: a `Table` or anything `read` takes but a path. `target`: the name of a column of it, or a vector.
    Warns of identifiers, constants, empty and double columns, words among numbers, columns that give the target away,
    copied rows, tiny classes and categories with very many levels. Large tables are judged by a sample of rows, the
    same every time.

    Raises: DataError for a table without rows or columns, double names, or a column that mixes types.

    >>> print(inspect({"id": range(40), "x": [1.0, 2.0] * 20, "y": ["a"] * 40}))
    table: 40 rows; 1 identifier, 1 numeric, 1 constant
    - column 'id' numbers the rows (40 different values); a network learns them by heart. Drop it.
    - column 'y' has one value; it says nothing.
    """
    name, frame, goal, goal_name = _parts(source, target)
    check_size(frame)
    frame = with_numbers(frame)
    rows = len(frame)
    picked = _sample(rows, ROWS)
    sample = frame if len(picked) == rows else frame.iloc[picked].reset_index(drop=True)
    columns = tuple(_column(frame[label], sample[label]) for label in frame.columns)
    kinds = {column.name: column.kind for column in columns}
    told: list[str] = [_tell(column, rows, sample) for column in columns]
    copies = _copies(frame, sample, kinds)
    told += [f"column {shown(later)} equals column {shown(earlier)}; keep one." for later, earlier in copies]
    leaks: dict[str, str] = {}
    if goal is not None:
        fitted = Target.fit(goal, name=goal_name)
        leaks = _leaks(frame, fitted.encode(goal), kinds, fitted.task)
        # what flatters every score comes before what only says little
        told[:0] = [
            f"column {shown(leak)} may leak: {why}. Was it known before the outcome?" for leak, why in leaks.items()
        ]
        told += _classes(fitted)
    told.append(_copied_rows(sample if goal is None else sample.assign(**{" target": goal.iloc[picked].to_numpy()})))
    warnings = tuple(line for line in told if line)
    return Inspection(name, rows, columns, warnings, tuple(leaks), copies)


def _parts(source: object, target: object) -> tuple[str, pd.DataFrame, pd.Series | None, str]:
    if isinstance(source, Table) and target is None:
        return source.name, source.frame, source.target, source.target_name or "target"
    name, frame = (source.name, source.frame) if isinstance(source, Table) else ("table", as_frame(source))
    if target is None:
        return name, frame, None, "target"
    if isinstance(target, str):
        if target not in frame.columns:
            raise DataError(f"column {shown(target)}: no such column. There are {shown(list(frame.columns), 400)}.")
        return name, frame.drop(columns=target), frame[target], target
    goal = as_vector(target)
    check_lengths(X=len(frame), y=len(goal))
    return name, frame, goal, "target"


def _column(column: pd.Series, sample: pd.Series) -> Column:
    name, missing = str(column.name), float(column.isna().mean())
    if missing == 1.0:
        return Column(name, "empty", missing, 0)
    distinct = int(sample.nunique())
    kind = kind_of(column if distinct == 0 or column.dtype == object else sample)
    if distinct == 1 and missing == 0.0 and column.nunique() == 1:  # one value and gaps do say something
        return Column(name, "constant", missing, 1)
    return Column(name, "identifier" if _numbers_rows(column, kind, distinct) else kind, missing, distinct)


def _numbers_rows(column: pd.Series, kind: str, distinct: int) -> bool:
    """Say whether every row has a value of its own that only counts or names it."""
    rows = len(column)
    if rows < 20 or distinct < min(rows, ROWS) or kind not in ("numeric", "category") or not column.is_unique:
        return False
    if kind == "category":
        # different in every row, and too short to be text
        return not len(_slips(column))
    values = numbers_of(column)
    whole = bool((values == np.floor(values)).all())
    counts = whole and float(values.max() - values.min()) < 2 * rows
    return counts or (whole and ID_NAME.search(str(column.name)) is not None)


def _slips(column: pd.Series) -> pd.Series:
    """Return the texts that keep a column from being one of numbers; none where they are many."""
    texts = column.dropna()
    slips = texts[pd.to_numeric(texts.astype(object), errors="coerce").isna().to_numpy()]
    return slips if len(slips) < SLIPS * len(texts) else slips[:0]


def _tell(column: Column, rows: int, sample: pd.DataFrame) -> str:
    name = shown(column.name)
    if column.kind == "identifier":
        return f"column {name} numbers the rows ({rows} different values); a network learns them by heart. Drop it."
    if column.kind == "constant":
        return f"column {name} has one value; it says nothing."
    if column.kind == "empty":
        return f"column {name} has no value at all; drop it."
    if column.kind == "category" and column.distinct > MANY:
        if len(slips := _slips(sample[column.name])):
            return (
                f"column {name} holds numbers, but {len(slips)} of {len(sample)} values are none, such as "
                f"{shown(slips.iloc[0])}; so it is taken for a category. Repair or empty them."
            )
        return (
            f"column {name} has {column.distinct} levels or more; the rarer ones are told apart only by their letters."
        )
    return ""


def _copies(frame: pd.DataFrame, sample: pd.DataFrame, kinds: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """Return pairs of columns with the same values; a hash of the sample first, then every row."""
    first: dict[tuple[bool, int], str] = {}
    pairs = []
    for name, kind in kinds.items():
        if kind in ("empty", "constant"):
            continue
        numeric = kind == "numeric"
        values = numbers_of(sample[name]) if numeric else labels_of(sample[name])
        key = (numeric, hash(values.tobytes()) if numeric else hash(tuple(values)))
        earlier = first.setdefault(key, name)
        if earlier != name and _equal(frame[name], frame[earlier], numeric):
            pairs.append((name, earlier))
    return tuple(pairs)


def _equal(one: pd.Series, other: pd.Series, numeric: bool) -> bool:
    if numeric:
        return bool(np.array_equal(numbers_of(one), numbers_of(other), equal_nan=True))
    return bool((labels_of(one) == labels_of(other)).all())


def _leaks(frame: pd.DataFrame, target: np.ndarray, kinds: dict[str, str], task: str) -> dict[str, str]:
    picked = _sample(len(frame), int(np.clip(LEAK_CELLS // frame.shape[1], 500, 4_000)))
    columns: dict[str, pd.Series] = {}
    for name, kind in kinds.items():
        column = frame[name].iloc[picked]
        if kind in ("numeric", "boolean") or (kind == "identifier" and pd.api.types.is_numeric_dtype(column.dtype)):
            values = numbers_of(column)
            columns[name] = pd.Series(np.where(np.isinf(values), np.nan, values))
        elif kind == "date":
            strings = pd.api.types.infer_dtype(column, skipna=True) == "string"
            times = times_of(column, format_of(column) if strings else None)
            columns[name] = pd.Series(seconds_of(times))
        elif kind in ("category", "text", "constant"):
            columns[name] = pd.Series(pd.factorize(labels_of(column))[0].astype(np.int64))
    return find_leaks(columns, target[picked], task)


def _classes(target: Target) -> list[str]:
    if target.classes is None or target.counts is None:
        return []
    if len(target.classes) == 1:
        return [
            f"target {shown(target.name)} has one class, {shown(target.labels.tolist()[0])}; there is nothing to learn."
        ]
    small = [
        (label, count) for label, count in zip(target.labels.tolist(), target.counts, strict=True) if count < FEW_ROWS
    ]
    if not small:
        return []
    some = ", ".join(f"{shown(label)} {count}" for label, count in small[:5])
    return [f"target {shown(target.name)}: {len(small)} class(es) with fewer than {FEW_ROWS} rows ({some})."]


def _copied_rows(sample: pd.DataFrame) -> str:
    share = float(sample.astype(object).duplicated().mean()) if len(sample) else 0.0
    if share < 0.01:
        return ""
    return f"{share:.0%} of the rows are copies of another row; a copy in two parts of a split flatters the score."


def _sample(rows: int, limit: int) -> np.ndarray:
    if rows <= limit:
        return np.arange(rows)
    return np.sort(np.random.default_rng(0).choice(rows, limit, replace=False))
