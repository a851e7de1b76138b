"""Which search finds a good configuration sooner: poise's populations, or Optuna over plain torch loops.

Both have the same network, space, folds, number of steps, sampler (TPE) and rungs (a quarter of the steps, then all),
on the same number of processes of one thread. Every configuration that was the best so far is then retrained by one and
the same code with the same seeds and scored on rows that neither search saw, so that a lucky validation score is told
from a good configuration.

    python -m benchmarks.search                  # measure (about 25 minutes), print, write results/search.jsonl
    python -m benchmarks.search --show           # print what is stored
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.search_loops import search_with_loops
from poise.data import read
from poise.study.arms import train_arms
from poise.study.clock import Budget, Clock
from poise.study.cohort import plan_for
from poise.study.folds import make_folds
from poise.study.gap import model_of, predictions_of
from poise.study.metrics import measure, metrics_of
from poise.study.prepare import Prepared, prepare
from poise.study.search import Search
from poise.study.space import Config, Space
from poise.study.table_network import Design

STORED = Path(__file__).parent / "results" / "search.jsonl"
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "tables"
TABLES = ("credit_g", "vehicle", "concrete", "phoneme", "spambase", "abalone")
PARTS = ("batch_norm", "dropout", "mixup", "label_smoothing", "decay", "patience")
JOBS = 2
Found = list[tuple[float, float, Config]]


def prepared(table: str, seed: int, width: int) -> Prepared:
    """Return the table divided and encoded; the test rows are a fifth."""
    frame = pd.read_parquet(DATA / f"{table}.parquet")
    return prepare(
        read(frame, target="target"), seed=seed, task=None, groups=None, time=None,
        class_weight="balanced", design=Design(width=width),
    )  # fmt: skip


def setting(ready: Prepared, seed: int) -> tuple[Space, Any, Any]:
    """Return the space, the folds and the plan that both searches have."""
    space = Space(PARTS, classification=ready.problem.heads[0].task == "classification")
    count = 3 if len(ready.problem.rows) < 1_500 else 1
    folds = make_folds(ready.strata, task=ready.problem.heads[0].task, count=count, seed=seed)
    return space, folds, plan_for(int(folds.train.shape[1]))


def with_population(ready: Prepared, seed: int, seconds: float) -> Found:
    """Run poise's search for the time; a configuration counts when it has trained to its end."""
    space, folds, plan = setting(ready, seed)
    found: Found = []
    began = time.time()
    search = Search(ready.problem, space, folds, plan, seed, JOBS)
    known: set[int] = set()

    def on_trials(trials: list[Any]) -> None:
        own = {candidate.config.number: candidate.config for candidate in search.candidates}
        for trial in trials:
            if trial.state == "finished" and trial.number not in known:
                known.add(trial.number)
                found.append((time.time() - began, trial.validation, own[trial.number]))

    search.on_trials = on_trials
    search.run(Clock(Budget(seconds, math.inf, f"{seconds:g}s")), 1.0)
    return found


def with_loops(ready: Prepared, seed: int, seconds: float) -> Found:
    """Run Optuna over plain loops in as many processes, for the time."""
    space, folds, plan = setting(ready, seed)
    with tempfile.TemporaryDirectory() as folder:
        storage = Path(folder) / "journal"
        tasks = [(ready.problem, space, folds, plan, seed, seconds, storage, worker) for worker in range(JOBS)]
        with multiprocessing.get_context("spawn").Pool(JOBS) as pool:
            return sorted(
                (one for found in pool.starmap(search_with_loops, tasks) for one in found), key=lambda f: f[0]
            )


def incumbents(found: Found) -> Found:
    """Return those that were the best so far."""
    best, kept = math.inf, []
    for when, score, config in sorted(found, key=lambda one: one[0]):
        if score < best:
            best = score
            kept.append((when, score, config))
    return kept


def losses_on_test(ready: Prepared, seed: int, configs: list[Config], seeds: int) -> list[float]:
    """Return the mean test loss of each configuration, retrained by the same code with the same seeds."""
    space, folds, plan = setting(ready, seed)
    arms = {str(place): config for place, config in enumerate(configs)}
    trained = train_arms(ready.problem, space.recipe, arms, folds, plan, seeds=seeds, seed=seed + 7, jobs=JOBS)
    metric = metrics_of(ready.targets)[0].name
    losses = []
    for label in trained.labels:
        own = [
            measure(
                metric,
                predictions_of(ready, model_of(ready, trained.stack.select(torch.tensor([m]))), ready.parts.test),
            )
            for m in trained.members(label)
        ]
        losses.append(float(np.mean(own)))
    return losses


def cell(table: str, seed: int, seconds: float, width: int) -> dict[str, Any]:
    """Return the course of both searches on one table and split: (seconds, validation, test) of each incumbent."""
    ready = prepared(table, seed, width)
    row: dict[str, Any] = {"table": table, "seed": seed, "seconds": seconds, "width": width}
    order = ("population", "loops") if seed % 2 == 0 else ("loops", "population")
    for name in order:
        found = (with_population if name == "population" else with_loops)(ready, seed, seconds)
        best = incumbents(found)
        scores = losses_on_test(ready, seed, [config for _, _, config in best], seeds=3) if best else []
        row[name] = {
            "finished": len(found),
            "course": [[round(w, 2), s, t] for (w, s, _), t in zip(best, scores, strict=True)],
        }
    return row


def when(course: list[list[float]], goal: float) -> float:
    """Return the seconds after which a course has reached a validation loss."""
    return next((seconds for seconds, score, _ in course if score <= goal), math.inf)


def show(rows: list[dict[str, Any]]) -> None:
    """Print, per table and split: configurations finished, the time to the rival's best, and the test loss."""
    print(f"{'table':<14}{'seed':>4} {'finished':>16} {'validation':>17} {'test':>17} {'time to its best':>17} ratio")
    ratios, wins = [], 0
    for row in rows:
        ours, loops = row["population"], row["loops"]
        (last, goal, test), mine = loops["course"][-1], ours["course"][-1]
        reached = when(ours["course"], goal)
        ratio = last / reached
        ratios.append(ratio)
        wins += mine[2] <= test
        print(
            f"{row['table']:<14}{row['seed']:>4} {ours['finished']:>7} /{loops['finished']:>7} "
            f"{mine[1]:>8.4f}/{goal:>8.4f} {mine[2]:>8.4f}/{test:>8.4f} {reached:>7.1f} /{last:>7.1f} {ratio:>6.2f}"
        )
    print(f"poise / Optuna over loops. Time to the loops' best: median ratio {statistics.median(ratios):.2f}; "
          f"poise's last incumbent has the lower test loss in {wins} of {len(rows)}.")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="store_true", help="print what is stored")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each search")
    parser.add_argument("--tables", nargs="*", default=list(TABLES))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1])
    parser.add_argument("--width", type=int, default=128)
    options = parser.parse_args()
    stored = [json.loads(line) for line in STORED.read_text().splitlines()] if STORED.exists() else []
    if not options.show:
        done = {(row["table"], row["seed"], row["width"], row["seconds"]) for row in stored}
        for table in options.tables:
            for seed in options.seeds:
                if (table, seed, options.width, options.seconds) in done:
                    continue
                stored.append(cell(table, seed, options.seconds, options.width))
                with STORED.open("a") as file:
                    file.write(json.dumps(stored[-1]) + "\n")
                show(stored[-1:])
    show(stored)


if __name__ == "__main__":
    main()
