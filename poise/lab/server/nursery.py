"""The process that the children are forked from: torch and the figures are imported in it once, then it only forks.

`python -m poise.lab.server.nursery FD` gets a socket. The first message to it says what to load; it answers with the
chapter as data. Then every byte F, sent with a socket, is a child to fork for that socket; every K and a number is a
child to kill. When the socket is closed (the server is gone, whatever the reason) all children are killed.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
from types import FrameType
from typing import Any

from poise.core.errors import PoiseError
from poise.lab.server import wire
from poise.lab.server.child import Child, die_with_the_parent

__all__ = ["FORK", "KILL", "main"]

FORK, KILL = b"F", b"K"
COMMAND_BYTES = 9  # a letter and a number of eight bytes


def main(control: socket.socket) -> None:
    """Load, report, and fork until the server is gone."""
    die_with_the_parent()
    order = wire.receive(control)
    if order is None:
        return
    sys.path[:] = order["path"]
    try:
        import torch

        torch.set_num_threads(1)
        from poise.lab.catalog import load

        catalog = load(order)
        wire.send(control, {"chapter": catalog.chapter()})
    except PoiseError as error:
        wire.send(control, {"error": str(error)})
        return
    # What was imported is never freed: without this, the children's garbage collector would copy its pages.
    gc.collect()
    gc.freeze()
    alive: set[int] = set()

    def reap(_signal: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ChildProcessError):
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                alive.discard(pid)

    signal.signal(signal.SIGCHLD, reap)
    try:
        while True:
            try:
                command, descriptors, _, _ = socket.recv_fds(control, COMMAND_BYTES, 1)
            except ConnectionResetError:
                return
            if len(command) < COMMAND_BYTES:
                return
            number = int.from_bytes(command[1:], "big")
            if command[:1] == KILL:
                # Only the parent can know that a number still means its child, and not a process that came later.
                if number in alive:
                    os.kill(number, signal.SIGKILL)
                continue
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
            pid = os.fork()
            if pid == 0:
                _be_a_child(control, descriptors[0], catalog, playing=number == 1)
            alive.add(pid)
            os.close(descriptors[0])
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    finally:
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _be_a_child(control: socket.socket, descriptor: int, catalog: Any, playing: bool) -> None:
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
