"""Learn what a search of a table should begin with: good configurations of the tables that tables.py does not use.

    python tools/portfolio.py                 # search, measure (some 25 minutes on 2 cores, resumable), choose, print
    python tools/portfolio.py --show          # choose among what is stored, print

A search on each table finds the pool. Every configuration of the pool, the networks without any part and the starts
that a person wrote down are then trained on every table with other rows held out and other seeds, for a quarter of the
full training, as in a search's first brackets, and for all of it. A greedy choice takes, one by one, the one that
lowers most the mean over tables and lengths of the regret: by how much the best one chosen is behind the pool's best,
over how much the pool's median is. Each table is also judged by a choice that knew nothing of it: neither what was
found on it nor what was measured on it.

What came of it: six so chosen were worse than six drawn blindly from the pool, and the six starts by hand better than
both, so those still stand in `poise.study.TABLE`. The networks had bins alone.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from poise.data import read
from poise.study.bracket import bracket
from poise.study.choices import TABLE
from poise.study.clock import Budget, Clock
from poise.study.cohort import TIMED_PRODUCTS, Plan, plan_for
from poise.study.folds import Folds, make_folds
from poise.study.prepare import Prepared, prepare
from poise.study.search import Search
from poise.study.space import ALWAYS, Config, Space
from poise.study.table_network import Design
from poise.study.workers import run_all

ROOT = Path(__file__).resolve().parents[1]
STORED = ROOT / "benchmarks" / "results" / "portfolio.jsonl"
DATA = ROOT.parent / "shared" / "data" / "tables"
TABLES = (
    "horse_colic", "wdbc", "anneal", "qsar_biodeg", "yeast", "mfeat_factors", "ames_housing", "splice", "kr_vs_kp",
    "abalone", "spambase", "cpu_act", "electricity", "shuttle",
)  # fmt: skip
ROWS = 12_000
"""Rows of a table at most."""

EACH = 5
"""Configurations of the pool that come from one table, of each set of parts two at most."""

CHUNK = 16
PLAIN_RATES = (1e-3, 3e-3, 1e-2)
LENGTHS = (0.25, 1.0)
BY_HAND = "by hand"
"""Where the starts of `poise.study.TABLE` come from."""


def prepared(table: str, seed: int) -> Prepared:
    """Return the table, cut and encoded; what a study would hold out is left out."""
    frame = pd.read_parquet(DATA / f"{table}.parquet")
    frame = frame.sample(n=min(len(frame), ROWS), random_state=seed)
    if isinstance(frame["target"].dtype, pd.CategoricalDtype):
        counts = frame["target"].value_counts()
        frame = frame[frame["target"].map(counts).astype(int) >= 10]  # others would be in some parts only
        frame["target"] = frame["target"].cat.remove_unused_categories()
    source = read(frame.reset_index(drop=True), target="target")
    return prepare(source, seed=seed, task=None, groups=None, time=None, class_weight="balanced", design=Design())


def setting(ready: Prepared, seed: int) -> tuple[Space, Folds, Plan]:
    """Return the space, the folds and the full training of a table."""
    task = ready.problem.heads[0].task
    folds = make_folds(ready.strata, task=task, count=3 if len(ready.problem.rows) < 1_500 else 1, seed=seed)
    plan = plan_for(int(folds.train.shape[1]))
    return Space(classification=task == "classification"), folds, replace(plan, products=TIMED_PRODUCTS)


def told(config: Config, space: Space) -> dict[str, Any]:
    """Return a configuration as a start: its parts, its searched dials and its rate."""
    on = [name for name in config.on if name not in ALWAYS]
    return {"on": on, "dials": {key: config.dials[key] for key in space.searched(on)}, "lr": config.lr}


def find(table: str, seconds: float) -> list[dict[str, Any]]:
    """Return the best configurations of a search on one table."""
    ready = prepared(table, seed=0)
    space, folds, plan = setting(ready, seed=0)
    search = Search(ready.problem, space, folds, plan, seed=0, early=False)
    search.run(Clock(Budget(seconds, math.inf, f"{seconds:g}s")), 1.0)
    found: list[dict[str, Any]] = []
    for candidate in search.candidates:
        start = told(candidate.config, space)
        if sum(other["on"] == start["on"] for other in found) < 2 and len(found) < EACH:
            found.append(start)
    return found


def measured(table: str, starts: Sequence[dict[str, Any]], numbers: Sequence[int], share: float) -> list[float]:
    """Return what each start loses on rows held out, trained for a share of the full training; inf if it diverged."""
    ready = prepared(table, seed=1)
    space, folds, plan = setting(ready, seed=1)
    plan = replace(plan.cut(share), rungs=())
    configs = []
    for number, start in zip(numbers, starts, strict=True):
        on = [name for name in space.names if name in (*start["on"], *ALWAYS)]
        configs.append(space.config(number, on, start["dials"], start["lr"]))
    trials, _ = bracket(ready.problem, space, configs, folds, plan, seed=1)
    losses = {trial.number: trial.validation for trial in trials}
    return [losses[number] for number in numbers]


def pool(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the configurations that are measured, each with where it is from: those stored, or else new ones."""
    if stored := [line["starts"] for line in lines if line["kind"] == "pool"]:
        return list(stored[0])
    found = [{**start, "from": line["table"]} for line in lines if line["kind"] == "found" for start in line["starts"]]
    plain = [{"on": [], "dials": {}, "lr": lr, "from": "plain"} for lr in PLAIN_RATES]
    hand = [{"on": list(on), "dials": dials, "lr": lr, "from": BY_HAND} for on, dials, lr in TABLE.starts]
    return sorted([*found, *plain, *hand], key=lambda start: (sorted(start["on"]), start["lr"]))


def measure(seconds: float, jobs: int) -> None:
    """Add what is missing to the stored lines."""
    lines = read_lines()
    there = {line["table"] for line in lines if line["kind"] == "found"}
    missing = [table for table in TABLES if table not in there]
    for begin in range(0, len(missing), jobs):
        names = missing[begin : begin + jobs]
        for table, starts in zip(names, run_all(find, [(table, seconds) for table in names], jobs), strict=True):
            write({"kind": "found", "table": table, "seconds": seconds, "starts": starts})
            print(f"{table}: {len(starts)} configurations found", flush=True)
    starts = pool(read_lines())
    if not any(line["kind"] == "pool" for line in lines):
        write({"kind": "pool", "starts": starts})
    done = {(line["table"], line["share"]) for line in lines if line["kind"] == "measured"}
    for table in TABLES:
        for share in LENGTHS:
            if (table, share) in done:
                continue
            numbers = list(range(len(starts)))
            # Alike ones stand side by side: a part costs its time for every member as soon as one member uses it.
            chunks = [numbers[begin : begin + CHUNK] for begin in range(0, len(starts), CHUNK)]
            tasks = [(table, [starts[number] for number in chunk], chunk, share) for chunk in chunks]
            losses = [loss for part in run_all(measured, tasks, jobs) for loss in part]
            write({"kind": "measured", "table": table, "share": share, "losses": losses})
            print(f"{table}, {share:g} of the full training: best {min(losses):.4f}", flush=True)


def regrets(lines: Sequence[dict[str, Any]]) -> tuple[list[str], np.ndarray]:
    """Return the tables and the regrets (tables, lengths, configurations): 0 the best, 1 the median, 2 at most."""
    stored = {(line["table"], line["share"]): line["losses"] for line in lines if line["kind"] == "measured"}
    tables = [table for table in TABLES if all((table, share) in stored for share in LENGTHS)]
    found = []
    for table in tables:
        losses = np.array([stored[table, share] for share in LENGTHS])
        best, median = losses.min(1, keepdims=True), np.median(losses, axis=1, keepdims=True)
        found.append(np.minimum((losses - best) / (median - best), 2.0))
    return tables, np.stack(found)


def chosen(regret: np.ndarray, allowed: Sequence[int], count: int) -> list[int]:
    """Return the greedy choice among those allowed. Shapes: regret (T, L, C)."""
    picked: list[int] = []
    best = np.full(regret.shape[:2], 2.0)
    for _ in range(count):
        place = min((one for one in allowed if one not in picked),
                    key=lambda one: float(np.minimum(best, regret[:, :, one]).mean()))  # fmt: skip
        picked.append(place)
        best = np.minimum(best, regret[:, :, place])
    return picked


def left_out(starts: Sequence[dict[str, Any]], regret: np.ndarray, tables: Sequence[str], count: int) -> np.ndarray:
    """Return each table's regret, (T,), of a choice that knew nothing of the table."""
    found = []
    for place, table in enumerate(tables):
        others = np.arange(len(tables)) != place
        allowed = [number for number, start in enumerate(starts) if start["from"] != table]
        found.append(regret[place][:, chosen(regret[others], allowed, count)].min(1).mean())
    return np.array(found)


def show(count: int) -> None:
    """Print the choice, and how choices of several sizes do on tables that they knew nothing of."""
    lines = read_lines()
    starts = pool(lines)
    tables, regret = regrets(lines)
    hand = [number for number, start in enumerate(starts) if start["from"] == BY_HAND]
    found = [number for number, start in enumerate(starts) if start["from"] not in (BY_HAND, "plain")]
    by_hand, draw = regret[:, :, hand].min(2).mean(1), np.random.default_rng(0)
    print(f"{len(starts)} configurations on {len(tables)} tables; mean regret (0: the best of all, 1: the median one)")
    print(f"{len(hand)} by hand: {by_hand.mean():.3f}")
    for size in (2, 4, 6, 8, 12, 16):
        own = left_out(starts, regret, tables, size)
        drawn = [regret[:, :, draw.choice(found, size, replace=False)].min(2).mean() for _ in range(500)]
        print(f"{size:>3} chosen without the table: {own.mean():.3f}, better than by hand on {(own < by_hand).sum()}")
        print(f"    as many drawn from the pool: {np.mean(drawn):.3f}")
    print(f"The choice of {count} on all tables:")
    for number in chosen(regret, range(len(starts)), count):
        start = starts[number]
        dials = ", ".join(f"{key} {value:.3g}" for key, value in start["dials"].items())
        print(f"  lr {start['lr']:.2g}; {' '.join(start['on']) or 'no part'}; {dials} (from {start['from']}, "
              f"alone {regret[:, :, number].mean():.2f})")  # fmt: skip


def read_lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in STORED.read_text().splitlines()] if STORED.exists() else []


def write(line: dict[str, Any]) -> None:
    with STORED.open("a") as file:
        file.write(json.dumps(line) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="store_true", help="only choose among what is stored")
    parser.add_argument("--seconds", type=float, default=50.0, help="of the search on each table, by one process")
    parser.add_argument("--count", type=int, default=len(TABLE.starts), help="configurations to choose")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    if not options.show:
        measure(options.seconds, options.jobs)
    show(options.count)


if __name__ == "__main__":
    main()
