"""One input column that is not a plain number: what was learnt about it, and its place in the encoded matrix."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from poise.core.errors import DataError, counted, shown
from poise.data.dates import Dates
from poise.data.frames import first_row
from poise.data.kinds import kind_of, labels_of, numbers_of
from poise.data.letters import Letters
from poise.data.levels import Levels

__all__ = ["Group", "Input"]

TEXT_COLUMNS, TEXT_SIZE = 30, 2**14  # skrub.StringEncoder's width; a hash with few collisions for prose
LEVEL_COLUMNS, LEVEL_SIZE = 8, 2**12  # a few numbers for each of very many levels
COUNTED = 50_000  # rows that show whether a category has very many levels
CHUNK = 2**12  # rows of text held as Python strings at once


@dataclass(frozen=True)
class Group:
    """Encoded columns that describe one thing, and so are masked, swapped and penalised together."""

    name: str
    kind: str
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Input:
    """What one input column became. Numbers are scaled together by the encoder; here they only have a place."""

    name: str
    kind: str
    indicator: bool  # missing at fit, told by one 0/1 column; a category has a level for it instead
    usual: float = 0.0  # what a missing boolean becomes
    levels: Levels | None = None
    letters: Letters | None = None
    dates: Dates | None = None
    written: bool = False  # the labels were texts: "01" is not the number 1

    @classmethod
    def fit(cls, column: pd.Series, kind: str, *, clip: float, limit: int, weights: np.ndarray | None) -> "Input":
        """Learn one boolean, date, category or text column."""
        name, indicator = str(column.name), bool(column.isna().any())
        if kind == "boolean":
            values = _booleans(column)
            share = np.ones(len(values)) if weights is None else weights
            present = ~np.isnan(values)
            usual = float(np.average(values[present], weights=share[present]) >= 0.5)
            return cls(name, kind, indicator, usual=usual)
        if kind == "date":
            return cls(name, kind, indicator, dates=Dates.fit(column, clip, weights))
        written = _is_text(column)
        rows = np.linspace(0, len(column) - 1, min(len(column), COUNTED)).astype(np.int64)
        labels, counts = labels_of(column.iloc[rows]), None if weights is None else weights[rows]
        if kind == "text":
            return cls(name, kind, indicator, letters=Letters.fit(labels, TEXT_COLUMNS, TEXT_SIZE), written=written)
        if len(rows) < len(column) and len(pd.unique(labels)) <= 4 * limit:  # few enough to count in every row
            labels, counts = labels_of(column), weights
        levels = Levels.fit(labels, limit, indicator, counts)
        if not levels.many:
            return cls(name, kind, False, levels=levels, written=written)
        letters = Letters.fit(labels, LEVEL_COLUMNS, LEVEL_SIZE)
        if not levels.kept:
            return cls(name, kind, indicator, letters=letters, written=written)
        return cls(name, kind, False, levels=levels, letters=letters, written=written)

    @property
    def layout(self) -> tuple[Group, ...]:
        """Return the groups of encoded columns, in their order in the matrix."""
        groups = []
        if self.kind in ("numeric", "boolean"):
            groups.append(Group(self.name, "numeric" if self.kind == "numeric" else "category", (self.name,)))
        if self.dates is not None:
            groups.append(Group(self.name, "numeric", tuple(f"{self.name} {part}" for part in self.dates.names)))
        if self.levels is not None:
            groups.append(Group(self.name, "category", tuple(f"{self.name} {part}" for part in self.levels.names)))
        if self.letters is not None:
            title = self.name if self.levels is None else f"{self.name} letters"
            groups.append(Group(title, "numeric", tuple(f"{self.name} {part}" for part in self.letters.names)))
        if self.indicator:
            groups.append(Group(f"{self.name} is missing", "category", (f"{self.name} is missing",)))
        return tuple(groups)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the encoded columns."""
        return tuple(name for group in self.layout for name in group.names)

    def encode(self, column: pd.Series, out: np.ndarray) -> list[str]:
        """Write the encoded columns into `out`; return what must be told about values unlike those at fit."""
        told: list[str] = []
        missing = column.isna().to_numpy()
        if self.indicator:
            out[:, -1] = missing
        if self.kind == "boolean":
            values = _booleans(column)
            out[:, 0] = np.where(np.isnan(values), self.usual, values)
        elif self.dates is not None:
            if (kind := kind_of(column)) in ("numeric", "boolean"):  # pandas takes a year for nanoseconds
                raise DataError(f"column {shown(self.name)}: the column is {kind}; it was date at fit. Convert it.")
            times = self.dates.times(column)
            lost = times.isna().to_numpy() & ~missing
            if lost.any():
                row = first_row(lost)
                told.append(
                    f"column {shown(self.name)}, row {row}: {shown(column.iloc[row])} and {int(lost.sum()) - 1} more "
                    f"are not dates like those at fit ({self.dates.form or 'times'}); taken as missing"
                )
            out[:, : len(self.dates.names)] = self.dates.encode(times)
            if self.indicator:
                out[:, -1] = missing | lost
        else:
            told += self._encode_labels(column, out)
        return told

    def _encode_labels(self, column: pd.Series, out: np.ndarray) -> list[str]:
        unseen: Counter[str] = Counter()
        for start in range(0, len(column), CHUNK):
            labels, part = labels_of(column.iloc[start : start + CHUNK]), out[start : start + CHUNK]
            width = 0
            if self.levels is not None:
                width = len(self.levels.names)
                part[:, :width], new = self.levels.encode(labels)
                unseen.update(new)
            if self.letters is not None:
                part[:, width : width + len(self.letters.names)] = self.letters.encode(labels)
        if not unseen:
            return []
        some = ", ".join(f"{shown(label)} {rows}" for label, rows in unseen.most_common(3))
        return [
            f"column {shown(self.name)}: {counted(len(unseen), 'level')} unseen at fit, in "
            f'{counted(unseen.total(), "row")} ({some}); encoded as "other"'
        ]

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return JSON values and arrays for `from_state`."""
        told: dict[str, Any] = {"name": self.name, "kind": self.kind, "indicator": self.indicator, "usual": self.usual}
        told["written"] = self.written
        arrays: dict[str, np.ndarray] = {}
        if self.levels is not None:
            told["levels"] = self.levels.state()
        if self.letters is not None:
            told["letters"], own = self.letters.state()
            arrays |= own
        if self.dates is not None:
            told["dates"], own = self.dates.state()
            arrays |= own
        return told, arrays

    @classmethod
    def from_state(cls, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> "Input":
        """Rebuild from `state`."""
        return cls(
            state["name"],
            state["kind"],
            bool(state["indicator"]),
            usual=float(state["usual"]),
            levels=Levels.from_state(state["levels"]) if "levels" in state else None,
            letters=Letters.from_state(state["letters"], arrays) if "letters" in state else None,
            dates=Dates.from_state(state["dates"], arrays) if "dates" in state else None,
            written=bool(state.get("written", False)),  # states of before it was told lack it
        )


def _is_text(column: pd.Series) -> bool:
    values = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column
    return pd.api.types.infer_dtype(values, skipna=True) == "string"


def _booleans(column: pd.Series) -> np.ndarray:
    kind = kind_of(column)
    if kind not in ("boolean", "numeric", "empty"):
        raise DataError(
            f"column {shown(column.name)}, row {first_row(column.notna().to_numpy())}: the column is {kind}; "
            "it was boolean at fit. Convert it to True and False."
        )
    values = numbers_of(column)
    wrong = ~(np.isnan(values) | (values == 0) | (values == 1))
    if wrong.any():
        row = first_row(wrong)
        raise DataError(f"column {shown(column.name)}, row {row}: {values[row]} must be True or False, as at fit.")
    return values
