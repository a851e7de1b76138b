"""A figure as a widget of a notebook: the page's own script draws it, this kernel computes it.

Traits: `state` {id, values} and `action` {id, op} come from the browser; `message` {id, patch | error | playing} goes
back. The widget is made once; a moved slider changes traits, and never makes it anew.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from poise.core.errors import PoiseError, shown
from poise.lab.base import Figure
from poise.lab.controls import State
from poise.lab.patch import difference
from poise.lab.scene import Frame

if TYPE_CHECKING:
    from poise.lab.shown import ShownFigure

__all__ = ["LabWidget", "marimo_of"]

STATIC = Path(__file__).parent / "static"
FRAME_SECONDS = 1 / 30  # between two frames of a run


class LabWidget(anywidget.AnyWidget):
    """One figure, drawn by the lab's script. `values` are its controls as they stand now."""

    _esm = STATIC / "lab.js"
    _css = STATIC / "lab.css"

    spec = traitlets.Dict().tag(sync=True)
    of: Any = traitlets.List().tag(sync=True)
    state = traitlets.Dict().tag(sync=True)
    action = traitlets.Dict().tag(sync=True)
    message = traitlets.Dict().tag(sync=True)

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self.values: State = figure.start()
        self._sent: Any = None
        self._count = itertools.count()
        self._frames: Iterator[Frame] | None = None
        self._task: asyncio.Task[None] | None = None
        super().__init__(spec=figure.spec())
        self.observe(self._moved, "state")
        self.observe(self._asked, "action")

    # ---- what the browser asks for ----

    def _moved(self, change: Any) -> None:
        new = change["new"]
        id = _id(new)
        playing = self._task is not None
        try:
            self.values = self.figure.checked(new.get("values", {}))
        except PoiseError as error:
            self._say(id, error=str(error))
            return
        self._end()
        if playing:
            self._play(id)
        else:
            self._show(id)

    def _asked(self, change: Any) -> None:
        op, id = change["new"].get("op"), _id(change["new"])
        if op == "open":
            self._sent = None  # a new view has seen nothing yet
            self._show(0)
        elif op == "play":
            self._play(id)
        elif op == "pause":
            self._halt()
            self._say(id, playing=False, done=False)
        elif op == "step":
            self._halt()
            self._next(id)
        elif op == "reset":
            self._end()
            self._show(id)
            self._say(id, playing=False, done=False)

    # ---- frames ----

    def _show(self, id: int) -> None:
        try:
            self._send_frame(id, self.figure.compute(self.values))
        except Exception as error:  # noqa: BLE001  # a figure may fail in any way; the widget says so and goes on
            self._fail(id, error)

    def _send_frame(self, id: int, frame: Frame) -> None:
        message = self.figure.message(self.values, frame)
        patch = {"$set": message} if self._sent is None else difference(self._sent, message)
        self._sent = message
        self._say(id, patch=patch)

    def _fail(self, id: int, error: Exception) -> None:
        words = str(error) if isinstance(error, PoiseError) else f"{type(error).__name__}: {shown(str(error), 200)}"
        self._say(id, error=words)

    def _say(self, id: int, **told: Any) -> None:
        # Counted, as a trait that is set to what it was tells nobody.
        self.message = {"id": id, "count": next(self._count), **told}

    # ---- a run ----

    def _play(self, id: int) -> None:
        self._halt()
        self._say(id, playing=True, done=False)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # a kernel without a loop plays to the end at once
            while self._next(id):
                pass
            return
        self._task = loop.create_task(self._going(id))

    async def _going(self, id: int) -> None:
        while self._next(id):
            await asyncio.sleep(FRAME_SECONDS)
        self._task = None

    def _next(self, id: int) -> bool:
        """Show the next frame of the run; False at its end."""
        try:
            if self._frames is None:
                self._frames = iter(self.figure.stream(self.values))
            frame = next(self._frames, None)
        except Exception as error:  # noqa: BLE001  # as above
            self._frames = None
            self._fail(id, error)
            self._say(id, playing=False, done=True)
            return False
        if frame is None:
            self._frames = None
            self._say(id, playing=False, done=True)
            return False
        self._send_frame(id, frame)
        return True

    def _halt(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _end(self) -> None:
        self._halt()
        self._frames = None


def _id(asked: Any) -> int:
    id = asked.get("id", 0)
    return id if isinstance(id, int) else 0


def marimo_of(given: ShownFigure) -> Any:
    """Return what marimo shows for a figure: its own wrapper of the widget."""
    import marimo

    return marimo.ui.anywidget(given.widget())
