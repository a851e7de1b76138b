"""The widget's conversation with its view, played without a browser."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, final

import pytest

pytest.importorskip("anywidget", reason="anywidget is in the extra `notebook`")

from poise.lab.base import Figure
from poise.lab.controls import Control, Range, State
from poise.lab.patch import apply
from poise.lab.scene import Frame, Number
from poise.lab.widget import LabWidget

NONCES = itertools.count()  # the view's are random: the same action twice is two changes


@final
class Count(Figure):
    id = "count"
    title = "It counts"
    streams = True

    @property
    def controls(self) -> Sequence[Control]:
        return (Range("end", "End", 1, 9, 3, 1, whole=True),)

    def stream(self, state: State) -> Iterator[Frame]:
        for at in range(1, int(state["end"]) + 1):
            if at == 8:
                raise RuntimeError("eight is too many")
            yield Frame([], [Number("n", at, str(at))])

    def compute(self, state: State) -> Frame:
        return list(self.stream(state))[-1]

    def code(self, state: State) -> str:
        return ""

    def describe(self, state: State, frame: Frame) -> str:
        return f"It is at {frame.numbers[0].text}."


class View:
    """What a browser keeps of a widget: its newest frame, and all that was told."""

    def __init__(self, widget: LabWidget) -> None:
        self.widget, self.frame, self.told = widget, None, []  # type: ignore[var-annotated]
        self.frames: list[str] = []
        widget.observe(self.hear, "message")

    def hear(self, change: Any) -> None:
        message = change["new"]
        self.told.append(message)
        if "patch" in message:
            self.frame = apply(self.frame, message["patch"])
            self.frames.append(self.frame["sentence"])  # type: ignore[index]

    def ask(self, op: str, id: int = 0) -> None:
        self.widget.action = {"id": id, "op": op, "nonce": next(NONCES)}

    def move(self, id: int, **values: Any) -> None:
        self.widget.state = {"id": id, "values": values}


@pytest.fixture
def view() -> View:
    own = View(LabWidget(Count()))
    own.ask("open")
    return own


def test_a_view_that_opens_gets_the_frame_at_rest(view: View) -> None:
    assert view.frames == ["It is at 3."]


def test_a_second_view_gets_it_too(view: View) -> None:
    second = View(view.widget)
    second.ask("open")
    assert second.frames == ["It is at 3."]
    view.move(1, end=5)
    assert second.frame == view.frame


def test_a_moved_slider_gets_a_patch_with_its_id(view: View) -> None:
    view.move(7, end=5)
    assert view.frames[-1] == "It is at 5."
    assert view.told[-1]["id"] == 7
    assert "$keys" in view.told[-1]["patch"], "the whole frame was sent again"


def test_the_same_frame_again_is_still_an_answer(view: View) -> None:
    view.move(1, end=5)
    view.move(2, end=5)
    assert view.told[-1]["id"] == 2


def test_a_value_that_is_not_legal_is_an_error_in_words(view: View) -> None:
    view.move(3, end=99)
    assert "must be a number in [1, 9]" in view.told[-1]["error"]


def test_a_figure_that_fails_says_so_and_goes_on(view: View) -> None:
    view.move(1, end=9)
    assert view.told[-1]["error"] == "RuntimeError: 'eight is too many'"
    view.move(2, end=2)
    assert view.frames[-1] == "It is at 2."


def test_steps_follow_each_other_to_the_end(view: View) -> None:
    for id in range(1, 5):
        view.ask("step", id)
    assert view.frames[1:] == ["It is at 1.", "It is at 2.", "It is at 3."]
    assert view.told[-1] == {"id": 4, "count": view.told[-1]["count"], "playing": False, "done": True}


def test_reset_begins_anew(view: View) -> None:
    view.ask("step", 1)
    view.ask("reset", 2)
    view.ask("step", 3)
    assert view.frames[-2:] == ["It is at 3.", "It is at 1."]


def test_a_run_plays_and_pauses_in_the_kernel_s_loop(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poise.lab.widget.FRAME_SECONDS", 0)

    async def session() -> None:
        view.ask("play", 1)
        await asyncio.sleep(0)
        view.ask("pause", 2)
        frames = len(view.frames)
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(view.frames) == frames, "it goes on while paused"
        view.ask("play", 3)
        while view.told[-1].get("playing") is not False:
            await asyncio.sleep(0)

    asyncio.run(session())
    assert view.frames[1:] == ["It is at 1.", "It is at 2.", "It is at 3."]
    assert view.told[-1]["done"]


def test_a_move_while_it_plays_starts_the_run_anew(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poise.lab.widget.FRAME_SECONDS", 0)

    async def session() -> None:
        view.ask("play", 1)
        await asyncio.sleep(0)
        view.move(2, end=2)
        while view.told[-1].get("playing") is not False:
            await asyncio.sleep(0)

    asyncio.run(session())
    assert view.frames[-2:] == ["It is at 1.", "It is at 2."]


def test_without_a_loop_a_run_plays_to_its_end(view: View) -> None:
    view.ask("play", 1)
    assert view.frames[1:] == ["It is at 1.", "It is at 2.", "It is at 3."]


def test_a_play_of_a_run_that_fails_says_so(view: View) -> None:
    view.move(1, end=9)
    view.ask("play", 2)
    assert any("eight is too many" in told.get("error", "") for told in view.told)
    assert view.told[-1]["playing"] is False
