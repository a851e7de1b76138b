"""Read a file of delimited text (CSV, TSV) and refuse what is damaged, by line or byte."""

import csv
import io
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd
from charset_normalizer import from_bytes

from poise.core.errors import DataError, PoiseWarning, shown
from poise.data.text_numbers import as_numbers

__all__ = ["decode", "read_delimited"]

DELIMITERS = ",;\t|"
MARKED_ENCODINGS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),  # before UTF-16's mark, with which it begins
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
SNIFFED = 2**18  # bytes given to the encoding guess


def read_delimited(
    path: Path, encoding: str | None, delimiter: str | None, readings: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Return the table in a CSV or TSV file; the first line holds the column names.

    Spaces behind a delimiter are not read, and an empty field is missing. A mark such as NA or ? is missing only in a
    column that otherwise holds numbers: among words, "NA" may be Namibia and "None" a level. `readings`: of columns
    that are known by name, "words" are read as they are written, and in "numbers" a mark is missing even where there is
    nothing else. Numbers may have thousands set apart ("1,234.5") and one sign of money or per cent, all the same one,
    which is left out; where semicolons divide, a comma may be the decimal mark. A first line `sep=;` is heeded.

    Raises: DataError with the byte offset of a NUL or undecodable byte, or the number of the first ragged line.
    """
    text = decode(path, encoding)
    if told := re.match(r"sep=(.)(?=\r?\n)", text):  # Excel's; an empty line stays, so that lines keep their numbers
        delimiter, text = delimiter or told[1], text[told.end() :]
    if not text.strip():
        raise DataError(f"{path.name}: the file is empty. A table needs a line of column names and rows.")
    delimiter = delimiter or ("\t" if path.suffix.lower() == ".tsv" else _sniff(text))
    header = _checked_header(text, delimiter, path.name)
    known = [(readings or {}).get(name, "") for name in header]
    try:
        frame = pd.read_csv(
            io.StringIO(text),
            sep=delimiter,
            header=None,
            skiprows=_header_lines(text, delimiter),
            names=list(range(len(header))),
            dtype={i: str for i, reading in enumerate(known) if reading == "words"},
            index_col=False,
            skipinitialspace=True,
            keep_default_na=False,
            na_values=[""],
            low_memory=False,
        )
    except pd.errors.ParserError as error:
        raise DataError(f"{path.name}: {error}. Close the quote, or double those inside a field.") from error
    frame.columns = pd.Index(header)
    columns = {
        i: frame.iloc[:, i] if reading == "words" else as_numbers(frame.iloc[:, i], delimiter, reading)
        for i, reading in enumerate(known)
    }
    read = pd.DataFrame(columns)
    read.columns = frame.columns
    return read


def decode(path: Path, encoding: str | None) -> str:
    """Return the text of a file; a guessed encoding is told in a PoiseWarning.

    Raises: DataError with the byte offset of the first byte that `encoding` cannot read, or of a NUL.
    """
    raw = path.read_bytes()
    marked = next((name for mark, name in MARKED_ENCODINGS if raw.startswith(mark)), None)
    name = encoding or marked or "utf-8"
    if name.lower().replace("_", "-") in ("utf-8", "utf8"):
        name = "utf-8-sig"  # the same, less the byte order mark
    nul = raw.find(b"\x00")
    if nul >= 0 and not name.lower().startswith(("utf-16", "utf-32", "utf_16", "utf_32")):
        raise DataError(
            f"{path.name}, byte {nul}: a NUL byte, so this is no text in {name}. Clean the file, "
            'or pass encoding="utf-16" if it holds two bytes a letter.'
        )
    try:
        return raw.decode(name)
    except LookupError as error:
        raise DataError(f"{path.name}: {shown(encoding)} is no known encoding. Try encoding='cp1252'.") from error
    except UnicodeDecodeError as error:
        fault = f"{path.name}, byte {error.start}: 0x{raw[error.start]:02x} is not {error.encoding}"
        if encoding is not None or marked is not None:
            raise DataError(f"{fault}. Pass the right one, for instance encoding='cp1252'.") from error
        around = raw[max(0, error.start - SNIFFED // 2) :][:SNIFFED]
        best = from_bytes(around).best()
        if best is None:
            raise DataError(f"{fault}, and no encoding fits. Pass encoding=... .") from error
        try:
            text = raw.decode(best.encoding)
        except UnicodeDecodeError as second:
            raise DataError(f"{fault}, nor {best.encoding} at byte {second.start}. Pass encoding=... .") from second
        told = f"{fault}; read as {best.encoding}, a guess from its letters. Pass encoding={best.encoding!r} to agree."
        warnings.warn(told, PoiseWarning, stacklevel=4)
        return text


def _sniff(text: str) -> str:
    """Return the delimiter that gives the first lines one width above 1; of several, the one with most columns."""
    lines = text[: 2**16].splitlines(keepends=True)[:50]
    best, width = ",", 1
    for candidate in DELIMITERS:
        rows = csv.reader(lines[: max(1, len(lines) - 1)], delimiter=candidate, skipinitialspace=True)
        widths = [len(fields) for fields in rows if fields]
        agree = sum(found == widths[0] for found in widths) if widths else 0
        if widths and widths[0] > width and agree >= 0.9 * len(widths):
            best, width = candidate, widths[0]
    return best


def _checked_header(text: str, delimiter: str, name: str) -> list[str]:
    rows = _rows(text, delimiter, name)
    header: list[str] | None = None
    for line, fields in rows:
        if not fields:
            continue
        if header is None:
            header = [field.strip() for field in fields]
        elif len(fields) != len(header):
            raise DataError(
                f"{name}, line {line}: {len(fields)} fields where the header has {len(header)}: "
                f"{shown(delimiter.join(fields))}. Quote fields that hold {delimiter!r}, or pass delimiter=... ."
            )
    return header or []


def _rows(text: str, delimiter: str, name: str) -> Iterable[tuple[int, list[str]]]:
    limit = csv.field_size_limit(len(text) + 1)  # a long cell is no fault; the file as a whole has a cap
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        for fields in reader:
            yield reader.line_num, fields
    except csv.Error as error:
        raise DataError(f"{name}, line {reader.line_num}: {error}. Repair the quotes.") from error
    finally:
        csv.field_size_limit(limit)


def _header_lines(text: str, delimiter: str) -> int:
    return next((line for line, fields in _rows(text, delimiter, "") if fields), 0)
