"""A record beside a running study: a full disk costs neither the study nor a trial."""

import warnings
from pathlib import Path

import pytest

from poise.core.errors import PoiseWarning, StudyError
from poise.study.record import Record
from poise.study.recording import Recording
from poise.study.result import Trial


def batch(first: int) -> list[Trial]:
    return [Trial(first + n, {f"dial {k}": k / 7 for k in range(200)}, 0, 9, 0.5, 0.5, "finished") for n in range(16)]


def fill(recording: Recording, *, full: bool) -> None:
    """Let SQLite's file grow no further, as on a full disk, or grow again."""
    connection = recording.record._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0] if full else 2**30
    connection.execute(f"PRAGMA max_page_count={pages}")


def test_what_a_full_disk_refused_is_written_with_the_next_trials(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "record.sqlite")
    recording.add(batch(0))
    fill(recording, full=True)
    with pytest.warns(PoiseWarning, match=r"record\.sqlite' cannot be written: .*full.*the study goes on"):
        recording.add(batch(16))
    recording.add(batch(32))  # said already: a second warning would be an error
    assert recording.record.trials() == tuple(batch(0)), "half of what was refused is there"
    fill(recording, full=False)
    recording.add(batch(48))
    assert recording.record.trials() == tuple(batch(0) + batch(16) + batch(32) + batch(48))
    recording.close()


@pytest.mark.parametrize("full", [True, False])
def test_the_end_tries_once_more(tmp_path: Path, full: bool) -> None:
    recording = Recording(tmp_path / "record.sqlite")
    fill(recording, full=True)
    with pytest.warns(PoiseWarning, match="cannot be written"):
        recording.add(batch(0))
    fill(recording, full=full)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recording.close()
    with Record(tmp_path / "record.sqlite") as record:
        assert record.trials() == (() if full else tuple(batch(0)))


def test_trials_of_another_study_are_no_full_disk(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "record.sqlite")
    recording.add(batch(0))
    other = [Trial(0, {}, 0, 9, 0.1, 0.1, "finished")]
    with pytest.raises(StudyError, match="It belongs to another study"):
        recording.add(other)
    recording.close()
