"""What a figure is: a claim, controls, and a pure function from their values to a frame of numbers to draw.

The same record serves the page, a notebook, the exported file, the command line and the tests.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from poise.core.errors import ArgumentError, shown
from poise.lab.controls import Control, Preset, State, spec_of, start_of
from poise.lab.scene import Band, Bars, Frame, Intervals, Mark, Note, Plot, Rule, Table, plain

__all__ = ["Figure"]


def _rows(mark: Mark) -> Iterator[tuple[str, str | float, str | float]]:
    """Yield the name and the two numbers of each thing that a mark draws."""
    match mark:
        case Note():
            yield mark.text, mark.x, mark.y
        case Rule():
            yield mark.label, "" if mark.x is None else mark.x, "" if mark.y is None else mark.y
        case Band():
            for x, low, high in zip(mark.x, mark.low, mark.high, strict=True):
                yield f"{mark.label}, low", x, low
                yield f"{mark.label}, high", x, high
        case Bars():
            yield from ((mark.label, at, value) for at, value in zip(mark.at, mark.value, strict=True))
        case Intervals():
            for at, *values in zip(mark.at, mark.middle, mark.low, mark.high, strict=True):
                names = (mark.label, f"{mark.label}, low", f"{mark.label}, high")
                yield from ((name, at, value) for name, value in zip(names, values, strict=True))
        case _:
            yield from ((mark.label, x, y) for x, y in zip(mark.x, mark.y, strict=True))


class Figure(ABC):
    """One figure. Concrete ones are final and say what they show in `compute`.

    `id` names it in addresses; `title` is the claim that the picture makes at rest, before any click; `caption` says
    in a sentence or two what is seen; `tries` are things to try, each a question. Figures of a user's own runs are
    built with their data; those of the chapter take none.
    """

    id: ClassVar[str]
    title: ClassVar[str]
    caption: ClassVar[str] = ""
    tries: ClassVar[tuple[str, ...]] = ()
    presets: ClassVar[tuple[Preset, ...]] = ()
    streams: ClassVar[bool] = False  # whether it can be played, paused and stepped

    @property
    @abstractmethod
    def controls(self) -> Sequence[Control]:
        """The controls, in the order they are shown."""

    @abstractmethod
    def compute(self, state: State) -> Frame:
        """Return the frame of a state. Pure: the same state gives the same frame. Of a stream, its last frame."""

    def stream(self, state: State) -> Iterator[Frame]:
        """Yield the frames of a run as it trains; the last one equals `compute(state)`."""
        yield self.compute(state)

    @abstractmethod
    def code(self, state: State) -> str:
        """Return a runnable Python script that computes the frame's numbers with the public library.

        It prints the same numbers that stand under the figure; the tests run it.
        """

    @abstractmethod
    def describe(self, state: State, frame: Frame) -> str:
        """Return the frame in one sentence with its numbers: the readout, the alternative text, the oracle of tests."""

    def table(self, frame: Frame) -> Table:
        """Return the numbers behind the frame; by default every series of every plot."""
        rows: list[list[str | float]] = []
        for panel in frame.panels:
            if isinstance(panel, Table):
                return panel
            for mark in panel.marks if isinstance(panel, Plot) else ():
                rows += [[panel.title, *row] for row in _rows(mark)]
        return Table(("panel", "series", "x", "y"), rows)

    # ---- given ----

    def spec(self) -> dict[str, Any]:
        """Return all that the page needs before the first frame, as JSON data."""
        return {
            "id": self.id,
            "title": self.title,
            "caption": self.caption,
            "tries": list(self.tries),
            "controls": [spec_of(control) for control in self.controls],
            "presets": [{"label": preset.label, "state": preset.state} for preset in self.presets],
            "streams": self.streams,
        }

    def start(self) -> State:
        """Return the state at rest."""
        return start_of(self.controls)

    def checked(self, values: Mapping[str, object]) -> State:
        """Return a whole state: the start with `values` in it. Raises ArgumentError for a name or value not legal."""
        own = {control.name: control for control in self.controls}
        state = self.start()
        for name, value in values.items():
            if name not in own:
                raise ArgumentError(f"`{self.id}` has no control {shown(name)}. It has {sorted(own)}.")
            state[name] = own[name].check(value)
        return state

    def message(self, state: State, frame: Frame) -> dict[str, Any]:
        """Return a frame as the page receives it."""
        return {
            "panels": plain(frame.panels),
            "numbers": [
                {
                    "label": n.label,
                    "value": float(n.value) if n.value == n.value else None,
                    "text": n.text,
                    "role": n.role,
                }
                for n in frame.numbers
            ],
            "notice": frame.notice,
            "sentence": self.describe(state, frame),
            "code": self.code(state),
            "table": plain(self.table(frame)),
        }
