"""The record of trials: exact, all of a step or none of it, and kept through kill -9 (bad inputs 107-109)."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poise.core.errors import StudyError
from poise.study.record import Record
from poise.study.result import Trial

FLOATS = [0.0, -0.0, 1 / 3, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan]


def trial(number: int = 0, **changes: Any) -> Trial:
    start = Trial(number, {"dropout.p": 0.1, "lr": 3e-3}, 0, 100, 0.4, 0.5 + number / 7, "finished")
    return dataclasses.replace(start, **changes)


def batch(first: int, count: int = 16) -> list[Trial]:
    return [trial(number) for number in range(first, first + count)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "record.sqlite"


# ---- what goes in comes out ----


@pytest.mark.parametrize("train", FLOATS)
@pytest.mark.parametrize("validation", FLOATS)
def test_scores_come_back_exactly(train: float, validation: float, path: Path) -> None:
    dials = {"a.b": validation, "lr": train, "größe 😀": 1.0}
    told = trial(train=train, validation=validation, dials=dials)
    with Record(path) as record:
        record.add([told])
    with Record(path) as record:
        (found,) = record.trials()
    for ours, theirs in [
        (found.train, train),
        (found.validation, validation),
        *zip(found.dials.values(), dials.values(), strict=True),
    ]:
        assert ours == theirs or (math.isnan(ours) and math.isnan(theirs))
    assert list(found.dials) == list(dials)


ANY_TRIALS = st.lists(
    st.builds(
        Trial,
        st.integers(0, 2**63 - 1),
        st.dictionaries(st.text(max_size=5), st.floats(), max_size=4),
        st.integers(0, 3),
        st.integers(0, 2**63 - 1),
        st.floats(),
        st.floats(),
        st.sampled_from(["finished", "pruned", "diverged"]),
    ),
    max_size=8,
    unique_by=lambda trial: (trial.number, trial.rung),
)


@settings(max_examples=10)  # each opens four files and waits for the disk
@given(ANY_TRIALS)
def test_any_trials_come_back_in_order_and_added_twice_are_there_once(trials: list[Trial]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            with Record(Path(folder) / "record.sqlite") as record:
                record.add(trials)
                record.add(trials[::-1])
                found = record.trials()
    assert [repr(t).replace("-0.0", "0.0") for t in found] == [repr(t).replace("-0.0", "0.0") for t in trials]


def test_numpy_numbers_are_taken(path: Path) -> None:
    with Record(path) as record:
        record.add([trial(np.int64(3), train=np.float32(0.5), validation=np.float64(0.25))])
        assert record.trials() == (trial(3, train=0.5, validation=0.25),)


def test_a_trial_may_be_recorded_at_several_rungs(path: Path) -> None:
    with Record(path) as record:
        record.add([trial(0, rung=0), trial(0, rung=1, validation=0.1)])
        assert [t.rung for t in record.trials()] == [0, 1]


CHANGES: list[dict[str, Any]] = [
    {"steps": 101},
    {"train": math.nan},
    {"validation": 0.5000000000000001},
    {"state": "pruned"},
    {"dials": {"lr": 3e-3}},
    {"dials": {"dropout.p": 0.1, "lr": 4e-3}},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_the_same_trial_with_other_content_is_refused_and_nothing_is_added(change: dict[str, Any], path: Path) -> None:
    with Record(path) as record:
        record.add([trial(0)])
        with pytest.raises(StudyError, match=r"record\.sqlite': trial 0, rung 0 is recorded as .*; got "):
            record.add([trial(1), trial(0, **change), trial(2)])
        assert record.trials() == (trial(0),)
        with pytest.raises(StudyError, match="trial 5, rung 0"):
            record.add([trial(5), trial(5, **change)])
        assert record.trials() == (trial(0),)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "number below 0": ({"number": -1}, "number` must be a whole number"),
    "number of text": ({"number": "1"}, "number` must be a whole number"),
    "number true": ({"number": True}, "number` must be a whole number"),
    "number of 2^63": ({"number": 2**63}, "number` must be a whole number"),
    "rung 0.5": ({"rung": 0.5}, "rung` must be a whole number"),
    "steps None": ({"steps": None}, "steps` must be a whole number"),
    "score None": ({"validation": None}, "validation` must be a number within float64; got None"),
    "score of text": ({"validation": "0.5"}, "validation` must be a number within float64; got '0.5'"),
    "score true": ({"train": True}, "train` must be a number"),
    "score of 10^400": ({"validation": 10**400}, "validation` must be a number within float64; got 1000"),
    "score complex": ({"validation": 1j}, "validation` must be a number"),
    "dials None": ({"dials": None}, "must have a state and dials"),
    "dial of text": ({"dials": {"lr": "fast"}}, r"dials\['lr'\]` must be a number within float64; got 'fast'"),
    "dial key 1": ({"dials": {1: 1.0}}, "must have keys of text; got 1"),
    "dials of 10 MB": ({"dials": {"x" * 10**7: 1.0}}, "must be below 64000 characters"),
    "state None": ({"state": None}, "must have a state and dials"),
}


@pytest.mark.parametrize("word", BAD)
def test_what_is_no_trial_is_refused_and_the_batch_with_it(word: str, path: Path) -> None:
    change, message = BAD[word]
    with Record(path) as record:
        with pytest.raises(StudyError, match=message):
            record.add([trial(1), dataclasses.replace(trial(0), **change)])
        assert record.trials() == ()


def test_a_closed_record_says_so_and_closes_twice(path: Path) -> None:
    record = Record(path)
    record.close()
    record.close()
    with pytest.raises(StudyError, match="closed database"):
        record.add([trial()])
    with pytest.raises(StudyError, match="closed database"):
        record.trials()
    assert sorted(os.listdir(path.parent)) == [".record.sqlite.lock", "record.sqlite"]


def test_a_study_goes_on_only_with_its_own_facts(path: Path) -> None:
    facts = {"data": "abc", "seed": 0, "parts": ["l1", "ema"]}
    with Record(path) as record:
        record.describe(facts)
        record.add([trial()])
    with Record(path) as record:
        record.describe(facts)
        with pytest.raises(StudyError, match="of another study: data was 'abc', now 'xyz'; seed was 0, now 1"):
            record.describe(facts | {"data": "xyz", "seed": 1})
        assert record.trials() == (trial(),)


@pytest.mark.parametrize("name", ["with spaces", "😀 Größe", "n" * 210, "per%20cent?mode=rw#x", "a\nb", "-x"])
def test_any_name_will_do(name: str, tmp_path: Path) -> None:
    with Record(tmp_path / name) as record:
        record.add(batch(0))
        with Record.open_readonly(tmp_path / name) as reader:
            assert reader.trials() == tuple(batch(0))
    assert sorted(os.listdir(tmp_path)) == sorted([f".{name}.lock", name])


# ---- several programs ----


def test_a_reader_sees_what_is_committed_and_cannot_write(path: Path) -> None:
    with Record(path) as record, Record.open_readonly(path) as reader:
        assert reader.trials() == ()
        record.add(batch(0))
        assert reader.trials() == tuple(batch(0))
        with pytest.raises(StudyError, match="cannot be written: attempt to write a readonly database"):
            reader.add(batch(16))
        record.add(batch(16))
        assert len(reader.trials()) == 32


# ---- kill -9: this file is also the script that does it ----

KILLS = 10


def kill_writers(path: Path, seed: int) -> int:
    """Kill a process that adds batches, many times; return how many were acknowledged. Each is there, none by half."""
    generator = random.Random(seed)
    acknowledged = path.with_name("acknowledged")
    acknowledged.write_bytes(b"")
    for _ in range(KILLS):
        child = os.fork()
        if child == 0:
            with Record(path) as record, open(acknowledged, "ab", buffering=0) as file:
                number = len(record.trials())
                while True:
                    record.add(batch(number))
                    file.write(f"{number}\n".encode())
                    number += 16
        time.sleep(generator.uniform(0.005, 0.2))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        began = time.monotonic()
        with Record(path) as record:
            found = record.trials()
        assert time.monotonic() - began < 5
        assert len(found) % 16 == 0, "half a batch"
        assert found == tuple(batch(0, len(found))), "a trial twice, or lost"
        done = [int(line) for line in acknowledged.read_text().split()]
        assert len(found) >= 16 * len(done), "an acknowledged batch is lost"
    return len(done)


def open_first(path: Path, count: int) -> int:
    """Open a new record from several processes at once, each adding its own batch; return how many could."""
    children = []
    for place in range(count):
        child = os.fork()
        if child == 0:
            with Record(path) as record:
                record.add(batch(16 * place))
            os._exit(0)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    with Record(path) as record:
        assert sorted(t.number for t in record.trials()) == list(range(16 * count)), codes
    return codes.count(0)


@pytest.fixture(scope="module")
def crashes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the script below reports. A process of its own forks: forking pytest would copy its threads' locks."""
    command = [sys.executable, __file__, str(tmp_path_factory.mktemp("crashes"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_kill_9_loses_no_acknowledged_batch_and_halves_none(crashes: dict[str, Any]) -> None:
    assert isinstance(crashes["acknowledged"], int), crashes["acknowledged"]
    assert crashes["acknowledged"] >= KILLS, "the writers were killed before they could write"


def test_many_processes_may_open_a_new_record_at_once(crashes: dict[str, Any]) -> None:
    assert crashes["opened"] == [8, 8, 8, 8]


def script(folder: Path) -> Iterator[tuple[str, object]]:
    for name, run in (
        ("acknowledged", lambda: kill_writers(folder / "record.sqlite", seed=0)),
        ("opened", lambda: [open_first(folder / f"{number}.sqlite", 8) for number in range(4)]),
    ):
        try:
            yield name, run()
        except AssertionError:
            yield name, traceback.format_exc()


if __name__ == "__main__":
    print(json.dumps(dict(script(Path(sys.argv[1])))))  # noqa: T201
