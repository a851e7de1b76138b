"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from poise.core.errors import StudyError
from poise.study.atomic import ABANDONED, write_bytes_atomic, write_text_atomic


@pytest.fixture
def readonly() -> Iterator[Path]:
    """A folder that may be read only, also where the tests run as root."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "old").write_text("old")
        folder.chmod(0o555)
        root = os.geteuid() == 0
        try:
            if root:
                os.setresuid(65534, 65534, 0)
            yield folder
        finally:
            if root:
                os.setresuid(0, 0, 0)
            folder.chmod(0o755)


@pytest.mark.parametrize("name", ["a.csv", "with spaces", "😀", "n" * 255, "-", "a\nb"])
@pytest.mark.parametrize(
    "text", ["", "a\nb\r\n", "Größe 😀\0", "x" * 100_000], ids=["empty", "lines", "letters", "long"]
)
def test_the_text_is_there_alone(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("an older and longer text")
    write_text_atomic(tmp_path / name, text)
    assert (tmp_path / name).read_bytes() == text.encode()
    assert os.listdir(tmp_path) == [name]


def test_what_a_crash_left_is_swept_by_a_later_write(tmp_path: Path) -> None:
    for name in (".a.csv.0123abcd.new", ".a.csv.of-mine.new"):
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (0, time.time() - 2 * ABANDONED))
    write_text_atomic(tmp_path / "a.csv", "x")
    assert sorted(os.listdir(tmp_path)) == [".a.csv.of-mine.new", "a.csv"]


def test_a_draft_that_another_writes_right_now_stays(tmp_path: Path) -> None:
    (tmp_path / ".a.csv.0123abcd.new").write_text("half")
    write_text_atomic(tmp_path / "a.csv", "x")
    assert sorted(os.listdir(tmp_path)) == [".a.csv.0123abcd.new", "a.csv"]


def test_an_interrupted_write_leaves_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_text_atomic(tmp_path / "a.csv", "x")
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_the_old_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        with pytest.raises(StudyError, match=r"a\.csv' cannot be written: File too large"):
            write_bytes_atomic(path, bytes(200_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.csv"]


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_only_plain_files_are_replaced(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path = Path(os.devnull)
    with pytest.raises(StudyError, match="is no plain file"):
        write_text_atomic(path, "x")
    assert not path.is_file()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"nowhere/a\.csv' cannot be written: No such file or directory"):
        write_text_atomic(tmp_path / "nowhere" / "a.csv", "x")


def test_a_folder_that_cannot_be_written_is_named(readonly: Path) -> None:
    for name in ("old", "new"):
        with pytest.raises(StudyError, match="cannot be written: Permission denied"):
            write_text_atomic(readonly / name, "x")
    assert (readonly / "old").read_text() == "old"
