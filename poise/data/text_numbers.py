"""Numbers that were written as texts: which columns of text hold only these, and what they are."""

import numpy as np
import pandas as pd

__all__ = ["MARKS", "as_numbers", "look_like_numbers", "with_numbers"]

MARKS = frozenset({"", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?", "-", "<NA>", "#N/A", "."})
AMOUNT = r"\A[+-]?([$€£¥]?) ?(?:\d{1,3}(?:[%s]\d{3})+|\d+)(?:[%s]\d+)? ?([%%$€£¥]?)\Z"
"""A number as people write it, for its marks of thousands and of decimals: with a sign of money or per cent."""

SAMPLE = 50  # texts of a column that must be numbers before all are looked at


def as_numbers(column: pd.Series, delimiter: str = ",", reading: str = "") -> pd.Series:
    """Return numbers for a column of text that holds only numbers and marks of missing values, else the column.

    Where a semicolon divides a file, a comma may be the decimal mark. `reading` "numbers": marks are missing even where
    there is nothing else.
    """
    if pd.api.types.infer_dtype(column, skipna=True) != "string":
        return column  # a dtype of objects tells nothing: booleans with gaps and whole numbers beyond 64 bits have it
    text = column.str.strip()
    kept = text.where(~text.isin(MARKS))
    if not kept.notna().any() and reading != "numbers":
        return column
    marks = ((".", ","), (",", ".")) if delimiter == ";" else ((",", "."),)
    plain = [*(_amounts(kept, apart, mark) for apart, mark in marks), kept]
    numbers = (pd.to_numeric(texts, errors="coerce") for texts in plain if texts is not None)
    found = next((own for own in numbers if own.isna().sum() == kept.isna().sum()), None)
    if found is None:
        return column
    return pd.Series(found.to_numpy(np.float64, na_value=np.nan), index=column.index, name=column.name)


def with_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame that was made in Python with its columns of numbers as texts read as those of a file are.

    Texts of digits and letters alone stay words: a file has no types, but in a frame "01" is a text because somebody
    wanted it to be one. So do categories of pandas.

    >>> with_numbers(pd.DataFrame({"price": ["$1,234.50", "$5"], "code": ["01", "27"]})).to_dict("list")
    {'price': [1234.5, 5.0], 'code': ['01', '27']}
    """
    read = {str(name): as_numbers(column) for name, column in frame.items() if _measures(column)}
    return frame.assign(**read) if read else frame


def look_like_numbers(column: pd.Series) -> np.ndarray:
    """Return (N,) whether each value is written as a number, or marks a missing one, whatever the others are."""
    texts = column.astype(object).astype(str).str.strip()
    return np.asarray(texts.isin(MARKS) | texts.str.match(AMOUNT % (",", ".")), bool)


def _measures(column: pd.Series) -> bool:
    """Whether a column is of texts that may be numbers, with a sign or a point somewhere: "2e1" may be a code."""
    if not (pd.api.types.is_object_dtype(column.dtype) or pd.api.types.is_string_dtype(column.dtype)):
        return False
    texts = column.dropna()
    if pd.api.types.infer_dtype(texts, skipna=True) != "string":
        return False
    if not pd.api.types.is_numeric_dtype(as_numbers(texts.iloc[:SAMPLE], reading="numbers").dtype):
        return False
    texts = texts.str.strip()
    return not bool((texts.isin(MARKS) | texts.str.isalnum()).all())


def _amounts(texts: pd.Series, apart: str, mark: str) -> pd.Series | None:
    """Return numbers as people write them, by their marks, as Python writes them; None if some are none."""
    signs = texts.dropna().str.extract(AMOUNT % (apart, mark))
    if signs.isna().any(axis=None) or len((signs[0] + signs[1]).unique()) > 1:
        return None
    return texts.str.replace(f"[$€£¥% {apart}]", "", regex=True).str.replace(mark, ".", regex=False)
