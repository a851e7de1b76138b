"""Read a text from a file: what a study of characters learns from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from poise.core.errors import ArgumentError, DataError, shown
from poise.data.delimited import decode

__all__ = ["CHARACTER_CAP", "ENDINGS", "Text", "holds_text", "read_text"]

CHARACTER_CAP = 300_000
"""Characters of a text that are used if nobody says otherwise: minutes of one processor for one network."""

ENDINGS = frozenset({".txt", ".text", ".md", ".rst"})
"""Endings of files that are taken for texts where no target column is named."""

BYTES_CAP = 2**30  # of a file; its text is in memory at once
_DELIMITERS = "\t;|,"
_LOOKED_AT = 100_000  # characters among which control characters are looked for


@dataclass(frozen=True)
class Text:
    """A text to learn from: `notes` say what was cut or looks like a mistake."""

    name: str
    text: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.text)


def holds_text(source: object, *, target: object = None, delimiter: object = None) -> bool:
    """Whether a path names a text rather than a table: an existing .txt, .text, .md or .rst file and no target.

    A study of a table must name its target column, so that a .txt table is one by being given a target (or a
    delimiter).

    >>> holds_text("nowhere.txt"), holds_text("table.csv")
    (False, False)
    """
    if not isinstance(source, str | Path) or target is not None or delimiter is not None:
        return False
    path = Path(source).expanduser()
    return path.suffix.lower() in ENDINGS and path.is_file()


def read_text(source: str | Path, *, encoding: str | None = None, characters: int | None = None) -> Text:
    """Return the text of a file in UTF-8, or in `encoding`; line ends become newlines, a byte order mark is left out.

    `characters`: how many are used, from the beginning; 300,000 if None, and then a note says so.

    Raises: DataError for a file that is missing, empty, binary or not in its encoding (with the byte), or that holds
        one character only; ArgumentError for `characters` below 1.
    """
    cap = CHARACTER_CAP if characters is None else characters
    if isinstance(cap, bool) or not isinstance(cap, int) or cap < 1:
        raise ArgumentError(f"`read_text.characters` must be None or an int >= 1; got {shown(characters)}.")
    path = Path(source).expanduser()
    if not path.is_file():
        raise DataError(f"{shown(str(path))} is no file. Pass a file of plain text.")
    if (size := path.stat().st_size) > BYTES_CAP:
        raise DataError(f"{path.name} has {size} bytes; the most is {BYTES_CAP}. Cut it into parts, and pass one.")
    raw = decode(path, encoding or "utf-8").replace("\r\n", "\n").replace("\r", "\n")
    if not raw.strip():
        raise DataError(f"{path.name}: the file holds no text. Pass a file with some thousand characters.")
    found = next((place for place, letter in enumerate(raw[:_LOOKED_AT]) if _is_control(letter)), None)
    if found is not None:
        raise DataError(
            f"{path.name}, character {found}: {shown(raw[found])} is a control character, so this is no plain text. "
            "Pass a text file, or take the character out."
        )
    text = raw[:cap]
    if len(set(text)) < 2:
        raise DataError(f"{path.name} holds one character only, {shown(text[0])}: there is nothing to learn.")
    notes = []
    if len(raw) > cap:
        way = "" if characters is not None else " `characters` (--characters) takes more, and more time."
        notes.append(f"the first {cap:,} of {len(raw):,} characters are used.{way}")
    if (delimiter := _looks_delimited(text)) is not None:
        notes.append(
            f"the first lines look like a table whose columns {shown(delimiter)} divides. It was read as a text; to "
            "study it as a table, name its target column."
        )
    return Text(path.stem, text, tuple(notes))


def _is_control(letter: str) -> bool:
    """Whether a letter is none that a text holds: a control character other than white space and escape."""
    return (letter < " " and letter not in "\t\n\v\f\x1b") or "\x7f" <= letter < "\x85" or "\x85" < letter < "\xa0"


def _looks_delimited(text: str) -> str | None:
    """Return the delimiter that stands equally often, twice at least, in each of the first ten lines that are full."""
    lines = [line for line in text[:20_000].split("\n") if line.strip()][:10]
    if len(lines) < 5:
        return None
    for delimiter in _DELIMITERS:
        counts = {line.count(delimiter) for line in lines}
        if len(counts) == 1 and min(counts) >= 2:
            return delimiter
    return None
