"""A running lab: its children, what they have computed already, and the user's runs by id."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket

from poise.core.errors import PoiseError, StudyError
from poise.lab.controls import State
from poise.lab.server.limits import REMEMBERED_BYTES, STREAMS, WATCH_SECONDS
from poise.lab.server.pool import Nursery, Pool

if TYPE_CHECKING:
    from poise.lab.server.session import Session

__all__ = ["Lab"]

NO_RUN = "There is no such run any more. Go back to the list of runs."


class Lab:
    """What all pages of one server share. `roots` are the folders and files of runs given on the command line."""

    def __init__(
        self, source: str = "poise.lab.shelf", roots: Sequence[Path] = (), images: Sequence[Path] = ()
    ) -> None:
        self.roots = tuple(root.resolve() for root in roots)
        self.nursery = Nursery({"source": source, "images": [str(image.resolve()) for image in images]})
        self.pool = Pool(self.nursery)
        self.places = asyncio.Semaphore(STREAMS)
        self.sessions: set[Session] = set()
        self.runs: dict[str, Path] = {}
        self.chapter: dict[str, Any] = {}
        self.ready = asyncio.Event()
        self.failed: PoiseError | None = None
        self.known: OrderedDict[str, tuple[dict[str, Any], int]] = OrderedDict()
        self.known_bytes = 0
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

    def close(self) -> None:
        """End all children."""
        for task in self.tasks:
            task.cancel()
        self.pool.close()
        self.nursery.close()

    # ---- frames and pages ----

    async def frame(self, figure: str, of: Sequence[str], state: State, rank: int = 0) -> dict[str, Any]:
        """Return {"message"} or {"error"} of a figure in a state. Raises: PoiseError."""
        name = _name(figure, state)
        if not of and name in self.known:
            self.known.move_to_end(name)
            return self.known[name][0]
        request = {"do": "frame", "figure": figure, "of": self.paths(of), "state": dict(state)}
        text = await self.pool.run(request, rank)
        answer: dict[str, Any] = json.loads(text)
        if not of and "message" in answer:
            self._remember(name, answer, len(text))
        return answer

    async def page(self, name: str, of: Sequence[str] = ()) -> dict[str, Any]:
        """Return a page of the user's own runs as data, or {"error"}."""
        paths = [str(root) for root in self.roots] if name == "runs" else self.paths(of)
        answer: dict[str, Any] = json.loads(await self.pool.run({"do": "page", "page": name, "of": paths}))
        return answer.get("page", answer)

    async def find_runs(self) -> list[dict[str, Any]]:
        """Look for the runs below the roots, give each an id, and return them."""
        if not self.roots:
            return []
        request = {"do": "runs", "of": [str(root) for root in self.roots]}
        answer = json.loads(await self.pool.run(request))
        found: list[dict[str, Any]] = answer.get("runs", [])
        self.runs = {run["id"]: Path(run["path"]) for run in found}
        return found

    def paths(self, of: Sequence[str]) -> list[str]:
        """Return the paths of runs by their ids. Raises: StudyError for an id that is none of ours."""
        missing = [run for run in of if run not in self.runs]
        if missing:
            raise StudyError(NO_RUN)
        return [str(self.runs[run]) for run in of]

    def seen(self, of: Sequence[str]) -> object:
        """Return what tells that the files of some runs have changed."""
        found: list[tuple[str, int, int]] = []
        for run in of:
            path = self.runs.get(run)
            with contextlib.suppress(OSError):
                if path is not None:
                    entries = os.scandir(path) if path.is_dir() else [path]
                    facts = [(os.fspath(entry), entry.stat(follow_symlinks=False)) for entry in entries]
                    found += [(name, fact.st_size, fact.st_mtime_ns) for name, fact in facts]
        return sorted(found)

    def cut(self, socket: WebSocket) -> None:
        """Break a connection off without waiting for its client to read."""
        socket.scope["extensions"]["poise.cut"]()

    # ---- inside ----

    def _remember(self, name: str, answer: Mapping[str, Any], size: int) -> None:
        if name not in self.known:
            self.known[name] = (dict(answer), size)
            self.known_bytes += size
        while self.known_bytes > REMEMBERED_BYTES:
            self.known_bytes -= self.known.popitem(last=False)[1][1]

    async def _warm(self) -> None:
        """Compute the figures at rest, in the order of the page, after whatever a client waits for."""
        for id, spec in self.chapter["figures"].items():
            with contextlib.suppress(PoiseError):
                await self.frame(id, (), {control["name"]: control["start"] for control in spec["controls"]}, rank=1)

    def at_rest(self, id: str) -> dict[str, Any] | None:
        """Return the frame of a figure at rest, if it is known by now."""
        state = {control["name"]: control["start"] for control in self.chapter["figures"][id]["controls"]}
        known = self.known.get(_name(id, state))
        return None if known is None else known[0]["message"]

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            for session in list(self.sessions):
                session.refresh()


def _name(figure: str, state: State) -> str:
    # JavaScript writes 1.0 as 1.
    same = {name: int(v) if isinstance(v, float) and v.is_integer() else v for name, v in state.items()}
    return json.dumps([figure, same], sort_keys=True)
