"""What holds of every figure of sections 1 to 4: purity, its code, its size, and honest frames in any legal state."""

import contextlib
import io
import json
import math
import random
import re
from typing import Any

import pytest

from poise.lab.base import Figure
from poise.lab.chapter import CHAPTER
from poise.lab.figures import FIGURES
from poise.lab.patch import apply, difference
from poise.lab.section import Show

OURS = ("poly", "weights", "path", "constraint", "decay_heat", "stopping", "dropout", "smoothing", "noise")
# Recorded once and read: another machine's products round otherwise, and 200 steps of training amplify it.
APART = {"decay_heat": 0.02}
# States, beside the start, whose code is run: what differs in the code, and random ones.
CODED: dict[str, list[dict[str, Any]]] = {
    "poly": [
        {"l2": 0.01},
        {"l1": 0.05},
        {"stopping": True, "l2": 0.001, "l1": 0.01},
        {"bagging": True, "degree": 5, "jitter": 0.08},
        {"points": 8},
    ],
    "weights": [{"l1": 0.8, "l2": 0.5}],
    "path": [{"strength": 6.0}],
    "constraint": [{"angle": 45.0, "correlation": -0.5}, {"budget": 3.0}],
    "decay_heat": [{"optimizer": "sgd", "sample": "2"}],
    "stopping": [{"patience": 2, "seed": 1, "decay": 3.0}, {"width": 2}],
    "dropout": [
        {"convention": "test", "seed": 5},
        {"kind": "spatial", "layers": 3},
        {"kind": "spatial", "convention": "test", "p": 0.2},
        {"kind": "dropconnect"},
        {"kind": "dropconnect", "convention": "test", "layers": 1},
        {"p": 0.0},
    ],
    "smoothing": [{"amount": 0.0}, {"amount": 0.3, "classes": 10, "gap": 1.0}],
    "noise": [{"kind": "units"}, {"kind": "weights", "seed": 2}, {"scale": 0.0}],
}


@pytest.fixture(params=OURS)
def figure(request: pytest.FixtureRequest) -> Figure:
    return FIGURES[request.param]()


def states(figure: Figure, count: int) -> list[dict[str, Any]]:
    """The presets' states, then random ones of the export's grid."""
    draw = random.Random(figure.id)
    found = [figure.checked(preset.state) for preset in figure.presets]
    for _ in range(count):
        found.append(figure.checked({control.name: draw.choice(control.grid()) for control in figure.controls}))
    return found


def printed(figure: Figure, state: dict[str, Any]) -> list[str]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(figure.code(state), figure.id, "exec"), {})
    return out.getvalue().splitlines()


CASES = [(id, state) for id in OURS for state in [{}, *CODED[id]]]


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize(("id", "values"), CASES, ids=[f"{id}-{state}" for id, state in CASES])
def test_the_code_prints_the_numbers_of_the_frame(id: str, values: dict[str, Any]) -> None:
    figure = FIGURES[id]()
    state = figure.checked(values)
    numbers, lines = figure.compute(state).numbers, printed(figure, state)
    assert len(lines) == len(numbers)
    rel = APART.get(id, 1e-4)
    for number, line in zip(numbers, lines, strict=True):
        label, _, text = line.rpartition(" ")
        assert label == number.label
        assert float(text) == pytest.approx(number.value, rel=rel, abs=1e-5, nan_ok=True), line


@pytest.mark.usefixtures("rng_untouched")
def test_the_same_state_gives_the_same_frame_also_without_what_is_kept(figure: Figure) -> None:
    state = figure.start()
    first = json.dumps(figure.message(state, figure.compute(state)))
    for module in ("poly", "weights", "path", "constraint", "stopping", "dropout", "noise"):
        forget(module)
    assert json.dumps(type(figure)().message(state, figure.compute(state))) == first


def forget(module: str) -> None:
    import importlib

    for value in vars(importlib.import_module(f"poise.lab.figures.{module}")).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()


def test_every_legal_state_gives_finite_numbers_or_says_in_words_why_not(figure: Figure) -> None:
    for state in states(figure, 8):
        frame = figure.compute(state)
        message = json.loads(json.dumps(figure.message(state, frame), allow_nan=False))
        assert message["sentence"].endswith(".")
        assert "nan" not in message["sentence"]
        if not all(math.isfinite(number.value) for number in frame.numbers):
            assert frame.notice, state


def test_the_sentence_holds_every_number_that_changes(figure: Figure) -> None:
    state = figure.start()
    frame = figure.compute(state)
    sentence = figure.describe(state, frame)
    missing = [number.label for number in frame.numbers if number.text.split()[0] not in sentence]
    assert not missing


def test_messages_are_small_and_their_patches_whole(figure: Figure) -> None:
    """60 kB for the first frame; a moved slider sends a fraction, and its patch gives the frame."""
    before: Any = None
    for state in [figure.start(), *states(figure, 3)]:
        message = figure.message(state, figure.compute(state))
        assert len(json.dumps(message)) < 60_000, state
        if before is not None:
            assert apply(before, json.loads(json.dumps(difference(before, message)))) == message
        before = message


MOVES: dict[str, dict[str, Any]] = {
    "poly": {"degree": 11},
    "weights": {"l1": 1.2},
    "path": {"strength": 1.2},
    "constraint": {"angle": 25.0},
    "decay_heat": {"rate": 0.02},
    "stopping": {"patience": 16},
    "dropout": {"seed": 1},
    "smoothing": {"gap": 7.75},
    "noise": {"draw": 2},
}


def test_a_moved_slider_sends_a_few_kilobytes(figure: Figure) -> None:
    start, moved = figure.start(), figure.checked(MOVES[figure.id])
    before, after = (figure.message(state, figure.compute(state)) for state in (start, moved))
    assert len(json.dumps(difference(before, after))) < 9_000


def test_presets_and_tries_are_there_and_claims_are_sentences(figure: Figure) -> None:
    assert 3 <= len(figure.presets) <= 5
    assert 2 <= len(figure.tries) <= 4
    assert all("?" in tried for tried in figure.tries)
    assert not figure.title.endswith(".")
    assert 3 <= len(figure.title.split()) <= 20


def test_axes_stand_still_while_the_first_slider_moves(figure: Figure) -> None:
    """A curve that moves in a frame that moves with it shows nothing: the ends of the axes are the figure's own."""
    for panel in figure.message(figure.start(), figure.compute(figure.start()))["panels"]:
        if panel["kind"] == "plot":
            ends = [panel[axis][end] for axis in ("x", "y") for end in ("low", "high")]
            assert None not in ends, panel["title"]


def test_links_in_the_text_set_controls_that_exist_to_legal_values() -> None:
    bodies = [part for section in CHAPTER[:4] for part in section.body if isinstance(part, str)]
    links = [link for body in bodies for link in re.findall(r"\(#([^)]+)\)", body)]
    assert len(links) > 25
    for link in links:
        pieces = [re.fullmatch(r"(\w+)\.(\w+)=(.+)", piece) for piece in link.split("&")]
        assert all(pieces), link
        values: dict[str, Any] = {}
        ids = set()
        for id, name, text in (piece.groups() for piece in pieces if piece):
            ids.add(id)
            control = next(one for one in FIGURES[id]().controls if one.name == name)
            values[name] = text if control.kind == "choice" else json.loads(text)
        assert len(ids) == 1, link
        FIGURES[ids.pop()]().checked(values)


def test_every_figure_stands_in_the_text_once() -> None:
    shown = [part.figure for section in CHAPTER for part in section.body if isinstance(part, Show)]
    assert [one for one in shown if one in OURS] == list(OURS)


def test_a_section_is_read_in_about_a_minute() -> None:
    for section in CHAPTER[:4]:
        words = sum(len(part.split()) for part in section.body if isinstance(part, str))
        assert 230 <= words <= 380, section.id
