"""Read a table from wherever it is."""

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.feather
import pyarrow.parquet
from sklearn import datasets

from poise.core.errors import ArgumentError, DataError, shown
from poise.data.delimited import decode, read_delimited
from poise.data.frames import as_frame, check_size, first_row

__all__ = ["BUNDLED", "Table", "read"]

# Tables that scikit-learn ships, by the name that `read` takes; their target column is known.
BUNDLED: dict[str, Callable[..., object]] = {
    "breast_cancer": datasets.load_breast_cancer,
    "diabetes": datasets.load_diabetes,
    "digits": datasets.load_digits,
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
}
TEXT, LINES = {".csv", ".tsv", ".txt"}, {".jsonl", ".ndjson", ".json"}
PARQUET, ARROW = {".parquet", ".pq"}, {".arrow", ".feather", ".ipc"}


@dataclass(frozen=True, eq=False)
class Table:
    """A named table: `frame` without the target columns, and `targets` with them, or None."""

    name: str
    frame: pd.DataFrame
    targets: pd.DataFrame | None = None

    @property
    def target(self) -> pd.Series | None:
        """The only target; None where there is none, or several."""
        return None if self.targets is None or self.targets.shape[1] != 1 else self.targets.iloc[:, 0]

    @property
    def target_name(self) -> str | None:
        """The only target's name; None where there is none, or several."""
        return None if (target := self.target) is None else str(target.name)


def read(
    source: object,
    *,
    target: str | Sequence[str] | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    cap: int = 2 * 2**30,
    readings: Mapping[str, str] | None = None,
) -> Table:
    """Return the table in a file or an object, with the target columns set apart.

    `source`: a path to .csv, .tsv, .txt, .parquet, .arrow, .feather, .jsonl, .ndjson or .json (one record a line, or a
    list of records); a pandas or Polars frame, pyarrow Table, dict of columns, 2-d array or sparse matrix (columns x0,
    x1, ...); or the name of a table that scikit-learn brings: breast_cancer, diabetes, digits, iris, wine (their target
    is known). `target`: a column, or several; "a,b" is two where no column has that name. `encoding`, `delimiter`: of
    text files, found when None. `cap`: bytes above which a file is refused. `readings`: how columns of text
    files are to be read, by name, as a fitted `Encoder.readings` has it; found where it does not say.

    Raises: DataError naming the file and its line or byte, the double column, or the columns there are; ArgumentError
    for a target named twice.

    >>> table = read("iris")
    >>> table.frame.shape, table.target_name
    ((150, 4), 'target')
    """
    _check(target, encoding, delimiter, cap)
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        if not path.is_file() and str(source) in BUNDLED:
            name, table = str(source), as_frame(_bundled(str(source)))
            target = "target" if target is None else target
        else:
            name, table = path.stem, as_frame(_read_file(path, encoding, delimiter, cap, readings))
    else:
        name, table = "table", as_frame(source)
    if target is None:
        check_size(table)
        return Table(name, table)
    names = _named(name, list(table.columns), [target] if isinstance(target, str) else list(target))
    check_size(table.drop(columns=names))
    return Table(name, table.drop(columns=names), table[names])


def _named(table: str, columns: list[str], asked: list[str]) -> list[str]:
    """Return the target columns that were asked for: `a,b` is two where no column has that name."""
    names: list[str] = []
    for name in asked:
        parts = [name] if name in columns or "," not in name else [part.strip() for part in name.split(",")]
        for part in parts:
            if part not in columns:
                near = difflib.get_close_matches(part, columns, 1, cutoff=0.5)
                hint = f"Did you mean {shown(near[0])}? " if near else ""
                raise DataError(
                    f"column {shown(part)}: no such column in {table!r}. {hint}It has {shown(columns, 400)}."
                )
            if part in names:
                raise ArgumentError(f"`read.target` must name each column once; got {shown(part)} twice.")
            names.append(part)
    return names


def _check(target: object, encoding: object, delimiter: object, cap: object) -> None:
    several = isinstance(target, Sequence) and not isinstance(target, str)
    if several and not (target and all(isinstance(name, str) for name in target)):  # type: ignore[attr-defined]
        raise ArgumentError(f"`read.target` must be text, a list of texts or None; got {shown(target)}.")
    for argument, value in (("target", None if several else target), ("encoding", encoding), ("delimiter", delimiter)):
        if value is not None and not isinstance(value, str):
            raise ArgumentError(f"`read.{argument}` must be text or None; got {shown(value)}.")
    if isinstance(delimiter, str) and len(delimiter) != 1:
        raise ArgumentError(f"`read.delimiter` must be one character; got {shown(delimiter)}.")
    if isinstance(cap, bool) or not isinstance(cap, int) or cap < 1:
        raise ArgumentError(f"`read.cap` must be a number of bytes above 0; got {shown(cap)}.")


def _read_file(
    path: Path, encoding: str | None, delimiter: str | None, cap: int, readings: Mapping[str, str] | None
) -> pd.DataFrame:
    if path.is_dir():
        raise DataError(f"{str(path)!r} is a folder. Pass one file in it.")
    if not path.is_file():
        raise DataError(
            f"{str(path)!r} does not exist, nor is it one of the bundled tables {sorted(BUNDLED)}. Check the path."
        )
    size = path.stat().st_size
    if size > cap:
        raise DataError(f"{path.name} has {size} bytes; the cap is {cap}. Pass cap={size} to read it all the same.")
    kind = path.suffix.lower()
    if kind in TEXT:
        return read_delimited(path, encoding, delimiter, readings)
    if kind in LINES:
        return _read_records(path, encoding)
    if kind not in PARQUET | ARROW:
        known = ", ".join(sorted(TEXT | LINES | PARQUET | ARROW))
        raise DataError(f"{path.name}: the ending {kind!r} is not known; got none of {known}. Rename or convert it.")
    try:
        # ParquetFile, not read_table: that one reads "year=2020" in a folder's name as one more column
        table = pyarrow.parquet.ParquetFile(path).read() if kind in PARQUET else pyarrow.feather.read_table(path)
        frame: pd.DataFrame = as_frame(table)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path.name} cannot be read as {kind}: {shown(str(error), 200)}. Write it again.") from error
    return frame


def _read_records(path: Path, encoding: str | None) -> pd.DataFrame:
    text = decode(path, encoding)
    if text.lstrip().startswith("["):
        records = _parsed(text, path.name, 1)
    else:
        lines = enumerate(text.splitlines(), start=1)
        records = [_parsed(line, path.name, number) for number, line in lines if line.strip()]
    if not isinstance(records, list) or not records:
        raise DataError(f"{path.name}: the file holds no records. Write one object a line.")
    strange = [not isinstance(record, dict) for record in records]
    if any(strange):
        place = first_row(np.array(strange))
        raise DataError(
            f"{path.name}, record {place + 1}: {shown(records[place])} is no object. Write one object a line."
        )
    frame = pd.DataFrame.from_records(records)
    nested = [name for name in frame.columns if frame[name].map(lambda value: isinstance(value, dict | list)).any()]
    if nested:
        raise DataError(f"column {shown(nested[0])}: a record holds a list or an object. Flatten it to plain columns.")
    return frame


def _parsed(text: str, name: str, line: int) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{name}, line {line + error.lineno - 1}: {error.msg}. Write one JSON object a line."
        ) from error
    except RecursionError as error:
        raise DataError(f"{name}, line {line}: objects nested too deep. Flatten them to plain columns.") from error


def _bundled(name: str) -> pd.DataFrame:
    bunch = BUNDLED[name](as_frame=True)
    frame: pd.DataFrame = bunch.frame  # type: ignore[attr-defined]
    if name != "diabetes":
        labels = bunch.target_names  # type: ignore[attr-defined]
        frame = frame.assign(target=pd.Series([labels[code] for code in frame["target"]]).infer_objects())
    return frame
