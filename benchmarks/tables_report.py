"""Turn the result lines into tables: scores, ranks with intervals over tables, wins and losses, conditions, times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tables_anytime import anytime, anytime_lines, anytime_revisions, pairs
from tables_arms import ARMS, REFERENCE
from tables_conditions import condition_lines, processor_seconds
from tables_data import OTHERS, REGRESSION, TWELVE
from tables_figures import anytime_figure, gain_figure, rank_figure

__all__ = ["collect", "draw", "draw_duels", "draw_figures", "relative_gains", "write_report"]

# An arm whose loss is not weighted decides on probability / class share; the weighted ones decide as they are.
# Either way it is the rule that balanced accuracy asks for, fixed before any test score was seen.
ADJUSTED = frozenset({"realmlp", "tabm", "linear"})
DRAWS = 10_000
TIE = 0.001  # 0.1 points of balanced accuracy; 0.1 % of the rival's log-loss or RMSE
FAILED = -np.inf
RANKED_SHARE = 0.9  # of the cells that some arm has; other arms are ranked beside, on what they have
SMALLEST_LOSS = 1e-4  # of a rival that makes no mistake; a share of nothing would be infinite
COUNTS = {10: "Ten", 11: "Eleven", 12: "Twelve"}
MORE_TIME = (
    "## What more time buys\n\n![loss over time](images/tables-anytime.svg)\n\n"
    "Log-loss, or RMSE, on the test rows, the mean over the splits that were run with every budget; in brackets the "
    "seconds that the fit took. poise's search ends where more of it improves nothing beyond noise."
)
CONDITIONS = (
    "arm", "cells", "measured", "revision", "load before", "processor s a second", "others' share", "machine",
)  # fmt: skip

REPRODUCE = """\
Rows are held out by split (20 %, stratified, seeds 0 and 1); every arm sees the other 80 % and does its own
validation. Cells that failed or ran out of time rank last. Intervals are 95 % bootstrap intervals over tables.
Under what conditions each arm was measured stands at the end: a busy machine takes from whoever runs on it.

```console
pip install torch==2.13.0 && pip install -r benchmarks/requirements.txt
python benchmarks/tables.py run
python benchmarks/tables.py report --page
```"""


def write_report(
    records: Iterable[dict[str, Any]], seconds: float, arms: Sequence[str] | None, others: str = ""
) -> str:
    """Draw every table as Markdown from the lines with this budget, for the named arms or all that have a line.

    `others` is the section on tables that are not compared here.
    """
    everything = list(records)
    chosen, columns, merits = selected(everything, seconds, arms)
    if not columns:
        return f"No finished cells with {seconds:g} seconds yet."
    ranks = ranked(merits)
    tables = len({record["table"] for record in chosen if record["arm"] == REFERENCE} or merits)
    sections = [
        f"# {COUNTS.get(tables, str(tables))} tables, {seconds:g} seconds an arm",
        REPRODUCE,
        "## Test scores, mean over the splits",
        "Balanced accuracy in % (higher is better):",
        draw_scores(merits["balanced_accuracy"], lambda merit: f"{100 * merit:.1f}"),
        "Log-loss (lower is better; class weights undone):",
        draw_scores(merits["log_loss"], lambda merit: f"{-merit:.4f}"),
        "RMSE (lower is better):",
        draw_scores(merits["rmse"], lambda merit: f"{-merit:.4g}"),
        "## Mean rank (1 is best)",
        "![mean ranks](images/tables-ranks.svg)" if ranks else "",
        draw_ranks(merits, columns),
        f"## {REFERENCE} against each",
        "![gains on each table](images/tables-gains.svg)" if REFERENCE in columns and len(columns) > 1 else "",
        draw_duels(merits, columns),
        f"## Where {REFERENCE} loses",
        draw_losses(merits, columns),
        others,
        *(
            (MORE_TIME, draw(*anytime_lines(curves)), anytime_revisions(everything, curves, REFERENCE))
            if (curves := anytime(everything, columns))
            else ()
        ),
        "## Under what conditions",
        draw(CONDITIONS, condition_lines(chosen, columns)),
        "The last columns: processor seconds that a fit had for each second of its clock; what share of the machine's "
        "processor time went to others meanwhile. Old lines of poise's arms lack their workers' time. "
        "From revision d717a24 on poise multiplies in bfloat16 where the processor has it, as on this one; from "
        "7928278 on each number has a layer of its own behind its bins, from 38810dd on a search does not wait for its "
        "slowest worker, from 3c0193b on networks are handed on with the batch statistics of all their rows, from "
        "42ccc5f on a look tries finer bins on 6,000 rows or more, from ee43da8 on a search on as many rows "
        "leaves the retraining more time, and from ea30382 on `FrontScale` is searched: older cells of its arms lack "
        "what came after.",
        "## Times, means over cells",
        draw_times(chosen, columns),
    ]
    return "\n\n".join(section for section in sections if section)


def selected(
    records: Sequence[dict[str, Any]], seconds: float, arms: Sequence[str] | None
) -> tuple[list[dict[str, Any]], list[str], dict[str, pd.DataFrame]]:
    """The lines with this budget, the arms to show, and each metric's merits."""
    chosen = [record for record in records if record["seconds"] in (None, seconds)]
    seen = {record["arm"] for record in chosen}
    columns = [arm for arm in ARMS if arm in (arms or seen) and arm in seen]
    chosen = [record for record in chosen if record["arm"] in columns]
    merits = {metric: collect(chosen, columns, metric) for metric in ("balanced_accuracy", "log_loss", "rmse")}
    return chosen, columns, merits


def draw_figures(records: Sequence[dict[str, Any]], seconds: float, arms: Sequence[str] | None) -> dict[str, str]:
    """Draw the page's figures: {file name: SVG}."""
    _, columns, merits = selected(records, seconds, arms)
    found: dict[str, str] = {}
    if ranks := ranked(merits):
        found["tables-ranks.svg"] = rank_figure({arm: interval(own) for arm, own in ranks["primary"].items()})
    gains = {arm: gain for arm in columns if arm != REFERENCE and len(gain := relative_gains(merits, arm))}
    if gains:
        found["tables-gains.svg"] = gain_figure(gains)
    if curves := anytime(records, columns):
        found["tables-anytime.svg"] = anytime_figure(pairs(curves))
    return found


def ranked(merits: dict[str, pd.DataFrame], share: float = RANKED_SHARE) -> dict[str, pd.DataFrame]:
    """Ranks over the (table, split) cells that every ranked arm has finished, by metric; "primary" is the first.

    An arm that was run on few cells would leave few to rank all others by, and is not ranked.
    """
    both = pd.concat([merits["balanced_accuracy"], merits["rmse"]])
    arms = [arm for arm in both if both[arm].notna().mean() >= share]
    ranks = {metric: frame[arms].dropna().rank(axis=1, ascending=False) for metric, frame in merits.items()}
    ranks = {metric: frame for metric, frame in ranks.items() if len(frame)}
    primary = [ranks[metric] for metric in ("balanced_accuracy", "rmse") if metric in ranks]
    return {"primary": pd.concat(primary), **ranks} if primary else {}


def relative_gains(merits: dict[str, pd.DataFrame], rival: str) -> pd.Series:
    """By how many per cent poise's loss is lower than a rival's, a mean over splits for each table.

    The loss is RMSE, or 1 - balanced accuracy; infinite where one failed.
    """
    parts = []
    for metric in ("balanced_accuracy", "rmse"):
        frame = merits[metric]
        if REFERENCE in frame and rival in frame and len(pair := frame[[REFERENCE, rival]].dropna()):
            losses = (1 - pair if metric == "balanced_accuracy" else -pair).groupby(level="table", sort=False).mean()
            parts.append(100 * (losses[rival] - losses[REFERENCE]) / losses[rival].clip(lower=SMALLEST_LOSS))
    return pd.concat(parts) if parts else pd.Series(dtype=float)


def draw_losses(merits: dict[str, pd.DataFrame], columns: list[str]) -> str:
    """The tables on which some rival is ahead by more than a tie, the largest distance first."""
    lines = []
    for arm in columns:
        if arm != REFERENCE and REFERENCE in columns:
            lines += [(gain, table, arm) for table, gain in relative_gains(merits, arm).items() if gain < -100 * TIE]
    if not lines:
        return "Nowhere, on the cells above."
    shown = [[table, arm, "failed" if np.isinf(gain) else f"{-gain:.1f} %"] for gain, table, arm in sorted(lines)]
    note = "By how much poise's loss is higher than the rival's: RMSE, or 1 - balanced accuracy; means over splits."
    return f"{note}\n\n" + draw(["table", "behind", "by"], shown)


def collect(records: list[dict[str, Any]], columns: list[str], metric: str) -> pd.DataFrame:
    """One row a (table, split), one column an arm, higher is better; NaN where not run, -inf where it failed."""
    rows: dict[tuple[str, int], dict[str, float]] = {}
    for record in records:
        if (record["table"] in REGRESSION) == (metric == "rmse"):
            row = rows.setdefault((record["table"], record["split"]), {})
            row[record["arm"]] = merit(record, metric)
    index = sorted(rows, key=lambda cell: ((*TWELVE, *OTHERS).index(cell[0]), cell[1]))
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
    if not (ranks := ranked(merits)):
        return "No (table, split) has been run by every arm yet."
    arms = list(ranks["primary"])
    lines = [
        [arm, *(show_interval(*interval(frame[arm]), "{:.2f}") for frame in ranks.values())]
        for arm in sorted(arms, key=lambda arm: float(interval(ranks["primary"][arm])[0]))
    ]
    head = ["arm", *(f"{metric.replace('_', ' ')} ({len(frame)} cells)" for metric, frame in ranks.items())]
    note = "Primary: balanced accuracy for classes, RMSE for regression."
    if few := [arm for arm in columns if arm not in arms]:
        note += f" Not ranked, because of too few cells: {', '.join(few)}."
        if every := ranked(merits, 0.0):
            means = every["primary"].mean().sort_values()
            note += f" On the {len(every['primary'])} cells that all have, primary mean ranks are "
            note += ", ".join(f"{arm} {mean:.2f}" for arm, mean in means.items()) + "."
    note += (
        "\nunregularized and dropout are poise itself with no part, or that one: rates are searched, networks kept at "
        "their best step, and up to 64 of them make the ensemble. What they lack is the rest of the recipe."
    )
    return draw(head, lines) + f"\n\n{note}"


def draw_duels(merits: dict[str, pd.DataFrame], columns: list[str]) -> str:
    if REFERENCE not in columns:
        return f"No cells of {REFERENCE} yet."
    lines = []
    for arm in columns:
        if arm == REFERENCE:
            continue
        counts, gains = {}, []
        for metric in ("balanced_accuracy", "log_loss", "rmse"):
            pair = merits[metric][[REFERENCE, arm]].dropna()
            ours, theirs = pair[REFERENCE], pair[arm]
            both_failed = np.isinf(ours) & np.isinf(theirs)
            gap = (ours - theirs).where(~both_failed, 0.0)
            scale = 1.0 if metric == "balanced_accuracy" else theirs.abs().where(np.isfinite(theirs), 1.0)
            relative = gap / scale
            counts[metric] = np.array([(relative > TIE).sum(), (relative < -TIE).sum(), (relative.abs() <= TIE).sum()])
            finite = relative[np.isfinite(relative)]
            gains.append(show_interval(*interval(100 * finite), "{:+.1f}") if len(finite) else "")
        own = [counts[metric] + counts["rmse"] for metric in ("balanced_accuracy", "log_loss")]
        lines.append([arm, *(" / ".join(map(str, count)) for count in own), *gains])
    head = [
        "against",
        "wins / losses / ties",
        "with log-loss",
        "balanced accuracy, points",
        "log-loss, % lower",
        "RMSE, % lower",
    ]
    note = (
        "Wins by the primary metric over table x split, and with log-loss for balanced accuracy; a tie is within "
        "0.1 points or 0.1 %. "
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
            known = [own for own in map(processor_seconds, good) if own is not None]
            line += [f"{wall.mean():.1f}", f"{wall.max():.1f}", f"{np.mean(known):.1f}" if known else ""]
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
