"""The file beneath a record: made once however many processes open it first, and refused when it is not ours."""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from poise.core.errors import PoiseWarning, StudyError, shown
from poise.study.atomic import beside, leftovers, reason, sync_folder

if sys.platform != "win32":
    import fcntl

__all__ = ["SCHEMA_VERSION", "connect", "create_once", "file_system"]

SCHEMA_VERSION = 1
"""Version of the tables; a file of another one is refused by name."""

APPLICATION = 0x706F6973  # "pois", in SQLite's header, so that another program's file is told apart
TABLES = """
CREATE TABLE trials (
    number INTEGER NOT NULL, rung INTEGER NOT NULL, steps INTEGER NOT NULL, dials TEXT NOT NULL,
    train REAL, validation REAL, state TEXT NOT NULL, sha256 TEXT NOT NULL,
    PRIMARY KEY (number, rung)
);
CREATE TABLE meta (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL);
"""
HEADER = 100  # bytes; SQLite's own
REMOTE = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "9p", "fuse.sshfs"}


def create_once(path: Path) -> None:
    """Make the file with its empty tables if there is none; of many processes at once, one makes it.

    It is made under another name and renamed, so that a crash never leaves a file without tables.
    """
    try:
        with _alone(path):
            if os.path.lexists(path):
                return
            if (kind := file_system(path)) in REMOTE:
                told = f"{shown(str(path.parent), 200)} is on a network file system ({kind})"
                warnings.warn(
                    f"{told}, where SQLite's log is not safe in a crash. Choose a local folder.",
                    PoiseWarning,
                    stacklevel=4,
                )
            if (log := path.with_name(path.name + "-wal")).exists():
                # SQLite would play it into the new file.
                raise StudyError(
                    f"{shown(str(log), 200)} is the log of a record that is gone. Restore the record, or move it away."
                )
            for ending in (".new", ".new-journal", ".new-wal", ".new-shm"):
                for leftover in leftovers(path, ending):
                    leftover.unlink()
            temporary = beside(path, ".new")
            with _closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute(f"PRAGMA application_id={APPLICATION}")
                connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
                connection.executescript(TABLES)
                connection.execute("PRAGMA journal_mode=WAL")
            os.replace(temporary, path)
            sync_folder(path.parent)
    except (OSError, sqlite3.Error) as error:
        told = reason(error) if isinstance(error, OSError) else str(error)
        raise StudyError(
            f"{shown(str(path), 200)} cannot be written: {told}. Choose a folder that exists and can be written."
        ) from error


def connect(path: Path, *, readonly: bool) -> sqlite3.Connection:
    """Return a connection to an existing record.

    Raises: StudyError for an empty file, a file that is not SQLite or not a record, and another schema version.
    """
    _check_file(path)
    connection = None
    try:
        connection = _opened_readonly(path) if readonly else sqlite3.connect(path, timeout=30.0, isolation_level=None)
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if application != APPLICATION:
            raise StudyError(f"{shown(str(path), 200)} is a SQLite file, but no study's record. Choose another folder.")
        if version != SCHEMA_VERSION:
            raise StudyError(
                f"{shown(str(path), 200)} has schema version {version}; this poise reads {SCHEMA_VERSION}. Use the "
                "poise that wrote it, or a new folder."
            )
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("SELECT 1 FROM trials, meta LIMIT 1").fetchone()
    except (sqlite3.Error, StudyError) as error:
        if connection is not None:
            connection.close()
        if isinstance(error, StudyError):
            raise
        raise StudyError(
            f"{shown(str(path), 200)} cannot be read: {error}. Restore it from a copy, or use a new folder."
        ) from error
    return connection


def file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Return the kind of file system that a path is on ("ext4", "nfs4"), or an empty text where it is not known."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    place = Path(os.path.realpath(path))
    found = {}
    for line in lines:
        _, point, kind, *_ = line.split()
        found[Path(point.replace("\\040", " "))] = kind  # a later mount hides an earlier one
    return next((found[parent] for parent in (place, *place.parents) if parent in found), "")


def _check_file(path: Path) -> None:
    # By its facts only: closing a second descriptor of the file would drop the locks that SQLite holds on it.
    try:
        facts = os.stat(path)
    except OSError as error:
        raise StudyError(f"{shown(str(path), 200)} cannot be read: {reason(error)}. Check the path.") from error
    if not stat.S_ISREG(facts.st_mode):
        raise StudyError(f"{shown(str(path), 200)} is no plain file. Choose another folder.")
    if facts.st_size < HEADER:
        # SQLite itself would take it for a new database, and the trials of an old study would be gone in silence.
        raise StudyError(
            f"{shown(str(path), 200)} must have {HEADER} bytes at least; got {facts.st_size}. Restore it from a "
            "copy, or use a new folder."
        )


def _opened_readonly(path: Path) -> sqlite3.Connection:
    uri = path.resolve().as_uri()
    connection = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=30.0, isolation_level=None)
    try:
        connection.execute("PRAGMA query_only=ON")
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        return connection
    except sqlite3.OperationalError as error:
        # In a folder that cannot be written SQLite can make no index of its log. Without a log none is needed.
        connection.close()
        log = path.with_name(path.name + "-wal")
        if log.exists() and log.stat().st_size > 0:
            raise StudyError(
                f"{shown(str(path), 200)} has a log and its folder cannot be written ({error}). Copy both to a "
                "folder of your own, and open that."
            ) from error
    except sqlite3.Error:
        connection.close()
        raise
    return sqlite3.connect(f"{uri}?mode=ro&immutable=1", uri=True, isolation_level=None)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock file; the system lets go of it when the process dies, however it dies."""
    if sys.platform == "win32":
        yield
        return
    with open(path.with_name(f".{path.name}.lock"), "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _closing(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Close at the end; sqlite3's own `with` only commits."""
    try:
        yield connection
    finally:
        connection.close()
