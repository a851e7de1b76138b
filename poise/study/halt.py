"""When training must end early: a deadline, or Ctrl-C, which worker processes learn of through a file."""

from __future__ import annotations

import math
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

__all__ = ["Halt", "halt_at_ctrl_c"]


@dataclass(frozen=True)
class Halt:
    """Asked between evaluations, in any process. `deadline` is in `time.time` seconds; `flag` is a file's path."""

    deadline: float = math.inf
    flag: str = ""

    def asked(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return bool(self.flag) and os.path.exists(self.flag)

    def due(self) -> bool:
        """Whether training should end at once."""
        return time.time() > self.deadline or self.asked()

    def by(self, deadline: float) -> Halt:
        """Return this with an earlier deadline."""
        return replace(self, deadline=min(self.deadline, deadline))


@contextmanager
def halt_at_ctrl_c() -> Iterator[Halt]:
    """Turn the first Ctrl-C inside into a flag, so that what is training is evaluated and kept; the second one raises.

    Outside the main thread, where Python delivers no signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield Halt()
        return
    with tempfile.TemporaryDirectory(prefix="poise-") as folder:
        flag = Path(folder) / "halt"

        def first(_number: int, _frame: FrameType | None) -> None:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            flag.touch()

        before = signal.signal(signal.SIGINT, first)
        try:
            yield Halt(flag=str(flag))
        finally:
            signal.signal(signal.SIGINT, before)
