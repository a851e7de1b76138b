"""The controls of a figure, as data: each knows its legal values, its starting value and a grid for the export."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from poise.core.errors import ArgumentError, shown

__all__ = ["Choice", "Control", "Preset", "Range", "Seed", "State", "Toggle", "Value"]

Value = float | int | bool | str
"""What a control may hold."""

State = dict[str, Value]
"""The values of a figure's controls, by name; with the seed in it, it is all that a frame depends on."""

INTEGER_CAP = 10**6  # of a seed


@dataclass(frozen=True)
class Range:
    """A slider. With `log`, equal steps are equal factors; `zero` adds a true 0 below the lowest value.

    `step` is the distance of neighbouring values, of a log slider the number of values a decade. `whole` gives ints.
    """

    kind: ClassVar[str] = "range"
    name: str
    label: str
    low: float
    high: float
    start: float
    step: float
    log: bool = False
    zero: bool = False
    whole: bool = False
    help: str = ""
    export: int = 9  # values that the static export keeps

    def check(self, value: object) -> Value:
        """Return the value, or raise ArgumentError."""
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not (self.low <= value <= self.high or (self.zero and value == 0)):  # type: ignore[operator]
            rule = f"a number in [{self.low:g}, {self.high:g}]{', or 0' if self.zero else ''}"
            raise ArgumentError(f"`{self.name}` must be {rule}; got {shown(value)}. Move the slider.")
        return round(value) if self.whole else float(value)  # type: ignore[arg-type,call-overload]

    def grid(self) -> list[Value]:
        """Return `export` values from low to high, with 0 first if it is legal, and the starting value among them."""
        if self.log:
            count = round(math.log10(self.high / self.low) * self.step) + 1
            every = np.geomspace(self.low, self.high, count)
        else:
            every = np.arange(self.low, self.high + self.step / 2, self.step)
        kept = every[np.unique(np.linspace(0, len(every) - 1, min(self.export, len(every))).round().astype(int))]
        found = sorted(
            {
                *(min(max(float(f"{value:.6g}"), self.low), self.high) for value in kept),
                float(self.start),
                *([0.0] if self.zero else []),
            }
        )
        return [round(value) for value in found] if self.whole else list(found)


@dataclass(frozen=True)
class Toggle:
    """A switch."""

    kind: ClassVar[str] = "toggle"
    name: str
    label: str
    start: bool = False
    help: str = ""

    def check(self, value: object) -> Value:
        """Return the value, or raise ArgumentError."""
        if not isinstance(value, bool):
            raise ArgumentError(f"`{self.name}` must be true or false; got {shown(value)}. Use the switch.")
        return value

    def grid(self) -> list[Value]:
        """Return both values."""
        return [False, True]


@dataclass(frozen=True)
class Choice:
    """One of several named values: `options` are (value, label)."""

    kind: ClassVar[str] = "choice"
    name: str
    label: str
    options: tuple[tuple[str, str], ...]
    start: str
    help: str = ""

    def check(self, value: object) -> Value:
        """Return the value, or raise ArgumentError."""
        legal = [option for option, _ in self.options]
        if not isinstance(value, str) or value not in legal:
            raise ArgumentError(f"`{self.name}` must be one of {legal}; got {shown(value)}. Choose one.")
        return value

    def grid(self) -> list[Value]:
        """Return all values."""
        return [option for option, _ in self.options]


@dataclass(frozen=True)
class Seed:
    """A counter of samples: the same number gives the same picture; stepping it draws anew."""

    kind: ClassVar[str] = "seed"
    name: str = "seed"
    label: str = "Sample"
    start: int = 0
    help: str = ""
    export: int = 3

    def check(self, value: object) -> Value:
        """Return the value, or raise ArgumentError."""
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < INTEGER_CAP:
            raise ArgumentError(f"`{self.name}` must be an int in [0, {INTEGER_CAP}); got {shown(value)}. Step it.")
        return value

    def grid(self) -> list[Value]:
        """Return the first few samples from the starting one."""
        return [self.start + offset for offset in range(self.export)]


Control = Range | Toggle | Choice | Seed
"""Any control."""


@dataclass(frozen=True)
class Preset:
    """A named state: the values that differ from the start."""

    label: str
    state: State


def spec_of(control: Control) -> dict[str, Any]:
    """Return a control as JSON data."""
    return {"kind": control.kind, **asdict(control)}


def start_of(controls: Sequence[Control]) -> State:
    """Return every control's starting value."""
    return {control.name: control.start for control in controls}
