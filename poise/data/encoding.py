"""Turn a table into the float32 matrix a network reads, and remember how."""

import warnings
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.exceptions import NotFittedError

from poise.core.errors import CheckpointError, DataError, PoiseWarning, shown
from poise.data.arguments import choice, number, whole
from poise.data.frames import as_frame, as_vector, check_lengths, check_size, first_row, has_names
from poise.data.inputs import Input
from poise.data.kinds import endless_error, first_strange, kind_of, numbers_of
from poise.data.squash import Squash
from poise.data.text_numbers import as_numbers, with_numbers

__all__ = ["Encoder"]

FORMAT = 1
WIDE = 10_000  # columns; above it a dense network's first layer is most of the model


class Encoder:
    """Encode numbers, booleans, dates, categories and text as float32 columns, learnt on the training rows only.

    Numbers, also texts such as "$1,234.50", read as those of a file are: median for missing, robust scale, smooth clip
    (`Squash`); with missing values at fit, one more 0/1 column.
    Booleans: 0/1. Dates: `Dates`. Categories: one-hot (`Levels`); above `max_levels` also `Letters`. Text: `Letters`.
    An unseen level becomes "other" and is counted in one PoiseWarning. Rows and columns count from 0.

    `clip`: bound of a scaled number, in interquartile ranges. `max_levels`: one-hot columns of one category at most.
    `missing`: "impute", or "error" to refuse missing values at fit and at transform.
    `empty`: "error", or "drop" to warn of columns without any value at fit, which are then expected and not encoded.

    After fit: `groups` (F,) int64, the group of each encoded column (all columns of one category, date or text are one
    group, a missing indicator is its own); `kinds` and `group_names`, one per group: "numeric", or "category" (one-hot
    columns, and 0/1 columns of booleans and indicators, which are one column and so need not sum to 1); `names`, one
    per encoded column; `input_names`.

    Raises: DataError naming the column and the first row; ArgumentError for a bad argument.

    >>> encoder = Encoder().fit({"age": [20.0, 30.0, None, 40.0], "city": ["Rome", "Oslo", "Rome", "Oslo"]})
    >>> encoder.names
    ('age', 'age is missing', 'city =Oslo', 'city =Rome', 'city is other')
    >>> encoder.transform({"age": [30.0], "city": ["Rome"]})
    array([[0., 0., 0., 1., 0.]], dtype=float32)
    """

    groups: np.ndarray
    kinds: tuple[str, ...]
    group_names: tuple[str, ...]
    names: tuple[str, ...]
    input_names: tuple[str, ...]

    def __init__(
        self,
        clip: float = 3.0,
        max_levels: int = 64,
        missing: Literal["impute", "error"] = "impute",
        empty: Literal["error", "drop"] = "error",
    ) -> None:
        self.clip = number("Encoder.clip", clip, "a number above 0", 0.0, np.inf, "Use inf for no clipping.")
        self.max_levels = whole("Encoder.max_levels", max_levels, 1, "64 is usual.")
        choice("Encoder.missing", missing, ("impute", "error"), "Missing values are filled or refused.")
        choice("Encoder.empty", empty, ("error", "drop"), "Columns without a value are refused or left out.")
        self.missing, self.empty = missing, empty
        self._inputs: tuple[Input, ...] = ()
        self._squash = Squash(np.zeros(0), np.zeros(0), self.clip)
        self._named = True

    def fit(self, frame: object, target: object = None, weights: object = None) -> "Encoder":
        """Learn medians, scales and levels; weight w counts a row w times, weight 0 leaves it out.

        Weights that are not all whole numbers count rows beside each other alone: they are scaled to a mean of 1.
        `target` is not looked at, only its length is checked: an encoding that knew the target would leak it.
        """
        table = as_frame(frame)
        check_size(table)
        if target is not None:
            check_lengths(X=len(table), y=len(as_vector(target)))
        counts = None if weights is None else _weights(weights, len(table))
        if counts is not None and (counts == 0).any():
            table, counts = table[counts > 0].reset_index(drop=True), counts[counts > 0]
        if table.shape[1] > WIDE:
            told = f"the table has {table.shape[1]} columns; above {WIDE} a network needs a choice of columns first."
            warnings.warn(told, PoiseWarning, stacklevel=2)
        table = with_numbers(table)
        plain = _plain(table)
        kinds = {name: "numeric" if is_plain else kind_of(table[name]) for name, is_plain in plain.items()}
        numeric = [name for name, kind in kinds.items() if kind == "numeric"]
        values = self._numbers(table, numeric, plain)
        lacking = {name: bool(gone) for name, gone in zip(numeric, np.isnan(values).any(axis=0), strict=True)}
        empty = np.isnan(values).all(axis=0)
        kinds |= {name: "empty" for name, is_empty in zip(numeric, empty, strict=True) if is_empty}
        self._tell_empty([name for name, kind in kinds.items() if kind == "empty"], len(table), len(kinds))
        self._refuse_missing(table)
        numeric = [name for name in numeric if kinds[name] == "numeric"]
        values = values[:, ~empty]
        self._squash = Squash.fit(numeric, values, self.clip, counts)
        self._inputs = tuple(
            Input(name, kind, kind == "numeric" and lacking[name])
            if kind in ("numeric", "empty")
            else Input.fit(table[name], kind, clip=self.clip, limit=self.max_levels, weights=counts)
            for name, kind in kinds.items()
        )
        self._named = has_names(frame)
        self._lay_out()
        return self

    def transform(self, frame: object) -> np.ndarray:
        """Return the (rows, F) float32 matrix in C order; columns are matched by name, those of an array by place."""
        if not self._inputs:
            raise NotFittedError("This Encoder instance is not fitted yet. Call `fit` first.")
        table = self._aligned(as_frame(frame), has_names(frame))
        self._refuse_missing(table)
        numeric = [part.name for part in self._inputs if part.kind == "numeric"]
        values = self._numbers(table, numeric, _plain(table))
        out = np.zeros((len(table), len(self.names)), np.float32)
        if numeric:
            out[:, self._places] = self._squash.apply(values)
        unseen: list[str] = []
        start, i = 0, 0
        for part in self._inputs:
            stop = start + len(part.names)
            if part.kind == "numeric":
                if part.indicator:
                    out[:, start + 1] = np.isnan(values[:, i])
                i += 1
            elif part.kind != "empty":
                unseen += part.encode(table[part.name], out[:, start:stop])
            start = stop
        if unseen:
            warnings.warn("; ".join(unseen), PoiseWarning, stacklevel=2)
        return out

    @property
    def readings(self) -> dict[str, str]:
        """Return, by column, how `read` is to read new rows of a text file for `transform`: "numbers" or "words"."""
        numbers = {part.name: "numbers" for part in self._inputs if part.kind == "numeric"}
        return numbers | {part.name: "words" for part in self._inputs if part.written}

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return all that `from_state` needs: JSON values, and arrays by name. Nothing in it is ever executed."""
        arrays = {"center": self._squash.center, "spread": self._squash.spread}
        inputs = []
        for i, part in enumerate(self._inputs):
            told, own = part.state()
            inputs.append(told)
            arrays |= {f"{i}.{name}": array for name, array in own.items()}
        told = {"format": FORMAT, "clip": self.clip, "max_levels": self.max_levels, "missing": self.missing}
        return told | {"empty": self.empty, "named": self._named, "inputs": inputs}, arrays

    @classmethod
    def from_state(cls, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> "Encoder":
        """Rebuild a fitted encoder; `transform` then gives the same bits.

        Raises: CheckpointError for a state of another format or with parts missing.
        """
        if state.get("format") != FORMAT:
            raise CheckpointError(f"an encoder state must have format {FORMAT}; got {shown(state.get('format'))}.")
        try:
            encoder = cls(state["clip"], state["max_levels"], state["missing"], state.get("empty", "error"))
            encoder._named = bool(state["named"])
            encoder._squash = Squash(np.asarray(arrays["center"]), np.asarray(arrays["spread"]), encoder.clip)
            encoder._inputs = tuple(
                Input.from_state(told, {n.split(".", 1)[1]: a for n, a in arrays.items() if n.startswith(f"{i}.")})
                for i, told in enumerate(state["inputs"])
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"an encoder state is damaged: {error!r}. Save it again.") from error
        encoder._lay_out()
        return encoder

    def _lay_out(self) -> None:
        groups: list[int] = []
        kinds: list[str] = []
        group_names: list[str] = []
        names: list[str] = []
        places: list[int] = []
        for part in self._inputs:
            if part.kind == "numeric":
                places.append(len(names))
            for group in part.layout:
                groups += [len(kinds)] * len(group.names)
                names += group.names
                kinds.append(group.kind)
                group_names.append(group.name)
        self.groups = np.array(groups, np.int64)
        self.kinds, self.group_names, self.names = tuple(kinds), tuple(group_names), tuple(names)
        self.input_names = tuple(part.name for part in self._inputs)
        self._places = np.array(places, np.int64)

    def _aligned(self, table: pd.DataFrame, named: bool) -> pd.DataFrame:
        own = self.input_names
        if named and not self._named and len(own) == table.shape[1] and set(table.columns) != set(own):
            told = "X has feature names, but Encoder was fitted without feature names; taken by place."
            warnings.warn(told, PoiseWarning, stacklevel=3)
            named = False
        if not named:
            if table.shape[1] != len(own):
                raise DataError(
                    f"X has {table.shape[1]} features, but Encoder is expecting {len(own)} features as input."
                )
            if self._named:
                told = "X does not have valid feature names, but Encoder was fitted with feature names; taken by place."
                warnings.warn(told, PoiseWarning, stacklevel=3)
            return table.set_axis(list(own), axis=1)
        extra = sorted(set(table.columns) - set(own))
        lacking = sorted(set(own) - set(table.columns))
        if extra or lacking:
            told = "The feature names should match those that were passed during fit.\n"
            if extra:
                told += "Feature names unseen at fit time:\n" + "".join(f"- {name}\n" for name in extra[:5])
            if lacking:
                told += "Feature names seen at fit time, yet now missing:\n"
                told += "".join(f"- {name}\n" for name in lacking[:5])
            raise DataError(told + f"{len(extra)} extra, {len(lacking)} missing. Pass the columns of the fit.")
        return table if tuple(table.columns) == own else table[list(own)]

    def _numbers(self, table: pd.DataFrame, names: list[str], plain: Mapping[str, bool]) -> np.ndarray:
        values = np.empty((len(table), len(names)), np.float64, order="F")
        quick = [i for i, name in enumerate(names) if plain[name]]
        if quick:
            values[:, quick] = table[[names[i] for i in quick]].to_numpy(np.float64, na_value=np.nan)
        for i, name in enumerate(names):
            if not plain[name]:
                column = as_numbers(table[name], reading="numbers")
                kind = kind_of(column)
                if kind not in ("numeric", "boolean", "empty"):
                    row = first_strange(table[name])
                    raise DataError(
                        f"column {shown(name)}, row {row}: {shown(table[name].iloc[row])} makes the column {kind}; "
                        "it was numeric at fit. Convert it."
                    )
                values[:, i] = numbers_of(column)
        endless = np.asarray(np.isinf(values).any(axis=0))
        if endless.any():
            i = first_row(endless)
            row = first_row(np.isinf(values[:, i]))
            raise endless_error(names[i], row, values[row, i])
        return values

    def _tell_empty(self, names: list[str], rows: int, columns: int) -> None:
        if not names:
            return
        also = f" So are all of {shown(names[1:])}." if len(names) > 1 else ""
        told = f"column {shown(names[0])}: all {rows} values are missing.{also}"
        if self.empty == "error":
            raise DataError(f"{told} Drop it.")
        if len(names) == columns:
            raise DataError(f"{told} No other column is left.")
        warnings.warn(f"{told} Nothing is learned from it.", PoiseWarning, stacklevel=3)

    def _refuse_missing(self, table: pd.DataFrame) -> None:
        if self.missing == "impute":
            return
        gone = table.isna().to_numpy()
        if gone.any():
            i = first_row(np.asarray(gone.any(axis=0)))
            raise DataError(
                f"column {shown(table.columns[i])}, row {first_row(gone[:, i])}: the value is missing (NaN). "
                'Fill it, or use missing="impute".'
            )


def _plain(table: pd.DataFrame) -> dict[str, bool]:
    """Say which columns are NumPy integers or floats, which need no look at their values."""
    kinds = (isinstance(dtype, np.dtype) and dtype.kind in "iuf" for dtype in table.dtypes)
    return dict(zip(table.columns, kinds, strict=True))


def _weights(weights: object, rows: int) -> np.ndarray:
    values = numbers_of(as_vector(weights))
    check_lengths(X=rows, weights=len(values))
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        row = first_row(bad)
        raise DataError(f"weights, row {row}: {values[row]} must be a finite number of 0 or more.")
    if not (values > 0).any():
        raise DataError(f"weights must hold a value above 0; all {rows} are 0.")
    if (values == np.floor(values)).all():
        return values
    present = values[values > 0]
    alike = (present == present[0]).all()  # exactly 1 then: two rows must weigh 2
    unit = float(present[0] if alike else present.mean())
    return values / unit
