"""One figure's run as it plays: pulled frame by frame from a child of its own, never faster than it is read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from poise.lab.server.limits import FRAME_SECONDS, PAUSED_SECONDS
from poise.lab.server.pool import ChildError, Nursery, Worker

__all__ = ["Run"]

FULL = "Other runs are playing, and this one starts when one of them ends."


class Run:
    """A run of one state. `show` takes its frames, `tell` (playing, done), `fail` words."""

    def __init__(
        self,
        nursery: Nursery,
        seats: asyncio.Semaphore,
        request: Mapping[str, Any],
        show: Callable[[dict[str, Any]], None],
        tell: Callable[[bool, bool], None],
        fail: Callable[[str], None],
        free: Callable[[], Any],
    ) -> None:
        self.nursery, self.seats, self.request = nursery, seats, request
        self.show, self.tell, self.fail, self.free = show, tell, fail, free
        self.allowed = asyncio.Event()
        self.steps = 0  # that may still be taken while paused
        self.done = False
        self.task = asyncio.get_running_loop().create_task(self._play())

    def play(self) -> None:
        """Go on."""
        self.steps = -1
        self.allowed.set()
        self.tell(True, False)

    def pause(self) -> None:
        """Halt; the frame that is being made is kept for the next step."""
        self.steps = 0
        self.allowed.clear()
        self.tell(False, self.done)

    def step(self) -> None:
        """Take one frame, then halt."""
        self.steps = max(self.steps, 0) + 1
        self.allowed.set()
        self.tell(False, False)

    def end(self) -> None:
        """End it for good."""
        self.task.cancel()

    async def _play(self) -> None:
        if self.seats.locked():
            self.fail(FULL)
        try:
            async with self.seats:
                worker = await self.nursery.fork(playing=True)
                try:
                    await self._frames(worker)
                finally:
                    worker.end()
            self.done = True
            self.tell(False, True)
        except ChildError as gone:
            self.done = True
            self.fail(str(gone))
            self.tell(False, False)

    async def _frames(self, worker: Worker) -> None:
        loop = asyncio.get_running_loop()
        await _asked(worker, {**self.request, "do": "stream"})
        due = loop.time()
        while True:
            answer = await _asked(worker, {"do": "next"})
            if "end" in answer:
                return
            await self.free()
            await asyncio.sleep(max(0.0, due - loop.time()))
            await self._may()  # last: a frame that was ready when the run was paused is the first step's
            due = loop.time() + FRAME_SECONDS
            self.show(answer["message"])

    async def _may(self) -> None:
        try:
            async with asyncio.timeout(PAUSED_SECONDS):
                await self.allowed.wait()
        except TimeoutError as error:
            raise ChildError("The run was paused for long and has ended. Press play to start it anew.") from error
        if self.steps > 0:
            self.steps -= 1
            if self.steps == 0:
                self.allowed.clear()


async def _asked(worker: Worker, request: Mapping[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(await worker.ask(request))
    if "error" in answer:
        raise ChildError(answer["error"])
    return answer
