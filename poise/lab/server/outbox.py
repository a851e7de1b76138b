"""What waits to be sent to one client: the newest of each kind for each figure, so that it cannot grow."""

from __future__ import annotations

import asyncio
from typing import Any

from poise.lab.patch import SAME, difference

__all__ = ["Outbox"]

JsonObject = dict[str, Any]


class Outbox:
    """The queue of a connection. A figure has at most one frame, one error and one note on playing in it."""

    def __init__(self) -> None:
        self.waiting: dict[tuple[str, str], JsonObject] = {}
        self.sent: dict[
            str, tuple[int, JsonObject]
        ] = {}  # the id and the frame that the client has, by the figure's key
        self.filled = asyncio.Event()
        self.taken: dict[str, asyncio.Event] = {}

    def frame(self, key: str, id: int, message: JsonObject) -> None:
        """Have a frame sent, in the place of one that still waits."""
        self.waiting[key, "frame"] = {"key": key, "id": id, "message": message}
        self._fill()

    def say(self, kind: str, message: JsonObject) -> None:
        """Have an error or a note on playing sent after all that waits."""
        self.waiting.pop((message["key"], kind), None)
        self.waiting[message["key"], kind] = message
        self._fill()

    def forget(self, key: str) -> None:
        """Drop what waits for a figure, and what its client has."""
        for kind in ("frame", "error", "playing"):
            self.waiting.pop((key, kind), None)
        self.sent.pop(key, None)
        self._emptied(key)

    async def free(self, key: str) -> None:
        """Wait until a figure's frame has been taken: a run goes no faster than it is read."""
        while (key, "frame") in self.waiting:
            await self.taken.setdefault(key, asyncio.Event()).wait()

    async def next(self) -> JsonObject:
        """Return the next message to send, a frame as the difference from the one sent before."""
        while True:
            while not self.waiting:
                self.filled.clear()
                await self.filled.wait()
            key, kind = next(iter(self.waiting))
            message = self.waiting.pop((key, kind))
            if kind != "frame":
                return message
            self._emptied(key)
            id, new = message["id"], message["message"]
            before = self.sent.get(key)
            self.sent[key] = (id, new)
            if before is None:
                return {"key": key, "id": id, "patch": {"$set": new}}
            # The same frame for the same request: a run that was looked at again and has not changed.
            patch = difference(before[1], new)
            if before[0] != id or patch is not SAME:
                return {"key": key, "id": id, "patch": patch}

    def _fill(self) -> None:
        self.filled.set()

    def _emptied(self, key: str) -> None:
        if key in self.taken:
            self.taken.pop(key).set()
