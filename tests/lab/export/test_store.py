"""Which frames a file keeps: within its limits, the start and the presets among them, and what is left out is said."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import final

import pytest

from poise.lab.base import Figure
from poise.lab.controls import Choice, Control, Preset, Range, Seed, State, Toggle
from poise.lab.export.pack import unpacked
from poise.lab.export.store import Limits, stored
from poise.lab.scene import Axis, Frame, Line, Number, Plot


@final
class Wave(Figure):
    id = "wave"
    title = "A wave"
    tries = ("What is the sum?",)
    presets = (Preset("steep", {"power": 7.0, "seed": 2}), Preset("other", {"kind": "b"}))

    @property
    def controls(self) -> Sequence[Control]:
        return (
            Range("power", "Power", 0, 10, 2, 0.5, export=21),
            Range("weight", "Weight", 1e-4, 10, 0.1, 4, log=True, zero=True),
            Toggle("flip", "Flip"),
            Choice("kind", "Kind", (("a", "A"), ("b", "B")), "a"),
            Seed(),
        )

    def compute(self, state: State) -> Frame:
        sign = -1.0 if state["flip"] else 1.0
        y = [sign * float(state["weight"]) * math.sin(at / 9 + float(state["power"])) for at in range(40)]
        total = sum(y) + float(state["seed"])
        return Frame(
            [Plot("wave", Axis("x"), Axis("y"), [Line("y", [float(at) for at in range(40)], y)])],
            [Number("sum", total, f"{total:.6f}")],
        )

    def code(self, state: State) -> str:
        return f"print({state!r})\n"

    def describe(self, state: State, frame: Frame) -> str:
        return f"The sum is {frame.numbers[0].text} for {json.dumps(state)}."


@final
class Shelf(Figure):
    id = "shelf"
    title = "Few states"

    @property
    def controls(self) -> Sequence[Control]:
        return (Range("power", "Power", 0, 20, 2.0, 1, export=21), Toggle("flip", "Flip"))

    def compute(self, state: State) -> Frame:
        return Frame([], [Number("power", float(state["power"]), str(state["power"]))])

    def code(self, state: State) -> str:
        return ""

    def describe(self, state: State, frame: Frame) -> str:
        return "Words."


@final
class Runner(Figure):
    id = "runner"
    title = "A run ends"
    streams = True
    presets = (Preset("fast", {"speed": 3}),)

    @property
    def controls(self) -> Sequence[Control]:
        return (Range("speed", "Speed", 1, 5, 1, 1, whole=True),)

    def stream(self, state: State) -> Iterator[Frame]:
        for step in range(300 // int(state["speed"])):
            yield Frame([], [Number("step", step, str(step))])

    def compute(self, state: State) -> Frame:
        return list(self.stream(state))[-1]

    def code(self, state: State) -> str:
        return ""

    def describe(self, state: State, frame: Frame) -> str:
        return f"Step {frame.numbers[0].text}."


def states(found: object) -> list[State]:
    import itertools

    names = [name for name, _ in found.axes]  # type: ignore[attr-defined]
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*(v for _, v in found.axes))]  # type: ignore[attr-defined]


@pytest.mark.parametrize("frames", [1, 2, 7, 60, 400])
def test_every_frame_is_python_s_at_its_state(frames: int) -> None:
    figure = Wave()
    found = stored(figure, Limits(frames=frames, seconds=60))
    kept = unpacked(found.text)
    every = states(found)
    assert len(kept) == len(every) <= frames
    for state, frame in zip(every, kept, strict=True):
        expected = figure.message(state, figure.compute(state))
        for key in ("numbers", "sentence", "code", "notice"):
            assert frame[key] == expected[key]


def test_the_start_is_always_there_and_presets_while_they_fit() -> None:
    for frames in (1, 20, 300):
        found = stored(Wave(), Limits(frames=frames, seconds=60))
        start = {control["name"]: control["start"] for control in found.spec["controls"]}
        assert start in states(found)
        for preset in found.spec["presets"]:
            assert start | preset["state"] in states(found), "a button to a state that is not there"
    assert len(found.spec["presets"]) == 2


def test_the_whole_grid_is_kept_if_it_fits() -> None:
    found = stored(Runner())
    assert "a part of" not in found.words
    found = stored(Shelf())
    assert found.words.startswith("This file holds 42 frames of the figure.")
    assert len(states(found)) == math.prod(len(control.grid()) for control in Shelf().controls)


def test_what_is_left_out_is_said() -> None:
    found = stored(Wave(), Limits(frames=50, seconds=60))
    assert f"holds {len(states(found))} frames" in found.words
    assert "a part of" in found.words
    assert "1/131,066" in found.words


def test_bytes_are_a_limit() -> None:
    found = stored(Wave(), Limits(bytes=20_000, seconds=60))
    assert len(found.text) <= 20_000


def test_seconds_are_a_limit() -> None:
    ticks = iter(range(1000))
    # By this clock the sample of 32 frames took a second: as many then fit.
    found = stored(Wave(), Limits(seconds=1.0), clock=lambda: float(next(ticks)))
    assert 1 <= len(states(found)) <= 32


def test_the_state_asked_for_is_where_the_file_opens() -> None:
    state = Wave().checked({"power": 3.5, "weight": 0.0, "seed": 17})
    found = stored(Wave(), Limits(frames=40, seconds=60), state=state)
    assert {control["name"]: control["start"] for control in found.spec["controls"]} == state
    assert state in states(found)


def test_states_that_are_asked_for_besides_are_kept() -> None:
    also = [{"power": 6.5, "weight": 0.0}, {"seed": 40}]
    for frames in (400, 900):
        found = stored(Wave(), Limits(frames=frames, seconds=60), also=also)
        axes = dict(found.axes)
        assert {6.5} <= set(axes["power"])
        assert {40} <= set(axes["seed"])


def test_sliders_offer_only_what_is_there() -> None:
    found = stored(Wave(), Limits(frames=50, seconds=60))
    axes = dict(found.axes)
    for control in found.spec["controls"]:
        if control["kind"] in ("range", "seed"):
            assert control["values"] == list(axes[control["name"]])
        if control["kind"] == "choice":
            assert [value for value, _ in control["options"]] == list(axes[control["name"]])


def test_a_stream_is_a_recorded_run_with_a_slider() -> None:
    found = stored(Runner())
    assert not found.spec["streams"]
    kept = unpacked(found.text)
    runs, moments = (values for _, values in found.axes)
    assert [label for _, label in found.spec["controls"][0]["options"]] == ["as it starts", "fast"]
    assert kept[len(moments) - 1]["sentence"] == "Step 299."
    assert kept[2 * len(moments) - 1]["sentence"] == "Step 99."
    assert kept[0]["sentence"] == "Step 0."
    assert len(kept) == len(runs) * len(moments)


def test_a_state_that_fails_is_stored_as_its_words() -> None:
    from poise.core.errors import ArgumentError

    @final
    class Half(Figure):
        id = "half"
        title = "Half of it works"

        @property
        def controls(self) -> Sequence[Control]:
            return (Toggle("on", "On"),)

        def compute(self, state: State) -> Frame:
            if state["on"]:
                raise ArgumentError("`on` must be off.")
            return Frame([])

        def code(self, state: State) -> str:
            return ""

        def describe(self, state: State, frame: Frame) -> str:
            return "It works."

    assert [frame.get("error") for frame in unpacked(stored(Half()).text)] == [None, "`on` must be off."]
