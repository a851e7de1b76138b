"""What more time buys: an arm's loss with several budgets, on the tables that were run so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tables_data import REGRESSION

__all__ = ["Point", "anytime", "anytime_lines", "anytime_revisions", "pairs"]


@dataclass(frozen=True)
class Point:
    """A budget in seconds, the loss on the test rows after it, and the seconds of it that the fit took."""

    seconds: float
    loss: float
    used: float


Curves = Mapping[str, Mapping[str, Sequence[Point]]]
"""{table: {arm: points}}, the shortest budget first."""


def anytime(records: Sequence[dict[str, Any]], columns: Sequence[str]) -> Curves:
    """Return the curves of the tables that some arm was run on with several budgets.

    A point is the mean over the splits that every arm of the table has with every budget of its own: others are other
    rows. Arms of one budget are left out.
    """
    cells: dict[str, dict[str, dict[float, dict[int, tuple[float, float]]]]] = {}
    for record in records:
        if record["seconds"] is not None and record["status"] == "ok" and record["arm"] in columns:
            loss = record["scores"]["rmse" if record["table"] in REGRESSION else "log_loss"]
            arm = cells.setdefault(record["table"], {}).setdefault(record["arm"], {})
            arm.setdefault(record["seconds"], {})[record["split"]] = loss, record["fit_seconds"]
    found: dict[str, dict[str, list[Point]]] = {}
    for table, arms in sorted(cells.items()):
        several = {arm: budgets for arm, budgets in sorted(arms.items()) if len(budgets) > 1}
        splits = (
            set.intersection(*(set(own) for budgets in several.values() for own in budgets.values()))
            if several
            else set()
        )
        if splits:
            found[table] = {
                arm: [
                    Point(seconds, *np.mean([own[one] for one in splits], axis=0))
                    for seconds, own in sorted(budgets.items())
                ]
                for arm, budgets in several.items()
            }
    return found


def pairs(curves: Curves) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Return the curves as (seconds, loss)."""
    return {
        table: {arm: [(point.seconds, point.loss) for point in points] for arm, points in arms.items()}
        for table, arms in curves.items()
    }


def anytime_lines(curves: Curves) -> tuple[list[str], list[list[str]]]:
    """Return the head and the lines of a table: losses, and in brackets the seconds that a fit took of its budget."""
    times = sorted({point.seconds for arms in curves.values() for points in arms.values() for point in points})
    lines = []
    for table, arms in curves.items():
        for arm, points in arms.items():
            own = {point.seconds: f"{point.loss:.4g} ({point.used:.0f})" for point in points}
            lines.append([table, arm, *(own.get(seconds, "") for seconds in times)])
    return ["table", "arm", *(f"{seconds:g} s" for seconds in times)], lines


def anytime_revisions(records: Sequence[dict[str, Any]], curves: Curves, arm: str) -> str:
    """Return a line that says at which revisions an arm's points of the curves were measured."""
    found: dict[float, set[str]] = {}
    for record in records:
        if record["arm"] == arm and record["status"] == "ok" and record["table"] in curves:
            found.setdefault(record["seconds"], set()).add(record["revision"].removesuffix("-dirty"))
    told = (f"{seconds:.0f} s at {', '.join(sorted(own))}" for seconds, own in sorted(found.items()))
    return f"{arm} was measured with {'; '.join(told)}."
