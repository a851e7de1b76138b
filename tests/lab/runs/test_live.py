"""A study that runs in another process, seen from here while it does, and after it was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from poise.lab.base import Figure
from poise.lab.patch import apply, difference
from poise.lab.runs import Library
from poise.lab.runs.study_folder import read_study

WAVE = 6  # configurations of the first wave: the narrowest bracket, for so few trials on three folds

# Trains until it is told to end; it says so after its first evaluation, and again when a wave of trials is recorded.
STUDY = """
import sys, pathlib
import poise.study.course as course
import poise.study.fit as fit
from poise.study import Study
from poise.study.cohort import Plan
from poise.study.table_network import Design
from poise.study.record import Record

fit.plan_for = lambda rows, **_: Plan(24, min(rows, 16), 4)
told, losses, add = set(), course.Course.losses, Record.add

def say(word):
    if word not in told:
        told.add(word)
        print(word, flush=True)
        sys.stdin.readline()

def noted(self, *facts):
    losses(self, *facts)
    say("evaluated")

def added(self, trials):
    add(self, trials)
    say("recorded")

course.Course.losses, Record.add = noted, added
how = {"jobs": 1, "parts": ["dropout", "patience"], "design": Design(width=8, depth=1), "ablation": False}
Study("diabetes", budget="8trials", out=sys.argv[1], **how).run()
"""


class Running:
    """A study in a process of its own that halts at its marks."""

    def __init__(self, out: Path) -> None:
        self.out = out
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with open(out.with_suffix(".err"), "w") as words:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", STUDY, str(out)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words, text=True, env=environment, cwd=out.parent,
            )  # fmt: skip

    def until(self, word: str) -> None:
        assert self.process.stdout is not None
        found = self.process.stdout.readline().strip()
        if found != word:
            self.end()
            pytest.fail(f"the study did not come to {word!r}: {self.out.with_suffix('.err').read_text()[-2000:]}")

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    own = Running(tmp_path / "live")
    yield own
    own.end()


def drawn(library: Library, name: str) -> dict[str, object]:
    line = library.runs()[0]
    figure: Figure = library.figure(name, [line.id])
    state = figure.start()
    return figure.message(state, figure.compute(state))


def test_a_study_is_seen_while_it_runs_and_goes_on_unharmed(running: Running) -> None:
    times = iter(range(0, 1000, 2))
    library = Library([running.out.parent], clock=lambda: float(next(times)))
    running.until("evaluated")
    line = library.runs()[0]
    assert (line.status, line.name) == ("running", "live")
    page = library.page(line.id)
    assert page is not None
    assert page.live
    assert dict(page.facts)["Table"] == "diabetes"
    assert page.figures[0] == "run-loss"
    first = drawn(library, "run-loss")
    assert first["panels"], "no curve although a network was evaluated"
    running.go_on()
    running.until("recorded")
    second = drawn(library, "run-loss")
    assert second != first, "the curve has not grown"
    assert apply(first, difference(first, second)) == second
    population = drawn(library, "run-population")
    assert population["numbers"][0]["value"] == WAVE  # type: ignore[index]
    running.go_on()
    assert running.process.wait(timeout=120) == 0, "a reader disturbed the study"
    line = library.runs()[0]
    assert line.status == "finished"
    assert "run-gap" in library.page(line.id).figures  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that was killed after its first wave; it was seen running before."""
    own = Running(tmp_path_factory.mktemp("runs") / "killed")
    own.until("evaluated")
    own.go_on()
    own.until("recorded")
    assert read_study(own.out, "killed").status == "running"
    own.process.send_signal(signal.SIGKILL)
    own.end()
    return own.out


def test_a_study_that_was_killed_is_told_from_one_that_runs(killed: Path) -> None:
    record = read_study(killed, "killed")
    assert record.status == "stopped"
    assert len(record.trials) == WAVE, "what was recorded is lost"
    page = Library([killed]).page(record.id)
    assert page is not None
    assert not page.live
    assert any("without a result" in note for note in page.notes)


def test_the_code_of_an_unfinished_study_reads_its_record(killed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = Library([killed])
    figure = library.figure("run-population", [library.runs()[0].id])
    state = figure.start()
    exec(figure.code(state), {})
    printed = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    assert printed[:2] == [number.value for number in figure.compute(state).numbers[:2]]
