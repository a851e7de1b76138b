"""What the figures of a user's own runs share: they are built with a record, and their title is its claim."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from poise.lab.base import Figure
from poise.lab.controls import Choice, State
from poise.lab.runs.record import RunRecord
from poise.lab.scene import Number, Role
from poise.study.figures_text import cut, number

__all__ = ["RunFigure", "choice_of", "numbered", "opened", "told"]


class RunFigure(Figure):
    """A figure of one run or more. `claim` is its title: what the record shows at rest."""

    title = ""

    def __init__(self, *records: RunRecord) -> None:
        self.records = records

    @property
    def record(self) -> RunRecord:
        """The run, or the first one."""
        return self.records[0]

    @abstractmethod
    def claim(self) -> str:
        """Return the title."""

    def spec(self) -> dict[str, Any]:
        return super().spec() | {"title": self.claim()}


def choice_of(name: str, label: str, options: Sequence[tuple[str, str]], help: str = "") -> list[Choice]:
    """Return a control over the options, none where there is nothing to choose; names from data are cut to fit."""
    if len(options) < 2:
        return []
    return [Choice(name, label, tuple((value, cut(text, 40)) for value, text in options), options[0][0], help)]


def chosen(state: State, name: str, start: int = 0) -> int:
    """Return the place that a control over places holds."""
    return int(state.get(name, start))


def numbered(label: str, value: float, decimals: int, role: Role = "plain") -> Number:
    """Return a number under a figure."""
    return Number(label, float(value), number(value, decimals), role)


def told(numbers: Sequence[Number]) -> str:
    """Return numbers as the end of a sentence."""
    return "; ".join(f"{one.label} {one.text}" for one in numbers)


def opened(record: RunRecord) -> str:
    """Return the lines of a script that open a study's result."""
    if not record.source:
        return "result = study.result  # of your study\n"
    return (
        "from pathlib import Path\n\n"
        "from poise.study.result import result_from_json\n\n"
        f"result = result_from_json((Path({record.source!r}) / 'result.json').read_text())\n"
    )
