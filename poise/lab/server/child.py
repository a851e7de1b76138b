"""A child: computes frames and pages, or plays one run, until it is told to end, ends itself, or is killed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from poise.core.errors import PoiseError, shown
from poise.lab.base import Figure
from poise.lab.controls import State
from poise.lab.server import wire
from poise.lab.server.limits import EXPORT_BYTES, EXPORT_FRAMES, EXPORT_SECONDS, JOB_BYTES, STREAM_SECONDS

__all__ = ["Child", "die_with_the_parent"]

PR_SET_PDEATHSIG = 1  # from <linux/prctl.h>
OUT_OF_MEMORY = f"This needs more than {JOB_BYTES // 2**20} MiB of memory. Choose smaller values."


class Child:
    """One child. `playing` ones yield to the sliders: they run at a lower priority and for a limited time."""

    def __init__(self, channel: socket.socket, catalog: Any, playing: bool) -> None:
        die_with_the_parent()
        _cap(playing)
        self.channel, self.catalog = channel, catalog
        self.frames: Iterator[dict[str, Any]] = iter(())

    def serve(self) -> None:
        """Answer requests until the server closes the channel."""
        wire.send(self.channel, {"pid": os.getpid()})
        while (request := wire.receive(self.channel)) is not None:
            try:
                wire.send(self.channel, self.answer(request))
            except ValueError as error:  # raised before a byte is sent: NaN where JSON has none, or far too much
                wire.send(self.channel, {"error": f"The figure cannot be sent: {shown(str(error), 200)}."})

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to one request; what goes wrong is told in words."""
        try:
            return self._answer(request)
        except PoiseError as error:
            return {"error": str(error)}
        except MemoryError:
            return {"error": OUT_OF_MEMORY}
        except Exception as error:  # noqa: BLE001  # a figure may fail in any way; the page says so and goes on
            if "can't allocate memory" in str(error):  # torch's way
                return {"error": OUT_OF_MEMORY}
            traceback.print_exc(file=sys.stderr)
            return {"error": f"The figure failed: {type(error).__name__}: {shown(str(error), 200)}."}

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        of = request.get("of", ())
        match request["do"]:
            case "frame":
                figure = self.catalog.figure(request["figure"], of)
                state = figure.checked(request["state"])
                return {"message": figure.message(state, figure.compute(state))}
            case "stream":
                figure = self.catalog.figure(request["figure"], of)
                state = figure.checked(request["state"])
                self.frames = (figure.message(state, frame) for frame in figure.stream(state))
                return {"ready": True}
            case "next":
                message = next(self.frames, None)
                return {"end": True} if message is None else {"message": message}
            case "page":
                return {"page": self.catalog.page(request["page"], of)}
            case "export":
                figure = self.catalog.figure(request["figure"], of)
                return {"html": _exported(figure, figure.checked(request["state"]))}
            case "live":
                return {"live": self.catalog.live(of)}
        raise ValueError(f"no such request: {shown(request['do'])}")


def _exported(figure: Figure, state: State) -> str:
    from poise.lab.export import Limits, page_html, stored

    return page_html(stored(figure, Limits(EXPORT_FRAMES, EXPORT_BYTES, EXPORT_SECONDS), state=state))


def die_with_the_parent() -> None:
    """Have the system kill this process when its parent ends, where the system can (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _cap(playing: bool) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if playing:
        os.nice(5)
        resource.setrlimit(resource.RLIMIT_CPU, (STREAM_SECONDS, STREAM_SECONDS))
    # Of what malloc and mmap give; the address space would count what torch has only reserved.
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
        most = pages * os.sysconf("SC_PAGE_SIZE") + JOB_BYTES
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
