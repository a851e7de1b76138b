"""Under what conditions each arm was measured: when, at which revisions, and who else used the machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tables_arms import OWN, THREADS

__all__ = ["condition_lines", "others_share", "processor_seconds"]

QUIET = 0.15
"""Up to this share of the machine's processor time may be others' on a machine that is called quiet."""


def processor_seconds(record: dict[str, Any]) -> float | None:
    """Return the processor seconds of a fit with its worker processes; None where an old line lacks the workers'."""
    if "fit_processor_seconds" in record:
        return float(record["fit_processor_seconds"])
    # Until then a line had the parent's own time alone, which is all there is of arms that start no process.
    return None if record["arm"] in OWN else float(record["fit_cpu_seconds"])


def others_share(record: dict[str, Any]) -> float | None:
    """Return what share of the machine's processor time went to others while a cell ran, in [0, 1]."""
    own, busy = processor_seconds(record), record.get("machine_busy_seconds")
    if own is None or busy is None:
        return None
    beside = record["startup_seconds"] + record["predict_seconds"]
    return float(np.clip((busy - own - beside) / (record["cores"] * record["total_seconds"]), 0.0, 1.0))


def condition_lines(records: Sequence[dict[str, Any]], arms: Sequence[str]) -> list[list[str]]:
    """Return a line an arm: cells, dates, revisions, load, processor seconds a second, others' share, quiet or busy."""
    lines = []
    for arm in arms:
        good = [record for record in records if record["arm"] == arm and record["status"] == "ok"]
        if not good:
            continue
        days = sorted({record["finished"][:10] for record in good})
        revisions = sorted({record["revision"].removesuffix("-dirty") for record in good})
        shares = [share for share in map(others_share, good) if share is not None]
        speeds = [own / record["fit_seconds"] for record in good if (own := processor_seconds(record)) is not None]
        other = float(np.mean(shares)) if shares else None
        lines.append(
            [
                arm,
                str(len(good)),
                days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}",
                revisions[0] if len(revisions) == 1 else f"{len(revisions)}",
                f"{np.median([record['load_before'] for record in good]):.1f}",
                f"{np.mean(speeds):.2f} of {THREADS}" if speeds else "not recorded",
                "not recorded" if other is None else f"{100 * other:.0f} %",
                "not known" if other is None else "quiet" if other <= QUIET else "busy",
            ]
        )
    return lines
