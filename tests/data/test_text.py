"""Texts from files: what is read, what is refused, and which files are texts at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from poise.core.errors import ArgumentError, DataError
from poise.data.text import CHARACTER_CAP, Text, holds_text, read_text


def written(folder: Path, data: bytes, name: str = "book.txt") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_a_file_is_read_as_it_is_but_for_its_mark_and_its_line_ends(tmp_path: Path) -> None:
    path = written(tmp_path, b"\xef\xbb\xbf" + "Grüße,\r\nWelt\rund\n".encode())
    assert read_text(path) == Text("book", "Grüße,\nWelt\nund\n")
    assert read_text(str(path)).text == "Grüße,\nWelt\nund\n"


def test_another_encoding_is_read_if_it_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, "Grüße, Welt".encode("latin-1"))
    with pytest.raises(DataError, match=r"book.txt, byte 2: 0xfc is not utf-8. Pass the right one"):
        read_text(path)
    assert read_text(path, encoding="latin-1").text == "Grüße, Welt"


def test_a_long_text_is_cut_and_told_so_unless_the_length_was_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, b"ab" * CHARACTER_CAP)
    cut = read_text(path)
    assert len(cut) == CHARACTER_CAP
    assert cut.notes == (
        "the first 300,000 of 600,000 characters are used. `characters` (--characters) takes more, and more time.",
    )
    asked = read_text(path, characters=7)
    assert asked.text == "abababa"
    assert asked.notes == ("the first 7 of 600,000 characters are used.",)
    assert read_text(path, characters=600_000).notes == ()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file holds no text. Pass a file with some thousand characters"),
        (b" \n\t\n", "the file holds no text"),
        (b"aaaaaaaa", "holds one character only, 'a': there is nothing to learn"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", r"book.txt, byte 8: a NUL byte, so this is no text"),
        (b"words\x01words", r"book.txt, character 5: '\\x01' is a control character, so this is no plain text"),
        (b"%PDF-1.4\n%\xe2\xe3\xcf\xd3", r"book.txt, byte 10: 0xe2 is not utf-8"),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_text(written(tmp_path, data))


def test_a_missing_file_and_a_wrong_length_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is no file. Pass a file of plain text"):
        read_text(tmp_path / "nowhere.txt")
    with pytest.raises(ArgumentError, match=r"`read_text.characters` must be None or an int >= 1; got 0"):
        read_text(written(tmp_path, b"abc"), characters=0)


def test_a_file_is_a_text_by_its_ending_if_no_target_or_delimiter_makes_it_a_table(tmp_path: Path) -> None:
    path = written(tmp_path, b"a,b\n1,2\n")
    assert holds_text(path)
    assert holds_text(str(path))
    assert not holds_text(path, target="b")
    assert not holds_text(path, delimiter=",")
    assert holds_text(written(tmp_path, b"words", "READ.MD"))
    assert not holds_text(written(tmp_path, b"a,b\n1,2\n", "table.csv"))
    assert not holds_text("iris")
    assert not holds_text(tmp_path)


def test_a_table_without_a_target_is_read_as_a_text_and_told_so(tmp_path: Path) -> None:
    table = "\n".join(f"{row}\t{row + 1}\tyes" for row in range(20))
    (note,) = read_text(written(tmp_path, table.encode())).notes
    assert note.startswith("the first lines look like a table whose columns '\\t' divides.")
    assert "name its target column" in note
    prose = "\n".join("one, two and three." if line % 2 else "no comma here" for line in range(20))
    assert read_text(written(tmp_path, prose.encode())).notes == ()
