"""The fourteen tables that the comparison leaves aside: one split, poise against LightGBM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tables_arms import REFERENCE
from tables_data import OTHERS, REGRESSION
from tables_report import collect, draw, draw_duels, relative_gains

__all__ = ["others_section"]

RIVAL = "boosting"
TOLD = """\
## The other tables

The twelve were looked at again and again while poise was made, these less often: changes were tried on some of
them. One split, the same {seconds:g} seconds, against LightGBM. Four times as many bins on tables of many rows came
after a run had shown electricity, where poise's log-loss was 0.193 without them, and so did more time for the
retraining, which was tried there first: that table tells of nothing unseen any more. `FrontScale` was found by
looking at these tables, cut to 3,000 rows, splice first.

```console
python benchmarks/tables.py run --arms poise,boosting --splits 1 --results benchmarks/results/tables_others.jsonl \\
    --tables {tables}
```"""

NOTE = """\
The loss is 1 - balanced accuracy, or RMSE; no share is given of a loss of nothing. It counts rows: on horse_colic
(74 test rows), wdbc (114), anneal (180) and kr_vs_kp (640) the two are a few rows apart. On electricity, rows of
one series were divided at random, so that neighbours in time give the label away, and trees cut time as finely as
they like."""


def others_section(records: Sequence[dict[str, Any]], seconds: float) -> str:
    """Return the section of the page on the tables in `OTHERS`; "" if none was run with this budget."""
    arms = [REFERENCE, RIVAL]
    own = [r for r in records if r["table"] in OTHERS and r["seconds"] == seconds and r["arm"] in arms]
    if not own:
        return ""
    merits = {metric: collect(own, arms, metric) for metric in ("balanced_accuracy", "log_loss", "rmse")}
    gains = relative_gains(merits, RIVAL)
    lines = [line for table in OTHERS if (line := _line(table, merits, gains))]
    head = ["table", "measure", REFERENCE, RIVAL, f"log-loss, {REFERENCE}", f"log-loss, {RIVAL}", "loss lower by"]
    parts = [TOLD.format(seconds=seconds, tables=",".join(OTHERS)), draw(head, lines), NOTE, draw_duels(merits, arms)]
    return "\n\n".join(parts)


def _line(table: str, merits: dict[str, pd.DataFrame], gains: pd.Series) -> list[str]:
    """Return a table's line, [] if an arm has not run on it."""
    metric, show = ("rmse", "{:.4g}") if table in REGRESSION else ("balanced_accuracy", "{:.1%}")
    if merits[metric].empty or table not in merits[metric].index.get_level_values("table"):
        return []
    found, gain, losses = merits[metric].loc[table].mean(), gains.get(table, np.nan), ["", ""]
    if found.isna().any():
        return []
    if metric == "balanced_accuracy":
        losses = [_shown(abs(merits["log_loss"].loc[table].mean()[arm]), "{:.4f}") for arm in (REFERENCE, RIVAL)]
        gain = np.nan if found[RIVAL] == 1.0 else gain
    shown = [_shown(abs(found[arm]), show) for arm in (REFERENCE, RIVAL)]
    return [table, metric.replace("_", " "), *shown, *losses, f"{gain:+.1f} %" if np.isfinite(gain) else ""]


def _shown(value: float, form: str) -> str:
    return form.format(value) if np.isfinite(value) else "failed"
