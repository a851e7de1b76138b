"""The process that the children are forked from: torch and the figures are imported in it once, then it only forks.

`python -m poise.lab.server.nursery FD` gets a socket. The first message to it says what to load; it answers with the
chapter as data. Each later command is a letter and a number: F, sent with a socket, has a child forked for it; K has a
child killed; L, sent with a socket, has a successor forked, which opens the user's runs (that takes seconds, in which
this one goes on), says so through its socket, and then follows commands from there. When the socket is closed (the
server is gone, whatever the reason) all children are killed.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING

from poise.core.errors import PoiseError
from poise.lab.server import wire
from poise.lab.server.child import Child, die_with_the_parent

if TYPE_CHECKING:
    from poise.lab.catalog import Catalog

__all__ = ["main"]


def main(control: socket.socket) -> None:
    """Load, report, and do as it is told until the server is gone."""
    die_with_the_parent()
    order = wire.receive(control)
    if order is None:
        return
    sys.path[:] = order["path"]
    # Arrow's own pool reserves a gigabyte at pandas' first text column: a child would be over its limit at once.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    import torch

    torch.set_num_threads(1)
    from poise.lab.catalog import load

    try:
        nursery = _Nursery(control, load(order), order["places"])
        wire.send(control, {"chapter": nursery.catalog.chapter()})
        nursery.serve()
    except PoiseError as error:
        wire.send(control, {"error": str(error)})


class _Nursery:
    """The loaded catalog and the children that are alive."""

    def __init__(self, control: socket.socket, catalog: Catalog, places: Sequence[str]) -> None:
        self.control, self.catalog, self.places = control, catalog, places
        self.alive: set[int] = set()
        signal.signal(signal.SIGCHLD, self._reap)
        _freeze()

    def serve(self) -> None:
        """Follow commands until the server is gone, then kill the children."""
        try:
            while (command := self._next()) is not None:
                letter, number, descriptors = command
                match letter:
                    case wire.FORK:
                        self._fork(descriptors[0], playing=number == 1)
                    case wire.KILL if number in self.alive:
                        # Only the parent knows that a number still means its child, and no process that came later.
                        os.kill(number, signal.SIGKILL)
                    case wire.LOAD:
                        self._succeed(descriptors[0])
        finally:
            for pid in self.alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _next(self) -> tuple[bytes, int, list[int]] | None:
        try:
            command, descriptors, _, _ = socket.recv_fds(self.control, wire.COMMAND_BYTES, 1)
        except ConnectionResetError:
            return None
        if len(command) < wire.COMMAND_BYTES:
            return None
        return command[:1], int.from_bytes(command[1:], "big"), descriptors

    def _fork(self, descriptor: int, playing: bool) -> None:
        # A child that ended before it is noted down as alive would be noted for good.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        pid = os.fork()
        if pid == 0:
            _be_a_child(self.control, descriptor, self.catalog, playing)
        self.alive.add(pid)
        os.close(descriptor)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})

    def _succeed(self, descriptor: int) -> None:
        if os.fork() != 0:
            os.close(descriptor)
            return
        die_with_the_parent()
        self.control.close()
        self.control, self.alive = socket.socket(fileno=descriptor), set()
        try:
            self.catalog = self.catalog.with_runs(self.places)
            # torch.optim imports it at an optimizer's first step: a second in each child, unless it is here already.
        except PoiseError as error:
            wire.send(self.control, {"error": str(error)})
            os._exit(1)
        _freeze()
        wire.send(self.control, {"loaded": True})

    def _reap(self, _signal: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ChildProcessError):
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                self.alive.discard(pid)


def _freeze() -> None:
    # What was imported is never freed: without this, the children's garbage collectors would copy its pages.
    gc.collect()
    gc.freeze()


def _be_a_child(control: socket.socket, descriptor: int, catalog: Catalog, playing: bool) -> None:
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        control.close()
        Child(socket.socket(fileno=descriptor), catalog, playing).serve()
        code = 0
    except (BrokenPipeError, ConnectionResetError):
        code = 0  # the server has no use for the answer any more
    finally:
        sys.stderr.flush()
        os._exit(code)  # the parent's exit handlers are not the child's


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
