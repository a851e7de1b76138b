"""Which search reaches a validation loss sooner: poise's populations, or Optuna over plain torch loops.

Both have the same network, space, folds, full training, sampler (TPE), rungs (successive halving after an eighth, a
quarter and half of the steps) and patience, in the same number of processes of one thread. The clock of both starts
when the processes are up. A configuration counts, for both, from the evaluation on at which its kept weights have the
loss. Of both, an ensemble is selected afterwards by the same code. The test rows take part in nothing but test curves.

    python -m benchmarks.search                  # measure what is missing (about 20 minutes), print
    python -m benchmarks.search --show           # print what is stored
    python -m benchmarks.search --page           # write docs/search.md and its figures
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks.search_loops import search_with_loops
from benchmarks.search_page import page
from benchmarks.search_watch import Notes, alone, ensembles, test_rows
from poise.data import read
from poise.study.clock import Budget, Clock
from poise.study.cohort import TIMED_PRODUCTS, plan_for
from poise.study.folds import make_folds
from poise.study.prepare import Prepared, prepare
from poise.study.search import METHODS, Search
from poise.study.space import Space
from poise.study.table_network import Design
from poise.study.workers import run_all

ROOT = Path(__file__).resolve().parents[1]
STORED = ROOT / "benchmarks" / "results" / "search.jsonl"
DATA = ROOT.parent / "shared" / "data" / "tables"
TABLES = ("credit_g", "vehicle", "concrete", "phoneme", "spambase", "abalone")
PARTS = ("batch_norm", "dropout", "mixup", "label_smoothing", "decay", "patience", "temperature")
ARMS = ("population", "loops")


def prepared(table: str, seed: int, width: int) -> Prepared:
    """Return the table divided and encoded; the test rows are a fifth."""
    frame = pd.read_parquet(DATA / f"{table}.parquet")
    return prepare(
        read(frame, target="target"), seed=seed, task=None, groups=None, time=None,
        class_weight="balanced", design=Design(width=width),
    )  # fmt: skip


def setting(ready: Prepared, seed: int) -> tuple[Space, Any, Any]:
    """Return the space, the folds and the full training that both searches have."""
    space = Space(PARTS, classification=ready.problem.heads[0].task == "classification")
    count = 3 if len(ready.problem.rows) < 1_500 else 1
    folds = make_folds(ready.strata, task=ready.problem.heads[0].task, count=count, seed=seed)
    return space, folds, replace(plan_for(int(folds.train.shape[1])), products=TIMED_PRODUCTS)


PAIRS = {
    "single": ("alone", "alone"),
    "ensemble against single": ("ensemble", "alone"),
    "ensembles": ("ensemble", "ensemble"),
}
"""What is compared: the course of poise's that counts, and that of the loops' whose best loss is the goal."""


def come_up() -> int:
    """Wait long enough that the other worker must take a task of its own, with everything imported."""
    time.sleep(1.0)
    return os.getpid()


def with_population(
    ready: Prepared, seed: int, seconds: float, folder: Path, jobs: int, method: str
) -> tuple[Notes, int]:
    """Run poise's search for the time; return what was noted, and how many configurations it trained."""
    space, folds, plan = setting(ready, seed)
    while len(set(run_all(come_up, [()] * jobs, jobs))) < jobs:
        pass
    notes = Notes(folder, time.time(), test_rows(ready)[0])
    search = Search(ready.problem, space, folds, plan, seed, jobs, method=method, early=False, watcher=notes)
    search.run(Clock(Budget(seconds, math.inf, f"{seconds:g}s")), 1.0)
    return notes, len(search.trials)


def with_loops(ready: Prepared, seed: int, seconds: float, folder: Path, jobs: int) -> tuple[Notes, int]:
    """Run Optuna over plain loops in as many processes, for the time."""
    space, folds, plan = setting(ready, seed)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as other:
        barrier = context.Barrier(jobs + 1)
        with context.Pool(jobs, initializer=_wait, initargs=(barrier,)) as pool:
            barrier.wait()
            notes = Notes(folder, time.time(), test_rows(ready)[0])
            tasks = [
                (ready.problem, space, folds, plan, seed, seconds, Path(other) / "journal", notes, worker)
                for worker in range(jobs)
            ]
            return notes, sum(pool.starmap(search_with_loops, tasks, chunksize=1))


def _wait(barrier: Barrier) -> None:
    barrier.wait()


def cell(table: str, seed: int, seconds: float, width: int, jobs: int, method: str) -> dict[str, Any]:
    """Return the courses of both searches on one table and split."""
    ready = prepared(table, seed, width)
    row: dict[str, Any] = {"table": table, "seed": seed, "seconds": seconds, "width": width, "jobs": jobs,
                           "method": method, "load": os.getloadavg()[0], "torch": torch.__version__,
                           "machine": f"{platform.machine()}, {os.cpu_count()} cores"}  # fmt: skip
    for name in ARMS if seed % 2 == 0 else ARMS[::-1]:
        with tempfile.TemporaryDirectory() as folder:
            place, began = Path(folder), time.process_time()
            notes, trained = (
                with_population(ready, seed, seconds, place, jobs, method)
                if name == "population"
                else with_loops(ready, seed, seconds, place, jobs)
            )
            events = notes.events()
        parent = time.process_time() - began
        courses = {"alone": alone(ready, events), "ensemble": ensembles(ready, events)}
        row[name] = {"configurations": trained, "parent": parent, **courses}
    return row


def reached(course: list[list[float]], goal: float) -> float:
    """Return the seconds after which a course has reached a validation loss."""
    return next((seconds for seconds, score, _ in course if score <= goal), math.inf)


def ratios(row: dict[str, Any]) -> dict[str, float]:
    """Return by how much sooner poise had the loops' best validation loss.

    A configuration of poise's and its ensemble against their best single configuration, then ensemble against ensemble.
    """
    ours, theirs, found = row["population"], row["loops"], {}
    for name, (mine, their) in PAIRS.items():
        goal = min(score for _, score, _ in theirs[their])
        found[name] = reached(theirs[their], goal) / reached(ours[mine], goal)
    return found


def show(rows: list[dict[str, Any]]) -> None:
    """Print, per table: the configurations trained, last losses, how much sooner the loops' best ones were there."""
    print(f"{'table':<12}{'seed':>4} {'trained':>11} | validation: poise, ensemble, loops, theirs |"
          f" test: the same | times sooner: {', '.join(PAIRS)}")  # fmt: skip
    for row in rows:
        ours, loops = row["population"], row["loops"]
        ends = [course[-1] for course in (ours["alone"], ours["ensemble"], loops["alone"], loops["ensemble"])]
        print(
            f"{row['table']:<12}{row['seed']:>4} {ours['configurations']:>5}/{loops['configurations']:>5} | "
            f"{' '.join(f'{end[1]:.4f}' for end in ends)} | {' '.join(f'{end[2]:.4f}' for end in ends)} | "
            f"{' '.join(f'{ratio:.1f}' for ratio in ratios(row).values())}"
        )
    for name in PAIRS if rows else ():
        found = [ratios(row)[name] for row in rows]
        print(f"{name}: the loops' best validation loss {statistics.median(found):.1f} times sooner (median)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="store_true", help="print what is stored")
    parser.add_argument("--page", action="store_true", help="write docs/search.md from what is stored")
    parser.add_argument("--seconds", type=float, default=75.0, help="of each search")
    parser.add_argument("--tables", nargs="*", default=list(TABLES))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--search", choices=sorted(METHODS), default="halving")
    parser.add_argument("--stored", type=Path, default=STORED)
    options = parser.parse_args()
    stored = [json.loads(line) for line in options.stored.read_text().splitlines()] if options.stored.exists() else []
    how = {"width": options.width, "seconds": options.seconds, "jobs": options.jobs, "method": options.search}
    if not (options.show or options.page):
        done = [(row["table"], row["seed"]) for row in stored if how.items() <= row.items()]
        for table in options.tables:
            for seed in options.seeds:
                if (table, seed) in done:
                    continue
                stored.append(
                    cell(table, seed, options.seconds, options.width, jobs=options.jobs, method=options.search)
                )
                with options.stored.open("a") as file:
                    file.write(json.dumps(stored[-1]) + "\n")
                show(stored[-1:])
    chosen = [row for row in stored if how.items() <= row.items()]
    show(chosen)
    if options.page:
        page(chosen, ROOT / "docs", ratios)


if __name__ == "__main__":
    main()
