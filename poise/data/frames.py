"""Bring whatever holds rows and columns to one pandas frame with unique text names and rows counted from 0."""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

from poise.core.errors import DataError, shown

__all__ = ["as_frame", "as_vector", "check_lengths", "check_size", "first_row", "has_names"]

DENSE_BYTES = 2 * 2**30  # a sparse matrix is made dense only below this; networks on tables read dense rows


def has_names(data: object) -> bool:
    """Say whether the columns of `data` carry names of their own; the columns of an array are x0, x1, ...

    Numbers, which pandas gives to columns that were given no names, are none.
    """
    if isinstance(data, pd.DataFrame):
        return data.columns.empty or any(isinstance(name, str) for name in data.columns)
    return not (isinstance(data, np.ndarray | list | tuple) or scipy.sparse.issparse(data))


def as_frame(data: object) -> pd.DataFrame:
    """Return `data` as a pandas frame, sharing memory where it can; names are text and unique, rows count from 0.

    Takes a pandas or Polars frame or series, a pyarrow table, a dict of columns, a 2-d NumPy array or sparse matrix
    (columns x0, x1, ...) or a list of rows.

    Raises: DataError for duplicate column names, complex numbers, one or more than two dimensions.
    """
    frame = _convert(data)
    if isinstance(frame.columns, pd.MultiIndex):
        raise DataError(f"column names must be single names; got {frame.columns.nlevels} levels. Join them first.")
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        seen: set[str] = set()
        double = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise DataError(
            f"column {shown(double)}: the name occurs {names.count(double)} times among {len(names)} columns. "
            "Rename or drop the copies; columns are matched by name."
        )
    if any(not isinstance(name, str) for name in frame.columns):
        frame = frame.set_axis(names, axis=1)
    if not (isinstance(frame.index, pd.RangeIndex) and frame.index.start == 0 and frame.index.step == 1):
        frame = frame.reset_index(drop=True)
    return frame


def as_vector(data: object) -> pd.Series:
    """Return a target, weights, groups or times as one pandas series with rows counted from 0.

    Raises: DataError when `data` has more than one column. A single column is flattened by the caller that wants it.
    """
    if isinstance(data, pd.Series):
        return data.reset_index(drop=True)
    if isinstance(data, pd.DataFrame) or _is_foreign(data, "polars", "DataFrame"):
        frame = as_frame(data)
        if frame.shape[1] != 1:
            raise DataError(f"a target must be 1-d; got shape {frame.shape}. Pass one column.")
        return frame.iloc[:, 0]
    if _is_foreign(data, "polars", "Series"):
        return as_frame(data).iloc[:, 0]
    if _is_foreign(data, "pyarrow", "Array") or _is_foreign(data, "pyarrow", "ChunkedArray"):
        return pd.Series(data.to_pandas())  # type: ignore[attr-defined]
    if isinstance(data, pd.Index | pd.api.extensions.ExtensionArray):
        return pd.Series(data).reset_index(drop=True)
    values = np.asarray(data) if not isinstance(data, list | tuple) else _list_array(list(data))
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise DataError(f"a target must be 1-d; got shape {values.shape}. Pass one column.")
    return pd.Series(_native(values))


def check_size(frame: pd.DataFrame) -> None:
    """Raise DataError when there is no row or no column to learn from (scikit-learn's wording)."""
    rows, columns = frame.shape
    if columns == 0:
        raise DataError(
            f"Found array with 0 feature(s) (shape=({rows}, 0)) while a minimum of 1 is required. "
            "Keep at least one column besides the target."
        )
    if rows == 0:
        raise DataError(
            f"Found array with 0 sample(s) (shape=(0, {columns})) while a minimum of 1 is required. "
            "The table has a header but no rows."
        )


def check_lengths(**lengths: int) -> None:
    """Raise DataError naming every length when they differ: `check_lengths(X=100, y=99)`."""
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {length} rows" for name, length in lengths.items())
        raise DataError(f"{told}. Found input variables with inconsistent numbers of samples; pass matching rows.")


def first_row(mask: np.ndarray) -> int:
    """Return the position of the first True of a mask that has one."""
    return int(np.argmax(mask))


def _convert(data: Any) -> pd.DataFrame:
    if isinstance(data, pd.DataFrame):
        return data
    if isinstance(data, pd.Series):
        return data.to_frame("x0" if data.name is None else data.name)
    if _is_foreign(data, "polars", "LazyFrame"):
        raise DataError("a Polars LazyFrame holds a query, not rows. Call .collect() first.")
    if _is_foreign(data, "polars", "DataFrame"):
        frame: pd.DataFrame = data.to_arrow().to_pandas()
        return frame
    if _is_foreign(data, "polars", "Series"):
        return _convert(data.to_frame())
    if _is_foreign(data, "pyarrow", "Table"):
        frame = data.to_pandas()
        return frame
    if isinstance(data, Mapping) and not scipy.sparse.issparse(data):  # a DOK matrix is a dict too
        try:
            return pd.DataFrame(dict(data))
        except ValueError as error:
            raise DataError(f"a dict of columns must hold columns of one length; pandas says: {error}.") from error
    if scipy.sparse.issparse(data):
        need = int(np.prod(data.shape, dtype=np.int64)) * data.dtype.itemsize
        if need > DENSE_BYTES:
            raise DataError(
                f"the sparse matrix of shape {data.shape} would take {need} bytes as dense rows; the limit is "
                f"{DENSE_BYTES}. Reduce it first, for instance with sklearn.decomposition.TruncatedSVD."
            )
        return _from_array(np.asarray(data.toarray()))
    try:
        values = np.asarray(data)
    except ValueError as error:
        raise DataError(f"rows must have one length; NumPy says: {error}.") from error
    return _from_array(values)


def _from_array(values: np.ndarray) -> pd.DataFrame:
    if values.ndim != 2:
        raise DataError(
            f"Expected 2D array, got {values.ndim}D array instead of shape {values.shape}. "
            "Reshape your data: one row a sample, one column a feature."
        )
    if values.dtype.kind == "c":
        raise DataError("Complex data not supported. Pass real and imaginary parts as two columns.")
    if values.dtype.kind == "V":
        raise DataError("a structured array is not a table here. Pass pandas.DataFrame(array).")
    frame = pd.DataFrame(_native(values), columns=[f"x{i}" for i in range(values.shape[1])], copy=False)
    return frame.infer_objects() if values.dtype.kind == "O" else frame


def _native(values: np.ndarray) -> np.ndarray:
    return values.astype(values.dtype.newbyteorder("=")) if values.dtype.byteorder in "<>" else values


def _list_array(values: list[Any]) -> np.ndarray:
    """Turn a list into an array without NumPy's silent [1, 'a'] -> ['1', 'a']."""
    kinds = {type(value) for value in values}
    if str in kinds and len(kinds) > 1:
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array
    return np.asarray(values)


def _is_foreign(data: object, module: str, name: str) -> bool:
    """Recognise another library's type without importing it: a value of it exists only where it was imported."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(data, getattr(loaded, name))
