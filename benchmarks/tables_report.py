"""Turn the result lines into tables: scores, ranks with intervals over tables, wins and losses, times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tables_arms import ARMS, REFERENCE
from tables_data import CLASSIFICATION, REGRESSION, TWELVE

__all__ = ["write_report"]

# An arm whose loss is not weighted decides on probability / class share; the weighted ones decide as they are.
# Either way it is the rule that balanced accuracy asks for, fixed before any test score was seen.
ADJUSTED = frozenset({"realmlp", "tabm", "linear"})
DRAWS = 10_000
TIE = 0.001  # 0.1 points of balanced accuracy; 0.1 % of the rival's log-loss or RMSE
FAILED = -np.inf

REPRODUCE = """\
Rows are held out by split (20 %, stratified, seeds 0 and 1); every arm sees the other 80 % and does its own
validation. Cells that failed or ran out of time rank last. Intervals are 95 % bootstrap intervals over tables.
The machine was shared: processor seconds tell how much of the clock an arm really had.

```console
pip install torch==2.13.0 && pip install -r benchmarks/requirements.txt
python benchmarks/tables.py run
python benchmarks/tables.py report --page
```"""


def write_report(records: Iterable[dict[str, Any]], seconds: float, arms: Sequence[str] | None) -> str:
    """Draw every table as Markdown from the lines with this budget, for the named arms or all that have a line."""
    chosen = [record for record in records if record["seconds"] in (None, seconds)]
    seen = {record["arm"] for record in chosen}
    columns = [arm for arm in ARMS if arm in (arms or seen) and arm in seen]
    if not columns:
        return f"No finished cells with {seconds:g} seconds yet."
    chosen = [record for record in chosen if record["arm"] in columns]
    merits = {metric: collect(chosen, columns, metric) for metric in ("balanced_accuracy", "log_loss", "rmse")}
    sections = [
        f"# Twelve tables, {seconds:g} seconds an arm",
        REPRODUCE,
        "## Test scores, mean over the splits",
        "Balanced accuracy in % (higher is better):",
        draw_scores(merits["balanced_accuracy"], lambda merit: f"{100 * merit:.1f}"),
        "Log-loss (lower is better; class weights undone):",
        draw_scores(merits["log_loss"], lambda merit: f"{-merit:.4f}"),
        "RMSE (lower is better):",
        draw_scores(merits["rmse"], lambda merit: f"{-merit:.4g}"),
        "## Mean rank (1 is best)",
        draw_ranks(merits, columns),
        f"## {REFERENCE} against each",
        draw_duels(merits, columns),
        "## Times, means over cells",
        draw_times(chosen, columns),
    ]
    return "\n\n".join(section for section in sections if section)


def collect(records: list[dict[str, Any]], columns: list[str], metric: str) -> pd.DataFrame:
    """One row a (table, split), one column an arm, higher is better; NaN where not run, -inf where it failed."""
    tables = REGRESSION if metric == "rmse" else CLASSIFICATION
    rows: dict[tuple[str, int], dict[str, float]] = {}
    for record in records:
        if record["table"] in tables:
            row = rows.setdefault((record["table"], record["split"]), {})
            row[record["arm"]] = merit(record, metric)
    index = sorted(rows, key=lambda cell: (TWELVE.index(cell[0]), cell[1]))
    frame = pd.DataFrame([rows[cell] for cell in index], columns=columns, dtype=float)
    frame.index = pd.MultiIndex.from_tuples(index, names=["table", "split"]) if index else frame.index
    return frame


def merit(record: dict[str, Any], metric: str) -> float:
    if record["status"] != "ok":
        return FAILED
    if metric == "balanced_accuracy":
        return float(record["scores"]["balanced_accuracy_adjusted" if record["arm"] in ADJUSTED else metric])
    return -float(record["scores"][metric])


def draw_scores(frame: pd.DataFrame, show: Callable[[float], str]) -> str:
    if frame.empty:
        return "(no cells yet)"
    lines = []
    for table, rows in frame.groupby(level="table", sort=False):
        means = rows.mean()
        cells = {
            arm: "" if np.isnan(value) else "failed" if np.isinf(value) else show(value) for arm, value in means.items()
        }
        best = means.max()
        lines.append(
            [table] + [f"**{cells[arm]}**" if np.isfinite(best) and means[arm] == best else cells[arm] for arm in cells]
        )
    return draw(["table", *frame.columns], lines)


def draw_ranks(merits: dict[str, pd.DataFrame], columns: list[str]) -> str:
    """Ranks over the (table, split) cells that every arm shown has finished."""
    ranks = {metric: frame.dropna().rank(axis=1, ascending=False) for metric, frame in merits.items()}
    ranks = {metric: frame for metric, frame in ranks.items() if len(frame)}
    primary = [ranks[metric] for metric in ("balanced_accuracy", "rmse") if metric in ranks]
    if not primary:
        return "No (table, split) has been run by every arm yet."
    shown = {"primary": pd.concat(primary), **ranks}
    lines = []
    for arm in columns:
        lines.append([arm, *(show_interval(*interval(frame[arm]), "{:.2f}") for frame in shown.values())])
    head = ["arm", *(f"{metric.replace('_', ' ')} ({len(frame)} cells)" for metric, frame in shown.items())]
    return draw(head, lines) + "\n\nPrimary: balanced accuracy for classes, RMSE for regression."


def draw_duels(merits: dict[str, pd.DataFrame], columns: list[str]) -> str:
    if REFERENCE not in columns:
        return f"No cells of {REFERENCE} yet."
    lines = []
    for arm in columns:
        if arm == REFERENCE:
            continue
        wins = losses = ties = 0
        gains = []
        for metric in ("balanced_accuracy", "log_loss", "rmse"):
            pair = merits[metric][[REFERENCE, arm]].dropna()
            ours, theirs = pair[REFERENCE], pair[arm]
            both_failed = np.isinf(ours) & np.isinf(theirs)
            gap = (ours - theirs).where(~both_failed, 0.0)
            scale = 1.0 if metric == "balanced_accuracy" else theirs.abs().where(np.isfinite(theirs), 1.0)
            relative = gap / scale
            if metric != "log_loss":
                wins += int((relative > TIE).sum())
                losses += int((relative < -TIE).sum())
                ties += int((relative.abs() <= TIE).sum())
            finite = relative[np.isfinite(relative)]
            gains.append(show_interval(*interval(100 * finite), "{:+.1f}") if len(finite) else "")
        lines.append([arm, f"{wins} / {losses} / {ties}", *gains])
    head = ["against", "wins / losses / ties", "balanced accuracy, points", "log-loss, % lower", "RMSE, % lower"]
    note = (
        "Wins by the primary metric over table x split; a tie is within 0.1 points or 0.1 %. "
        f"Positive gains favour {REFERENCE}; they are over the cells that both finished."
    )
    return draw(head, lines) + f"\n\n{note}"


def draw_times(records: list[dict[str, Any]], columns: list[str]) -> str:
    lines = []
    for arm in columns:
        mine = [record for record in records if record["arm"] == arm]
        good = [record for record in mine if record["status"] == "ok"]
        line = [arm, str(len(good)), str(len(mine) - len(good))]
        if good:
            wall = np.array([record["fit_seconds"] for record in good])
            line += [f"{wall.mean():.1f}", f"{wall.max():.1f}", mean(good, "fit_cpu_seconds")]
            line += [mean(good, "predict_seconds"), mean(good, "startup_seconds"), mean(good, "peak_memory_mb", 0)]
        lines.append(line + [""] * (9 - len(line)))
    head = ["arm", "cells", "failed", "fit s", "longest fit s", "fit processor s", "predict s", "startup s", "peak MB"]
    return draw(head, lines)


def mean(records: list[dict[str, Any]], name: str, digits: int = 1) -> str:
    return f"{np.mean([record[name] for record in records]):.{digits}f}"


def interval(values: pd.Series) -> tuple[float, float, float]:
    """The mean over tables (of the mean over splits) with the ends of its bootstrap interval over tables."""
    tables = values.groupby(level="table").mean().to_numpy()
    draws = np.random.default_rng(0).integers(len(tables), size=(DRAWS, len(tables)))
    low, high = np.percentile(tables[draws].mean(axis=1), [2.5, 97.5])
    return float(tables.mean()), float(low), float(high)


def show_interval(value: float, low: float, high: float, form: str) -> str:
    return f"{form} [{form}, {form}]".format(value, low, high)


def draw(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = ["| " + " | ".join(line) + " |" for line in ([*head], *lines)]
    rows.insert(1, "|" + " --- |" + " --: |" * (len(head) - 1))
    return "\n".join(rows)
