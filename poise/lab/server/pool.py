"""The children as the server sees them: a warm few that answer sliders, and one for each run that plays."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from poise.core.errors import PoiseError
from poise.lab.server import wire
from poise.lab.server.limits import CHILDREN, JOB_SECONDS, OVERTAKEN_SECONDS, REPLY_BYTES

__all__ = ["ChildError", "Nursery", "Pool", "Worker"]

ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}  # a fork has one thread only


class ChildError(PoiseError):
    """A child ended or was ended before it had answered; the words are for the reader of the page."""


class Nursery:
    """The process that forks the children."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        self.channel, theirs = socket.socketpair()
        self.channels = [self.channel]  # the last is the one in use
        self.workers: set[Worker] = set()  # that are alive
        command = [sys.executable, "-m", "poise.lab.server.nursery", str(theirs.fileno())]
        self.process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno() if _has_descriptor() else None,
            env={**os.environ, **ONE_THREAD},
            start_new_session=True,  # a Ctrl-C in the terminal is the server's to handle
        )
        theirs.close()
        wire.send(self.channel, {"path": sys.path, **order})

    async def load(self) -> dict[str, Any]:
        """Return the chapter as data, when it is there. Raises: PoiseError when it cannot be loaded."""
        return dict((await self._answer(self.channel))["chapter"])

    async def load_runs(self) -> None:
        """Open the user's runs; children forked later have them. Raises: PoiseError."""
        ours, theirs = socket.socketpair()
        self.channels.append(ours)
        with theirs:
            socket.send_fds(self.channel, [wire.command(wire.LOAD)], [theirs.fileno()])
        await self._answer(ours)
        self.channel = ours

    async def _answer(self, channel: socket.socket) -> dict[str, Any]:
        answer = await asyncio.to_thread(_received, channel)
        if answer is None:
            raise PoiseError("the figures of the lab could not be loaded; the reason stands above. Install it anew.")
        if "error" in answer:
            raise PoiseError(answer["error"])
        return answer

    async def fork(self, playing: bool = False) -> Worker:
        """Return a new child."""
        channel = self.channel
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            socket.send_fds(channel, [wire.command(wire.FORK, int(playing))], [theirs.fileno()])
        except OSError as error:
            ours.close()
            raise ChildError("The lab has ended. Start it again.") from error
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours, limit=REPLY_BYTES)
        try:
            hello = json.loads(await wire.read(reader))
        except (asyncio.IncompleteReadError, OSError) as error:
            writer.close()
            raise ChildError("The lab has ended. Start it again.") from error
        except asyncio.CancelledError:
            writer.close()  # the lab ends while its children start
            raise
        worker = Worker(self, channel, hello["pid"], reader, writer)
        self.workers.add(worker)
        return worker

    def close(self) -> None:
        """End every child and the process itself."""
        for worker in list(self.workers):
            worker.end()
        for channel in self.channels:
            with contextlib.suppress(OSError):
                channel.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits for an answer; closing would not
            channel.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # it may be busy with imports; the group is its children
        self.process.wait()


def _received(channel: socket.socket) -> dict[str, Any] | None:
    try:
        return wire.receive(channel)
    except OSError:
        return None


def _has_descriptor() -> bool:
    try:
        return sys.stderr.fileno() >= 0
    except (OSError, ValueError, AttributeError):
        return False


class Worker:
    """One child: asked one thing at a time."""

    def __init__(
        self,
        nursery: Nursery,
        parent: socket.socket,
        pid: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.nursery, self.parent, self.pid, self.reader, self.writer = nursery, parent, pid, reader, writer
        self.alive = True
        self.generation = 0
        self.last: object = None  # what it did last: its caches are warm for that

    async def ask(self, request: Mapping[str, Any], seconds: float = JOB_SECONDS) -> bytes:
        """Return the answer as JSON. Raises: ChildError when there is none; the child is ended then."""
        try:
            async with asyncio.timeout(seconds):
                await wire.write(self.writer, dict(request))
                return await wire.read(self.reader)
        except TimeoutError as error:
            self.end()
            raise ChildError(f"This took more than {seconds:g} s and was stopped. Choose smaller values.") from error
        except (asyncio.IncompleteReadError, OSError) as error:
            self.end()
            raise ChildError("The computation ended before it was done. Choose other values.") from error

    def end(self) -> None:
        """Kill it."""
        if self.alive:
            self.alive = False
            self.nursery.workers.discard(self)
            with contextlib.suppress(OSError):
                self.parent.send(wire.command(wire.KILL, self.pid))
            self.writer.close()


class Pool:
    """The warm children. Jobs wait in the order of their rank, then of their coming."""

    def __init__(self, nursery: Nursery, count: int = CHILDREN) -> None:
        self.nursery = nursery
        self.count = count
        self.idle: list[Worker] = []
        self.waiting: list[tuple[int, int, object, asyncio.Future[Worker]]] = []
        self.order = itertools.count()
        self.tasks: set[asyncio.Task[None]] = set()
        self.closed = False
        self.generation = 0  # of the children; older ones are replaced

    async def start(self) -> None:
        """Fork the children."""
        for worker in await asyncio.gather(*(self._fork() for _ in range(self.count))):
            self._give(worker)

    async def run(self, about: object, request: Callable[[], Mapping[str, Any]], rank: int = 0) -> bytes:
        """Have a child answer a request, and return its answer as JSON. Cancelling it frees or ends the child.

        The request is made when a child is free for it, not before: a state that is newer by then is computed instead.
        """
        worker = await self._take(about, rank)
        worker.last = about
        asked = asyncio.ensure_future(worker.ask(request()))
        try:
            answer = await asyncio.shield(asked)
        except asyncio.CancelledError:
            self._later(self._outlive(worker, asked))
            raise
        except ChildError:
            self._later(self._replace(worker))
            raise
        self._give(worker)
        return answer

    def renew(self) -> None:
        """Replace every child, at once or when it has answered: the nursery has loaded more."""
        self.generation += 1
        old, self.idle = self.idle, []
        for worker in old:
            self._give(worker)

    def close(self) -> None:
        """Fork no child any more."""
        self.closed = True

    # ---- inside ----

    async def _take(self, about: object, rank: int) -> Worker:
        if self.idle:
            # The one whose caches are warm; else the one that has been idle longest, whose caches matter least.
            found = next((worker for worker in reversed(self.idle) if worker.last == about), self.idle[0])
            self.idle.remove(found)
            return found
        future: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        heapq.heappush(self.waiting, (rank, next(self.order), about, future))
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._give(future.result())
            raise

    def _give(self, worker: Worker) -> None:
        if self.closed:
            worker.end()
            return
        if worker.generation < self.generation:
            self._later(self._replace(worker))
            return
        while self.waiting:
            future = heapq.heappop(self.waiting)[-1]
            if not future.done():
                future.set_result(worker)
                return
        self.idle.append(worker)

    async def _outlive(self, worker: Worker, asked: asyncio.Future[bytes]) -> None:
        """Let a job that nobody waits for come to its end, or end its child: its caches are worth a moment."""
        try:
            async with asyncio.timeout(OVERTAKEN_SECONDS):
                await asked
        except (TimeoutError, ChildError):
            await self._replace(worker)
        else:
            self._give(worker)

    async def _replace(self, worker: Worker) -> None:
        worker.end()
        if not self.closed:
            with contextlib.suppress(ChildError):
                self._give(await self._fork())

    async def _fork(self) -> Worker:
        generation = self.generation
        worker = await self.nursery.fork()
        worker.generation = generation
        return worker

    def _later(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
