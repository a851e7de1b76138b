"""Which frames of a figure a file keeps: those of a grid over its controls, thinned until they fit."""

from __future__ import annotations

import itertools
import json
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from poise.core.errors import PoiseError
from poise.lab.base import Figure
from poise.lab.controls import Choice, Control, Range, Seed, State, Value, spec_of
from poise.lab.export.pack import ERROR, Packer

__all__ = ["Limits", "Stored", "stored"]

SAMPLE = 32  # frames, drawn at random, from which time and size are judged
RECORDED = 120  # frames of a recorded run


@dataclass(frozen=True)
class Limits:
    """What a figure may take: `frames`, `bytes` of its text in the file, `seconds` of computing."""

    frames: int = 5000
    bytes: int = 3_000_000
    seconds: float = 30.0


@dataclass(frozen=True)
class Stored:
    """A figure for a file: its `spec`, whose controls have only the values that are there, and its frames in `text`.

    Frame number i belongs to the i-th combination of `axes`, the last one moving fastest. `words` says what was left
    out, and how exact what is there is.
    """

    spec: dict[str, Any]
    axes: tuple[tuple[str, tuple[Value, ...]], ...]
    text: str
    words: str
    sentence: str  # of the figure at rest

    def data(self) -> dict[str, Any]:
        """Return what the page's script reads."""
        return {"axes": [[name, list(values)] for name, values in self.axes], "words": self.words}


def stored(
    figure: Figure,
    limits: Limits | None = None,
    *,
    state: State | None = None,
    also: Sequence[State] = (),
    clock: Callable[[], float] = time.monotonic,
) -> Stored:
    """Return the figure's frames over a grid of its controls, or its recorded runs if it streams.

    `state`: where the figure stands when the file is opened, among the values kept; its start by default. `also`:
    other states whose values are kept while they fit, as those that a text links to.
    """
    limits = limits or Limits()
    start = figure.start() | (state or {})
    return _recorded(figure, start, limits) if figure.streams else _gridded(figure, start, also, limits, clock)


# ---- a grid ----


@dataclass(frozen=True)
class _Axis:
    control: Control
    values: tuple[Value, ...]
    kept: frozenset[Value]  # thinned away last: the start, the presets, what a text links to
    home: Value  # where the file opens; never thinned away

    def thinner(self) -> _Axis:
        """Return every other value, and those that are kept."""
        free = [value for value in self.values if value not in self.kept]
        return replace(self, values=tuple(v for v in self.values if v in self.kept or v in set(free[1::2])))


def _gridded(figure: Figure, start: State, also: Sequence[State], limits: Limits, clock: Callable[[], float]) -> Stored:
    wanted = [*(preset.state for preset in figure.presets), *also]
    axes = [_axis(control, start, wanted) for control in figure.controls]
    full = math.prod(len(axis.values) for axis in axes)
    known: dict[str, dict[str, Any]] = {}
    axes = _thinned(axes, limits.frames)
    # Judged on a few frames, then on all: what is over the limit is thinned again, with what was computed kept.
    states = list(_states(axes))
    began = clock()
    sample = random.Random(0).sample(states, min(SAMPLE, len(states)))
    text = _packed(figure, sample, known)
    seconds, size = (clock() - began) / len(sample), len(text) / len(sample)
    room = min(limits.frames, limits.seconds / max(seconds, 1e-9), 2 * limits.bytes / max(size, 1.0))
    axes = _thinned(axes, max(1, int(room)))
    while True:
        text = _packed(figure, _states(axes), known)
        count = math.prod(len(axis.values) for axis in axes)
        if len(text) <= limits.bytes or count == 1:
            break
        axes = _thinned(axes, max(1, min(count - 1, int(0.9 * count * limits.bytes / len(text)))))
    words = f"This file holds {count:,} frames of the figure"
    words += f", a part of the {full:,} that its sliders have here; more come with poise lab." if count < full else "."
    spec = figure.spec() | {"controls": [_spec(axis) for axis in axes]}
    spec["presets"] = [one for one in spec["presets"] if _reachable(axes, start | one["state"])]
    kept = tuple((axis.control.name, axis.values) for axis in axes)
    return Stored(spec, kept, text, f"{words} {ERROR}", _message(figure, start, known)["sentence"])


def _axis(control: Control, start: State, wanted: Sequence[State]) -> _Axis:
    kept = [start[control.name], control.start, *(one[control.name] for one in wanted if control.name in one)]
    values = [*control.grid(), *kept]
    unique = list(dict.fromkeys(values))
    if isinstance(control, Range | Seed):
        unique.sort()
    return _Axis(control, tuple(unique), frozenset(kept), start[control.name])


def _thinned(axes: Sequence[_Axis], most: int) -> list[_Axis]:
    """Return the axes with at most `most` combinations.

    Sliders and samples lose every other value, long and late ones first; then the values of presets and choices go.
    """
    axes = list(axes)
    while math.prod(len(axis.values) for axis in axes) > most:
        thinner = [axis.thinner() for axis in axes]
        able = [at for at, axis in enumerate(axes) if isinstance(axis.control, Range | Seed)
                and len(thinner[at].values) < len(axis.values)]  # fmt: skip
        if able:
            longest = max(able, key=lambda at: len(axes[at].values) * (at + 1))  # what matters most comes first
            axes[longest] = thinner[longest]
            continue
        wide = [at for at, axis in enumerate(axes) if len(axis.values) > 1]
        if not wide:
            break
        last = max(wide, key=lambda at: (len(axes[at].values) > 2, at))
        axes[last] = _shortened(axes[last])
    return axes


def _shortened(axis: _Axis) -> _Axis:
    """Return the axis with one value less."""
    others = [value for value in axis.values if value != axis.home]
    gone = others[-1] if others else None
    return replace(axis, values=tuple(value for value in axis.values if value != gone))


def _states(axes: Sequence[_Axis]) -> Iterator[State]:
    names = [axis.control.name for axis in axes]
    for values in itertools.product(*(axis.values for axis in axes)):
        yield dict(zip(names, values, strict=True))


def _reachable(axes: Sequence[_Axis], state: State) -> bool:
    return all(state[axis.control.name] in axis.values for axis in axes)


def _spec(axis: _Axis) -> dict[str, Any]:
    """Return a control as data with only the values that are there."""
    own = spec_of(axis.control)
    own["start"] = axis.home
    if isinstance(axis.control, Choice):
        own["options"] = [list(option) for option in axis.control.options if option[0] in axis.values]
    else:
        own["values"] = list(axis.values)
    return own


def _message(figure: Figure, state: State, known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    name = json.dumps(state, sort_keys=True)
    if name not in known:
        try:
            known[name] = figure.message(state, figure.compute(figure.checked(state)))
        except PoiseError as error:
            known[name] = {"error": str(error), "sentence": str(error)}
    return known[name]


def _packed(figure: Figure, states: Sequence[State] | Iterator[State], known: dict[str, dict[str, Any]]) -> str:
    packer = Packer()
    for state in states:
        packer.add(_message(figure, state, known))
    return packer.text()


# ---- a recorded run ----


def _recorded(figure: Figure, start: State, limits: Limits) -> Stored:
    """Return a run from the start, and one from each preset while they fit, each with a slider over its frames."""
    states = {"as it starts": start} | {preset.label: figure.start() | preset.state for preset in figure.presets}
    seen: list[State] = []
    runs: dict[str, list[dict[str, Any]]] = {}
    began, size = time.monotonic(), 0
    for label, state in states.items():
        if state in seen or (runs and (time.monotonic() - began > limits.seconds or size > 0.8 * limits.bytes)):
            continue
        seen.append(state)
        frames = [figure.message(state, frame) for frame in figure.stream(state)]
        most = min(RECORDED, limits.frames)
        places = sorted({round(at * (len(frames) - 1) / max(1, most - 1)) for at in range(most)})
        runs[label] = [frames[at] for at in places]
        trial = Packer()
        for frame in runs[label]:
            trial.add(frame)
        size += len(trial.text())
        if size > limits.bytes and len(runs) > 1:
            del runs[label]
    labels = list(runs)
    length = max(len(frames) for frames in runs.values())
    packer = Packer()
    for frames in runs.values():
        for at in range(length):
            packer.add(frames[min(at, len(frames) - 1)])
    last = length - 1
    controls: list[Control] = []
    axes: list[tuple[str, tuple[Value, ...]]] = []
    if len(labels) > 1:
        options = tuple((str(at), label) for at, label in enumerate(labels))
        controls.append(Choice("recording", "Recorded run", options, "0"))
        axes.append(("recording", tuple(str(at) for at in range(len(labels)))))
    controls.append(Range("moment", "Moment of the run", 0, max(last, 1), last, 1, whole=True))
    axes.append(("moment", tuple(range(length))))
    words = (
        f"This file holds {len(labels)} recorded {'run' if len(labels) == 1 else 'runs'}; train anew with poise lab."
    )
    spec = figure.spec() | {"controls": [spec_of(one) for one in controls], "presets": [], "streams": False}
    return Stored(spec, tuple(axes), packer.text(), f"{words} {ERROR}", runs[labels[0]][-1]["sentence"])
