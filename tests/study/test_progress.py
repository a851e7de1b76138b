"""What a study says while it runs: on stderr, as text and never as markup, a line only now and then."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import re
import threading
import typing
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from poise.study.progress import Progress, ProgressBar, Quiet


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def plain(encoding: str = "utf-8") -> tuple[io.TextIOWrapper, Clock, ProgressBar]:
    stream, clock = io.TextIOWrapper(io.BytesIO(), encoding=encoding), Clock()
    return stream, clock, ProgressBar(stream, clock)


def lines(stream: io.TextIOWrapper) -> list[str]:
    return typing.cast(io.BytesIO, stream.buffer).getvalue().decode(stream.encoding).splitlines()


def test_a_log_gets_the_title_and_the_budget() -> None:
    for seconds, trials, told in ((120.0, None, "2:00"), (5400.0, None, "1:30:00"), (None, 50, "50 trials")):
        stream, _, bar = plain()
        bar.start(seconds, trials, "poise study iris")
        assert lines(stream) == [f"poise study iris: budget {told}"]


def test_the_best_score_stands_in_phases_without_one_but_not_in_the_next_study() -> None:
    stream, _, bar = plain()
    for best in (0.5, None):
        bar.start(120.0, None, "t")
        bar.tell("search", best, 0.1)
        bar.tell("ablation", None, 0.6)
    told = [line for line in lines(stream) if line.startswith(" ")]
    assert ["best 0.5" in line for line in told] == [True, True, False, False]
    assert ["no score yet" in line for line in told] == [False, False, True, True]


def test_a_log_gets_a_line_for_each_phase_and_every_ten_seconds() -> None:
    stream, clock, bar = plain()
    bar.start(120.0, None, "t")
    for second in range(31):
        clock.now = 1000.0 + second
        bar.tell(f"{40 - second} networks to {second}% of 1,200 steps", None if second < 5 else 0.5, second / 120)
    assert [line.split()[0] for line in lines(stream)[1:]] == ["0:00", "0:10", "0:20", "0:30"]
    bar.tell("training the baselines", 0.25, 0.9)
    bar.tell("training the baselines", 0.25, 0.9)
    bar.stop()
    assert lines(stream)[1:3] == [
        "  0:00    0%  no score yet  2:00 left  40 networks to 0% of 1,200 steps",
        "  0:10    8%  best 0.5  1:50 left  30 networks to 10% of 1,200 steps",
    ]
    assert lines(stream)[5:] == ["  0:30   90%  best 0.25  1:30 left  training the baselines"]


def test_a_phase_that_begins_late_is_no_step_back() -> None:
    stream, _, bar = plain()
    bar.start(120.0, None, "t")
    for message, share in (("search", 0.47), ("retraining", 0.41), ("report", 1.0)):
        bar.tell(message, None, share)
    assert re.findall(r"\d+%", "".join(lines(stream))) == ["47%", "47%", "100%"]


def test_without_a_time_budget_the_time_left_is_that_of_the_pace() -> None:
    stream, clock, bar = plain()
    bar.start(None, 50, "t")
    bar.tell("a", None, 0.0)
    clock.now += 30
    bar.tell("b", None, 0.25)
    clock.now += 30
    bar.tell("c", None, 1.0)
    assert [re.findall(r"[\d:]+ left|time left unknown", line) for line in lines(stream)[1:]] == [
        ["time left unknown"],
        ["1:30 left"],
        ["0:00 left"],
    ]


@pytest.mark.parametrize("share", [-1.0, 7.0, float("nan"), float("inf")])
@pytest.mark.parametrize("best", [None, float("nan"), float("inf"), 1e300])
def test_odd_numbers_do_no_harm(share: float, best: float | None) -> None:
    stream, _, bar = plain()
    bar.tell("before the start", best, share)
    bar.start(0.0, None, "t")
    bar.tell("x", best, share)
    bar.stop()
    bar.stop()
    assert "nan" not in lines(stream)[-1]


def test_names_are_shown_as_text() -> None:
    stream, _, bar = plain()
    bar.start(1.0, None, "[red]Größe[/red] \x1b[2J\n" + "x" * 200)
    assert lines(stream)[0].startswith("[red]Größe[/red] \ufffd[2J xxx")
    assert len(lines(stream)) == 1
    assert len(lines(stream)[0]) < 90


def test_a_stream_of_the_c_locale_takes_any_name() -> None:
    stream, _, bar = plain("ascii")
    bar.start(1.0, None, "😀")
    assert lines(stream) == ["\\U0001f600: budget 0:01"]


def test_stdout_stays_empty(capfd: pytest.CaptureFixture[str]) -> None:
    for progress in (ProgressBar(), Quiet()):
        progress.start(1.0, None, "t")
        progress.tell("x", 0.5, 0.5)
        progress.stop()
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 2, "the bar in a log, and nothing of Quiet"


def test_both_are_what_a_study_calls() -> None:
    kinds: list[type[Progress]] = [ProgressBar, Quiet]
    methods = [name for name in vars(Progress) if not name.startswith("_")]
    assert methods == ["start", "tell", "stop"]
    assert all(callable(getattr(kind, name)) for kind in kinds for name in methods)


@contextmanager
def terminal() -> Iterator[tuple[typing.TextIO, list[bytes]]]:
    """Give a terminal, and the list that holds what was written to it once the block has ended."""
    master, slave = pty.openpty()
    seen: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # Linux's way to say that the other end was closed
            while data := os.read(master, 4096):
                seen.append(data)

    thread = threading.Thread(target=read)
    thread.start()
    with os.fdopen(slave, "w", encoding="utf-8") as stream:
        yield stream, seen
    thread.join()
    os.close(master)


def test_a_terminal_gets_a_bar_that_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    before = set(threading.enumerate())
    with terminal() as (stream, seen):
        bar = ProgressBar(stream)
        bar.start(120.0, None, "study of [red]x[/red] :smile:")
        bar.tell("networks [bold]here[/bold]", 0.125, 0.5)
        bar.stop()
    for thread in set(threading.enumerate()) - before:  # told to end, it may still be on its way out
        thread.join(60.0)
        assert not thread.is_alive(), "the bar's own thread has ended"
    text = b"".join(seen).decode()
    assert text.startswith("study of [red]x[/red] :smile:\r\n")
    for told in (" 50%", "2:00 left", "best 0.125", "networks [bold]here"):
        assert told in text
    assert text.endswith("\x1b[2K"), "the bar is gone"
    assert "\x1b[?25h" in text, "the cursor is back"
    lengths = [len(re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", part)) for part in re.split(r"[\r\n]+", text)]
    assert max(lengths) <= 80
