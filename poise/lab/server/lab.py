"""A running lab: its children, what they have computed already, and the user's runs by id."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket

from poise.core.errors import PoiseError, StudyError
from poise.lab.controls import State, Value
from poise.lab.server.limits import FILE_SECONDS, REMEMBERED_BYTES, STREAMS, WATCH_SECONDS
from poise.lab.server.pool import Nursery, Pool

if TYPE_CHECKING:
    from poise.lab.server.session import Session

__all__ = ["Lab"]

Name = tuple[str, tuple[tuple[str, bool, Value], ...]]  # of a figure in a state


class Lab:
    """What all pages of one server share. `places` are the folders and files of the user's runs, `image` a picture."""

    def __init__(self, places: Sequence[str] = (), image: str | None = None, source: str = "poise.lab.shelf") -> None:
        self.nursery = Nursery({"source": source, "places": list(places), "image": image})
        self.pool = Pool(self.nursery)
        self.seats = asyncio.Semaphore(STREAMS)
        self.sessions: set[Session] = set()
        self.chapter: dict[str, Any] = {}
        self.ready = asyncio.Event()
        self.loaded = asyncio.Event()  # the user's runs
        self.failed: PoiseError | None = None
        self.known: OrderedDict[Name, tuple[dict[str, Any], int]] = OrderedDict()
        self.known_bytes = 0
        self.runs_first = bool(places)  # whoever names runs wants to see them
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Load the figures, warm the children, and compute every figure at rest. Raises: PoiseError."""
        try:
            self.chapter = await self.nursery.load()
        except PoiseError as error:
            self.failed = error
            raise
        finally:
            self.ready.set()
        await self.pool.start()
        self.tasks = [asyncio.create_task(self._warm()), asyncio.create_task(self._watch())]
        try:
            await self.nursery.load_runs()
        except PoiseError as error:
            self.failed = error
            raise
        finally:
            self.loaded.set()
        self.pool.renew()

    def close(self) -> None:
        """End all children."""
        for task in self.tasks:
            task.cancel()
        self.pool.close()
        self.nursery.close()

    # ---- frames and pages ----

    async def frame(
        self,
        figure: str,
        of: Sequence[str],
        latest: Callable[[], State],
        rank: int = 0,
        begun: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        """Return {"message"} or {"error"} of a figure in its latest state. Raises: PoiseError.

        `latest` is asked when a child is free to compute, and `begun` called then.
        """
        state = latest()
        name = _name(figure, state)
        if not of and name in self.known:
            self.known.move_to_end(name)
            return self.known[name][0]
        if of:
            await self.loaded.wait()

        def request() -> dict[str, Any]:
            nonlocal state
            begun()
            state = latest()
            return {"do": "frame", "figure": figure, "of": of, "state": state}

        text = await self.pool.run((figure, tuple(of)), request, rank)
        answer: dict[str, Any] = json.loads(text)
        if not of and "message" in answer:
            self._remember(_name(figure, state), answer, len(text))
        return answer

    async def page(self, name: str, of: Sequence[str] = ()) -> dict[str, Any]:
        """Return what a page of the user's runs says. Raises: StudyError with the reason if it says nothing."""
        await self.loaded.wait()
        answer: dict[str, Any] = json.loads(await self._asked({"do": "page", "page": name, "of": of}))
        if "error" in answer:
            raise StudyError(answer["error"])
        page: dict[str, Any] = answer["page"]
        return page

    async def export(self, figure: str, of: Sequence[str], state: State) -> str:
        """Return a figure as one HTML file that works alone. Raises: StudyError with the reason if it cannot be."""
        if of:
            await self.loaded.wait()
        request = {"do": "export", "figure": figure, "of": list(of), "state": dict(state)}
        async with self.seats:  # it computes for as long as a run plays; the sliders must not wait for it
            worker = await self.nursery.fork(playing=True)
            try:
                answer: dict[str, Any] = json.loads(await worker.ask(request, FILE_SECONDS))
            finally:
                worker.end()
        if "error" in answer:
            raise StudyError(answer["error"])
        return str(answer["html"])

    def cut(self, socket: WebSocket) -> None:
        """Break a connection off without waiting for its client to read."""
        socket.scope["extensions"]["poise.cut"]()

    # ---- inside ----

    async def _asked(self, request: Mapping[str, Any], rank: int = 0) -> bytes:
        return await self.pool.run(("", request["of"]), lambda: request, rank)

    def _remember(self, name: Name, answer: Mapping[str, Any], size: int) -> None:
        if name not in self.known:
            self.known[name] = (dict(answer), size)
            self.known_bytes += size
        while self.known_bytes > REMEMBERED_BYTES:
            self.known_bytes -= self.known.popitem(last=False)[1][1]

    async def _warm(self) -> None:
        """Compute the figures at rest, in the order of the page, after whatever a client waits for."""
        if self.runs_first:
            await self.loaded.wait()
        for id, spec in self.chapter["figures"].items():
            with contextlib.suppress(PoiseError):
                state = {control["name"]: control["start"] for control in spec["controls"]}
                await self.frame(id, (), lambda state=state: state, rank=1)  # type: ignore[misc]

    def at_rest(self, id: str) -> dict[str, Any] | None:
        """Return the frame of a figure at rest, if it is known by now."""
        state = {control["name"]: control["start"] for control in self.chapter["figures"][id]["controls"]}
        known = self.known.get(_name(id, state))
        return None if known is None else known[0]["message"]

    async def _watch(self) -> None:
        """Look once a second at the runs whose figures are open; those that still change are drawn anew."""
        before: set[tuple[str, ...]] = set()
        await self.loaded.wait()
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            now = set()
            for of in {slot.of for session in self.sessions for slot in session.slots.values() if slot.of}:
                with contextlib.suppress(PoiseError):
                    if json.loads(await self._asked({"do": "live", "of": of}, rank=1)).get("live"):
                        now.add(of)
            for session in list(self.sessions):
                session.refresh(now | before)  # once more when it has ended: its result is there by then
            before = now


def _name(figure: str, state: State) -> Name:
    # Equal numbers are one name, as JavaScript writes 1.0 as 1; but true is not 1.
    return figure, tuple(sorted((name, isinstance(value, bool), value) for name, value in state.items()))
