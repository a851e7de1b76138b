"""Say what a column holds: numbers, booleans, dates, a category or free text."""

import re
import warnings

import numpy as np
import pandas as pd
from pandas.tseries.api import guess_datetime_format

from poise.core.errors import DataError, shown
from poise.data.frames import first_row
from poise.data.text_numbers import look_like_numbers

__all__ = [
    "MixedTypesError",
    "check_values",
    "date_format",
    "endless_error",
    "first_strange",
    "kind_of",
    "labels_of",
    "numbers_of",
    "seconds_of",
    "times_of",
]

SAMPLE = 2_000  # values looked at to tell a category from text and to guess a date format
DATE_LIKE = re.compile(r"\d.*[-/:.\s].*\d|\d{4}[-/]\d")
MIXED = {"mixed", "mixed-integer", "mixed-integer-float"}
BY_CONTENT = {
    "boolean": "boolean",
    "integer": "numeric",
    "floating": "numeric",
    "mixed-integer-float": "numeric",
    "decimal": "numeric",
    "timedelta": "numeric",
    "timedelta64": "numeric",
    "date": "date",
    "datetime": "date",
    "datetime64": "date",
}


def kind_of(column: pd.Series) -> str:
    """Return "numeric", "boolean", "date", "category", "text" or "empty" (every value missing).

    Text is strings that mostly differ and run to three words or 30 characters on average; other strings are a category.
    Strings that all follow one date format are dates.

    Raises: DataError for a column that mixes types, or holds complex numbers, bytes, lists or dicts.
    """
    dtype = column.dtype
    if bool(column.isna().all()):
        return "empty"
    if isinstance(dtype, pd.CategoricalDtype):
        content = pd.api.types.infer_dtype(dtype.categories, skipna=True)
        if content in MIXED - {"mixed-integer-float"}:
            raise _mixed(column, dtype.categories.to_series().reset_index(drop=True))
        return "category"
    if pd.api.types.is_bool_dtype(dtype):
        return "boolean"
    if pd.api.types.is_complex_dtype(dtype):
        raise DataError(f"column {shown(column.name)}: Complex data not supported. Split it into two real columns.")
    if pd.api.types.is_datetime64_any_dtype(dtype) or isinstance(dtype, pd.PeriodDtype):
        return "date"
    if pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_timedelta64_dtype(dtype):
        return "numeric"
    return _kind_by_content(column)


def _kind_by_content(column: pd.Series) -> str:
    content = pd.api.types.infer_dtype(column, skipna=True)
    if content in BY_CONTENT:
        return BY_CONTENT[content]
    if content != "string":
        raise _mixed(column, column)
    sample = column.dropna()
    if len(sample) > SAMPLE:
        sample = sample.iloc[np.linspace(0, len(sample) - 1, SAMPLE).astype(np.int64)]
    if date_format(sample) is not None:
        return "date"
    texts = [str(value) for value in sample]
    words = float(np.mean([text.count(" ") + 1 for text in texts]))
    length = float(np.mean([len(text) for text in texts]))
    differing = len(set(texts)) > 0.5 * len(texts)
    return "text" if differing and len(texts) > 1 and (words >= 3 or length > 30) else "category"


def date_format(column: pd.Series) -> str | None:
    """Return the one format that all strings of a column follow, or None; month first where both orders fit."""
    values = column.dropna()
    values = values.iloc[np.linspace(0, len(values) - 1, min(len(values), 50)).astype(np.int64)]
    texts = [str(value) for value in values]
    if not texts or not all(len(text) <= 40 and DATE_LIKE.search(text) for text in texts):
        return None
    for day_first in (False, True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # pandas tells when the first text has the other order
            guess = guess_datetime_format(texts[0], dayfirst=day_first)
        if guess and not pd.to_datetime(pd.Series(texts), format=guess, errors="coerce", utc=True).isna().any():
            return str(guess)
    return None


def check_values(column: pd.Series) -> None:
    """Raise DataError for what no encoder takes: values of several types, or infinity; a row is named by the index."""
    if kind_of(column) != "numeric":
        return
    values = numbers_of(column)
    endless = np.isinf(values)
    if endless.any():
        place = first_row(endless)
        raise endless_error(column.name, column.index[place], values[place])


def endless_error(column: object, row: object, value: float) -> DataError:
    """Return the error for infinity in a column."""
    return DataError(
        f"column {shown(column)}, row {row}: {value} is infinity. Replace it by a missing value or a number."
    )


def numbers_of(column: pd.Series) -> np.ndarray:
    """Return a numeric column as float64, NaN where missing; durations in seconds.

    Raises: DataError when a number is beyond float64.
    """
    dtype = column.dtype
    if pd.api.types.is_timedelta64_dtype(dtype):
        return np.asarray(column.dt.total_seconds(), np.float64)
    if pd.api.types.is_object_dtype(dtype):
        if pd.api.types.infer_dtype(column, skipna=True) in ("timedelta", "timedelta64"):
            return numbers_of(pd.to_timedelta(column))
        missing = column.isna().to_numpy()
        try:
            return np.array([np.nan if gone else float(v) for v, gone in zip(column, missing, strict=True)], np.float64)
        except (OverflowError, TypeError, ValueError):
            for row, value in enumerate(column):
                _as_float(value, missing[row], column.name, row)
            raise
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def first_strange(column: pd.Series) -> int:
    """Return the row of the first value that is no number, in a column that is not one of numbers."""
    present = column.notna().to_numpy()
    strange = present & pd.to_numeric(column.astype(object), errors="coerce").isna().to_numpy()
    words = strange & ~look_like_numbers(column)
    return first_row(next((mask for mask in (words, strange) if mask.any()), present))


def times_of(column: pd.Series, form: str | None) -> pd.Series:
    """Return a date column as UTC times without a zone; strings are read by `form`, unreadable ones become missing."""
    dtype = column.dtype
    if isinstance(dtype, pd.PeriodDtype):
        return pd.Series(column.dt.to_timestamp())
    times = pd.to_datetime(column, format=form, errors="coerce" if form else "raise", utc=True)
    return times.dt.tz_localize(None) if times.dt.tz is not None else times


def seconds_of(times: pd.Series) -> np.ndarray:
    """Return seconds since 1970 as float64, NaN where missing; any year from 1 to 9999."""
    values = times.to_numpy().astype("datetime64[us]")  # nanoseconds end in the year 2262
    return np.where(np.isnat(values), np.nan, values.astype(np.int64) / 1e6)


def labels_of(column: pd.Series) -> np.ndarray:
    """Return a category's values as text in an object array, None where missing; 1.0 and 1 are one label, "1"."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        labels = np.array([_label(value) for value in column.cat.categories] + [None], dtype=object)
        return labels[column.cat.codes.to_numpy()]
    codes, found = pd.factorize(column, use_na_sentinel=True)  # one text object a level, not one a row
    labels = np.array([*(_label(value) for value in found), None], dtype=object)
    return labels[codes]


def _label(value: object) -> str:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    return str(value)


def _as_float(value: object, missing: bool, name: object, row: int) -> None:
    try:
        if not missing:
            float(value)  # type: ignore[arg-type]
    except (OverflowError, TypeError, ValueError) as error:
        raise DataError(
            f"column {shown(name)}, row {row}: {shown(value)} does not fit a 64-bit float. Rescale or drop it."
        ) from error


class MixedTypesError(DataError, TypeError):
    """A column that is neither numbers nor text; a TypeError too, as NumPy and scikit-learn raise it."""


def _mixed(column: pd.Series, values: pd.Series) -> DataError:
    present = values[values.notna()]
    types = [type(value).__name__ for value in present]
    first = types[0]
    row = next((i for i, name in zip(present.index, types, strict=True) if name != first), present.index[0])
    names = " and ".join(sorted(set(types))[:4])
    return MixedTypesError(
        f"column {shown(column.name)}, row {row}: {shown(values.loc[row])} makes a column of {names}. "
        "Make every value text, or every value a number (argument must be a string or a real number)."
    )
