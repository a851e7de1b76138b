"""What a study says while it runs: a bar on a terminal, a line now and then in a log, or nothing. Always on stderr."""

from __future__ import annotations

import math
import os
import re
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TextIO

from poise.core.errors import counted
from poise.study.figures_text import cut

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

__all__ = ["Progress", "ProgressBar", "Quiet"]

PAUSE = 10.0  # seconds between two plain lines of one phase


class Progress(Protocol):
    """What a study calls; `share` is the part of the work that is done, `best` the best validation score so far."""

    def start(self, total_seconds: float | None, total_trials: int | None, title: str) -> None:
        """Begin; of the two totals the one that is the budget is given."""

    def tell(self, message: str, best: float | None, share: float) -> None:
        """Say what is running now."""

    def stop(self) -> None:
        """End, whether or not all is done; the terminal is as it was before."""


class Quiet:
    """Says nothing."""

    def start(self, total_seconds: float | None, total_trials: int | None, title: str) -> None:
        """Begin."""

    def tell(self, message: str, best: float | None, share: float) -> None:
        """Go on."""

    def stop(self) -> None:
        """End."""


class ProgressBar:
    """A bar with the elapsed time, the time left, the best score and what is running.

    Where stderr is no terminal (a log, a notebook's cell), one plain line when the phase changes, else every 10 s.
    Titles and messages may hold names from the user's table; they are shown as text, never as markup or control codes.

    `stream`, `clock`: for tests; stderr and the monotonic clock.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._seconds: float | None = None
        self._began = 0.0
        self._said: tuple[str, float] = ("", -math.inf)  # the last plain line's phase and time
        self._best, self._share = "no score yet", 0.0
        self._bar: tuple[RichProgress, TaskID] | None = None

    def start(self, total_seconds: float | None, total_trials: int | None, title: str) -> None:
        """Show the title and the budget."""
        self.stop()
        self._seconds, self._began, self._said = total_seconds, self._clock(), ("", -math.inf)
        self._best, self._share = "no score yet", 0.0
        budget = counted(total_trials or 0, "trial") if total_seconds is None else _minutes(total_seconds)
        title = cut(title, 60)
        stream = self._stream or sys.stderr
        if stream.isatty() and os.environ.get("TERM") != "dumb":
            self._bar = _bar(stream, title)
        else:
            _line(stream, f"{title}: budget {budget}")

    def tell(self, message: str, best: float | None, share: float) -> None:
        """Move the bar, or print a line if it is time for one."""
        share = min(max(share, self._share), 1.0) if math.isfinite(share) else self._share
        self._share = share  # a phase that took less or more than its part of the budget is no step back
        now = self._clock()
        spent = now - self._began
        if best is not None and math.isfinite(best):
            self._best = f"best {best:.4g}"  # stands in the later phases, which have no score of their own
        message, left = cut(message, 60), self._left(spent, share)
        if self._bar is not None:
            bar, task = self._bar
            bar.update(task, completed=share, description=message, best=self._best, left=left)
            return
        # Numbers in a message count on within one phase: "27 networks to 11%", then "9 networks to 33%".
        phase = re.sub(r"[\d.,]+", "", message)
        if phase != self._said[0] or now - self._said[1] >= PAUSE:
            self._said = phase, now
            _line(self._stream or sys.stderr, f"  {_minutes(spent)}  {share:4.0%}  {self._best}  {left}  {message}")

    def stop(self) -> None:
        """Take the bar away; a second call does nothing."""
        if self._bar is not None:
            bar, self._bar = self._bar[0], None
            bar.stop()

    def _left(self, spent: float, share: float) -> str:
        """Return the time left: what the budget leaves, or what the pace so far promises."""
        if self._seconds is not None:
            return f"{_minutes(max(0.0, self._seconds - spent))} left"
        return f"{_minutes(spent * (1 - share) / share)} left" if share > 0.02 else "time left unknown"


def _minutes(seconds: float) -> str:
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def _line(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    # A terminal in the C locale cannot show every name; a study must not end for that.
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()


def _bar(stream: TextIO, title: str) -> tuple[RichProgress, TaskID]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.table import Column
    from rich.text import Text

    console = Console(file=stream, force_terminal=True)
    console.print(Text(title))
    cell = Column(no_wrap=True)
    bar = Progress(
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", markup=False, table_column=cell.copy()),
        TextColumn("{task.fields[best]}", markup=False, style="bold", table_column=cell.copy()),
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
        console=console,
        refresh_per_second=4,
        expand=True,
        transient=True,
        redirect_stdout=False,  # it may be piped; stderr is redirected, so that warnings stand above the bar
    )
    bar.start()
    return bar, bar.add_task("starting", total=1.0, left="", best="no score yet")
