"""One page's connection: its open figures, what they wait for, and the rule that the newest state wins."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Container
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from poise.core.errors import PoiseError
from poise.lab.controls import State
from poise.lab.server.limits import (
    MESSAGES_A_SECOND,
    MESSAGES_AT_ONCE,
    OPEN_FIGURES,
    OVERTAKEN_SECONDS,
    UNREAD_SECONDS,
)
from poise.lab.server.messages import Act, Close, Message, MessageError, Open, Set, parsed
from poise.lab.server.outbox import Outbox
from poise.lab.server.run import Run

if TYPE_CHECKING:
    from poise.lab.server.lab import Lab

__all__ = ["Session"]

VIOLATION = 1008  # the code of a closed connection: policy violation


@dataclass(eq=False)
class Slot:
    """An open figure."""

    key: str
    figure: str
    of: tuple[str, ...]
    state: State
    id: int = 0
    wanted: bool = False  # whether `state` is still to be computed
    task: asyncio.Task[None] | None = None
    begun: float = math.inf  # when a child began with it
    run: Run | None = None
    rank: int = 0  # 1: nobody waits for it


class Session:
    """The conversation with one page."""

    def __init__(self, lab: Lab, socket: WebSocket) -> None:
        self.lab, self.socket = lab, socket
        self.slots: dict[str, Slot] = {}
        self.outbox = Outbox()
        self.loop = asyncio.get_running_loop()

    async def converse(self) -> None:
        """Answer until one side closes."""
        writing = self.loop.create_task(self._write())
        reading = self.loop.create_task(self._read())
        try:
            done, _ = await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (reading, writing):
                task.cancel()
            for slot in self.slots.values():
                self._halt(slot)
            await asyncio.gather(reading, writing, return_exceptions=True)

    # ---- reading ----

    async def _read(self) -> None:
        tokens, before = float(MESSAGES_AT_ONCE), self.loop.time()
        try:
            while True:
                text = await self.socket.receive_text()
                now = self.loop.time()
                tokens, before = min(tokens + (now - before) * MESSAGES_A_SECOND, MESSAGES_AT_ONCE) - 1, now
                if tokens < 0:  # not read meanwhile, the client has to wait
                    await asyncio.sleep(-tokens / MESSAGES_A_SECOND)
                self._do(parsed(text))
        except WebSocketDisconnect:
            return
        except KeyError:  # a binary message: Starlette looks for the text
            await self.socket.close(VIOLATION, "a binary message")
        except MessageError as refused:
            await self.socket.close(VIOLATION, str(refused))

    def _do(self, message: Message) -> None:
        if isinstance(message, Open):
            if message.key in self.slots:
                self._close(message.key)
            if len(self.slots) >= OPEN_FIGURES:
                raise MessageError(f"more than {OPEN_FIGURES} open figures")
            slot = self.slots[message.key] = Slot(message.key, message.figure, message.of, message.state)
            self._compute(slot)
            return
        slot_or_none = self.slots.get(message.key)
        if slot_or_none is None:  # closed a moment ago, as after a reload
            return
        match message:
            case Set():
                self._set(slot_or_none, message)
            case Act():
                self._act(slot_or_none, message)
            case Close():
                self._close(message.key)

    def _set(self, slot: Slot, message: Set) -> None:
        slot.id, slot.state = message.id, message.state
        if slot.run is None:
            self._compute(slot)
        elif slot.run.done or not slot.run.allowed.is_set():  # it stands: the new state is shown at rest
            self._end_run(slot)
            self._compute(slot)
        else:
            self._end_run(slot)
            self._start_run(slot).play()

    def _act(self, slot: Slot, message: Act) -> None:
        slot.id = message.id
        match message.action:
            case "play":
                self._running(slot).play()
            case "step":
                self._running(slot).step()
            case "pause":
                if slot.run is not None and not slot.run.done:
                    slot.run.pause()
            case "reset":
                self._end_run(slot)
                self.outbox.say("playing", {"key": slot.key, "id": slot.id, "playing": False, "done": False})
                self._compute(slot)

    def _close(self, key: str) -> None:
        self._halt(self.slots.pop(key))
        self.outbox.forget(key)

    def _halt(self, slot: Slot) -> None:
        slot.wanted = False
        if slot.task is not None:
            slot.task.cancel()
        self._end_run(slot)

    def refresh(self, runs: Container[tuple[str, ...]]) -> None:
        """Compute the figures of some runs anew; those that are being computed are new enough."""
        for slot in self.slots.values():
            if slot.of in runs and slot.run is None and (slot.task is None or slot.task.done()):
                self._compute(slot, rank=1)

    # ---- frames at rest ----

    def _compute(self, slot: Slot, rank: int = 0) -> None:
        slot.wanted, slot.rank = True, rank
        if slot.task is None or slot.task.done():
            slot.task = self.loop.create_task(self._work(slot))
        elif self.loop.time() - slot.begun > OVERTAKEN_SECONDS:
            slot.task.cancel()  # its end starts the next
            slot.task = self.loop.create_task(self._work(slot))

    async def _work(self, slot: Slot) -> None:
        id = slot.id

        def latest() -> State:
            nonlocal id
            slot.wanted, id = False, slot.id
            return slot.state

        def begun() -> None:
            slot.begun = self.loop.time()

        while slot.wanted:
            slot.begun = math.inf
            try:
                answer = await self.lab.frame(slot.figure, slot.of, latest, slot.rank, begun)
            except PoiseError as error:
                answer = {"error": str(error)}
            if "error" in answer:
                self._fail(slot, answer["error"], id)
            else:
                self.outbox.frame(slot.key, id, answer["message"])

    def _fail(self, slot: Slot, words: str, id: int | None = None) -> None:
        self.outbox.say("error", {"key": slot.key, "id": slot.id if id is None else id, "error": words})

    # ---- runs ----

    def _running(self, slot: Slot) -> Run:
        return slot.run if slot.run is not None and not slot.run.done else self._start_run(slot)

    def _start_run(self, slot: Slot) -> Run:
        for other in self.slots.values():  # one run a page
            self._end_run(other)
        if slot.task is not None:
            slot.wanted = False
            slot.task.cancel()
        key = slot.key

        def show(message: dict[str, Any]) -> None:
            self.outbox.frame(key, slot.id, message)

        def tell(playing: bool, done: bool) -> None:
            self.outbox.say("playing", {"key": key, "id": slot.id, "playing": playing, "done": done})

        request = {"figure": slot.figure, "of": slot.of, "state": slot.state}
        slot.run = Run(
            self.lab.nursery,
            self.lab.seats,
            request,
            show,
            tell,
            lambda words: self._fail(slot, words),
            lambda: self.outbox.free(key),
        )
        return slot.run

    def _end_run(self, slot: Slot) -> None:
        if slot.run is not None:
            if not slot.run.done:
                slot.run.tell(False, False)
            slot.run.end()
            slot.run = None

    # ---- writing ----

    async def _write(self) -> None:
        while True:
            message = await self.outbox.next()
            text = json.dumps(message, separators=(",", ":"), allow_nan=False)
            try:
                async with asyncio.timeout(UNREAD_SECONDS):
                    await self.socket.send_text(text)
            except (TimeoutError, WebSocketDisconnect, RuntimeError):
                with contextlib.suppress(Exception):
                    self.lab.cut(self.socket)
                return
