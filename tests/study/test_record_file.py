"""A record's file: refused with a reason when it is foreign, damaged or out of reach (bad inputs 98-100, 104-106)."""

from __future__ import annotations

import os
import random
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from poise.core.errors import StudyError
from poise.study.record import Record
from poise.study.record_file import file_system
from poise.study.result import Trial


def batch(first: int, count: int = 16) -> list[Trial]:
    dials = {"dropout.p": 0.1, "lr": 3e-3}
    return [Trial(number, dials, 0, 100, 0.4, 0.5 + number / 7, "finished") for number in range(first, first + count)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "record.sqlite"


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("size", [0, 1, 10, 16, 100, 511, 512, 5000])
def test_a_file_that_is_no_sqlite_is_refused_and_kept(size: int, readonly: bool, path: Path) -> None:
    data = random.Random(size).randbytes(size)
    path.write_bytes(data)
    with pytest.raises(StudyError, match="must have 100 bytes" if size < 100 else "file is not a database"):
        Record.open_readonly(path) if readonly else Record(path)
    assert path.read_bytes() == data


def test_another_programs_database_is_refused(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE trials (number)")
    connection.close()
    with pytest.raises(StudyError, match="is a SQLite file, but no study's record"):
        Record(path)


def test_another_schema_version_is_refused(path: Path) -> None:
    Record(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=2")
    connection.close()
    for open_it in (Record, Record.open_readonly):
        with pytest.raises(StudyError, match="has schema version 2; this poise reads 1"):
            open_it(path)


def test_what_is_no_file_is_refused(path: Path) -> None:
    for open_it in (Record, Record.open_readonly):
        path.mkdir()
        with pytest.raises(StudyError, match="is no plain file"):
            open_it(path)
        path.rmdir()
    with pytest.raises(StudyError, match="cannot be read: No such file"):
        Record.open_readonly(path)
    assert not path.exists(), "reading must not make a file"
    with pytest.raises(StudyError, match="cannot be written: No such file"):
        Record(path / "nowhere")


def test_a_log_without_its_record_is_not_played_into_a_new_one(path: Path) -> None:
    with Record(path) as record:
        record.add(batch(0))
        log = path.with_name("record.sqlite-wal").read_bytes()
    path.unlink()
    path.with_name("record.sqlite-wal").write_bytes(log)
    with pytest.raises(StudyError, match="is the log of a record that is gone"):
        Record(path)


@pytest.mark.parametrize("share", range(5, 100, 5))
def test_a_file_cut_anywhere_is_refused(share: int, path: Path) -> None:
    with Record(path) as record:
        record.add(batch(0, 400))
    os.truncate(path, path.stat().st_size * share // 100)
    with pytest.raises(StudyError, match=r"record\.sqlite'"), Record(path) as record:
        record.trials()


def test_no_flipped_bit_changes_a_trial_in_silence(path: Path) -> None:
    with Record(path) as record:
        record.add(batch(0, 60))
    whole = path.read_bytes()
    refused = 0
    for place in random.Random(0).sample(range(8 * len(whole)), 400):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            with Record.open_readonly(path) as record:
                assert record.trials() == tuple(batch(0, 60)), f"bit {place}"
        except StudyError:
            refused += 1
    assert refused > 100, "the other flips are in unused room"


@pytest.mark.parametrize(
    ("column", "value"),
    [("steps", 7), ("validation", 0.1), ("validation", None), ("dials", "{}"), ("dials", "["), ("dials", "3"),
     ("state", "pruned"), ("sha256", "x"), ("train", "text")],
)  # fmt: skip
def test_a_row_that_was_changed_is_named(column: str, value: object, path: Path) -> None:
    with Record(path) as record:
        record.add(batch(0))
    connection = sqlite3.connect(path)
    connection.execute(f"UPDATE trials SET {column} = ? WHERE number = 3", [value])
    connection.commit()
    connection.close()
    with (
        Record(path) as record,
        pytest.raises(StudyError, match=r"the row of trial 3, rung 0 must have sha256 .*; got "),
    ):
        record.trials()


def test_a_row_that_was_lost_is_noticed(path: Path) -> None:
    with Record(path) as record:
        record.add(batch(0))
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM trials WHERE number = 15")
    connection.commit()
    connection.close()
    with Record(path) as record, pytest.raises(StudyError, match="must hold 16 trials; got 15"):
        record.trials()


@pytest.fixture
def world_readable() -> Iterator[Path]:
    """A folder that another user can reach: tmp_path is closed to all but its owner."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize("log", [False, True])
def test_a_record_in_a_folder_that_cannot_be_written_is_read_or_says_what_to_do(
    log: bool, world_readable: Path
) -> None:
    path = world_readable / "record.sqlite"
    with Record(path) as record:
        record.add(batch(0))
        kept = path.with_name("record.sqlite-wal").read_bytes()
    if log:
        path.with_name("record.sqlite-wal").write_bytes(kept)
    path.chmod(0o444)
    world_readable.chmod(0o555)
    root = os.geteuid() == 0
    try:
        if root:
            os.setresuid(65534, 65534, 0)
        if log:
            with pytest.raises(StudyError, match=r"has a log and its folder cannot be written .* Copy both"):
                Record.open_readonly(path)
        else:
            with Record.open_readonly(path) as reader:
                assert reader.trials() == tuple(batch(0))
        with pytest.raises(StudyError, match="cannot be written"):
            Record(path.with_name("new.sqlite"))
    finally:
        if root:
            os.setresuid(0, 0, 0)
        world_readable.chmod(0o755)


def test_the_file_system_of_a_path_is_its_longest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    lines = [
        "/dev/sda / ext4 rw 0 0",
        "srv:/x /mnt nfs4 rw 0 0",
        "tmpfs /mnt/tmp tmpfs rw 0 0",
        "y /a\\040b cifs rw 0 0",
    ]
    mounts.write_text("\n".join(lines))
    paths = {
        "/srv/x": "ext4",
        "/mnt/a/b": "nfs4",
        "/mnt": "nfs4",
        "/mnt/tmp/x": "tmpfs",
        "/mntx": "ext4",
        "/a b/x": "cifs",
    }
    assert {path: file_system(Path(path), mounts) for path in paths} == paths
    assert file_system(Path("/x"), tmp_path / "nothing") == ""
