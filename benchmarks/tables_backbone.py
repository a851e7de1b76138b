"""Compare the parts of poise's network for tables, one change at a time, on the tables that tables.py does not use.

    python benchmarks/tables_backbone.py run      # resumable: finished (table, variant) pairs are skipped
    python benchmarks/tables_backbone.py report

A change that looks good needs a second look with --repeat 1: of so many, one or two look good by chance.
On each table (cut to 3,000 rows), a population of four recipes x two seeds trains for each variant, with the same
initial draws where the shapes allow it, the same batches, steps and rows. Each line of results has the held-out losses
(validation and test rows together; neither stops a network) of every member and of the mean of their answers, and the
processor seconds.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from poise.core.context import Batch
from poise.data import Table
from poise.study.folds import make_folds
from poise.study.prepare import Prepared, prepare
from poise.study.space import Space
from poise.study.table_network import Design
from poise.train.optimizers import Adam
from poise.train.population import Population, Rows
from tables_data import DATA, ROOT, TWELVE
from tables_variants import VARIANTS

RESULTS = ROOT / "benchmarks" / "results" / "tables_backbone.jsonl"
ROWS, STEPS, EVALUATIONS, SEEDS = 3_000, 300, 20, 2

RECIPES: tuple[tuple[tuple[str, ...], dict[str, float], float], ...] = (
    (("batch_norm", "dropout", "decay", "ema", "patience"), {"dropout.p": 0.1, "decay.rate": 0.02}, 4e-3),
    (("dropout", "decay", "ema", "patience"), {"dropout.p": 0.1, "decay.rate": 0.02}, 3e-3),
    (("batch_norm", "dropout", "decay", "ema", "patience"), {"dropout.p": 0.3, "decay.rate": 0.3}, 8e-3),
    (("decay", "ema", "patience"), {"decay.rate": 0.3}, 1.5e-3),
)


def prepared(path: Path, repeat: int = 0) -> Prepared:
    frame = pd.read_parquet(path)
    frame = frame.sample(n=min(len(frame), ROWS), random_state=1 + repeat)
    if isinstance(frame["target"].dtype, pd.CategoricalDtype):
        counts = frame["target"].value_counts()
        frame = frame[frame["target"].map(counts).astype(int) >= 10]  # others would be in some parts only
        frame["target"] = frame["target"].cat.remove_unused_categories()
    frame = frame.reset_index(drop=True)
    table = Table(path.stem, frame.drop(columns="target"), frame[["target"]])
    return prepare(table, seed=1 + repeat, task=None, groups=None, time=None, class_weight="balanced", design=Design())


def measure(ready: Prepared, name: str, repeat: int = 0) -> dict[str, Any]:
    """Train the population of one variant on one table."""
    variant, problem = VARIANTS[name], ready.problem
    began = time.process_time()
    inputs = torch.from_numpy(ready.inputs)
    if variant.inputs is not None:
        inputs = variant.inputs(problem, inputs)
        problem = replace(problem, rows=Rows(inputs[ready.development], problem.rows.targets, problem.rows.weights))
    head = problem.heads[0]
    folds = make_folds(ready.strata, task=head.task, count=1, seed=0)
    space = Space(classification=head.classes is not None)
    configs = [
        space.config(
            place,
            (*on, "front_scale"),  # neutral at speed 0
            dials | {"ema.decay": 0.98, "front_scale.speed": variant.speed},
            lr,
        )
        for place, (on, dials, lr) in enumerate(RECIPES)
    ]
    members = [config for config in configs for _ in range(SEEDS)]
    batch = min(int(folds.train.shape[1]), 64 if len(problem.rows) < 1_200 else 128)
    population = Population(
        partial(variant.build, problem),
        space.recipe,
        problem.loss(),
        lr=torch.tensor([config.lr * variant.rate for config in members]),
        dials={key: torch.tensor([config.dials[key] for config in members]) for key in space.recipe.dials()},
        members=[10 * repeat + place % SEEDS for place in range(len(members))],
        optimizer=Adam(betas=variant.betas),
        schedule=variant.schedule(STEPS),
        columns=problem.columns,
        classes=head.classes,
        blocks=None,
    )
    rows = folds.train.expand(len(members), -1)
    stop = problem.rows.select(torch.nonzero(folds.stop[0]).flatten())
    while population.state.step < STEPS and not bool(population.stopped.all()):
        population.train(problem.rows, STEPS // EVALUATIONS, batch, rows)
        population.evaluate(stop, problem.score)
    seconds = time.process_time() - began
    held = np.concatenate([ready.development[folds.validation[0].numpy() > 0], ready.parts.test])
    targets, _known = head.encode(ready.codes[0][held])
    outputs = population.outputs(inputs[held], best=True)
    losses = problem.score(outputs, Batch(None, targets.expand(len(members), *targets.shape), None))
    answers = problem.answers(outputs).mean(0, keepdim=True)
    together = problem.answer_score(answers, targets, torch.ones(len(targets)))
    return {
        "table": ready.table.name,
        "variant": name,
        "repeat": repeat,
        "losses": [round(float(loss), 6) for loss in losses],
        "ensemble": round(float(together[0]), 6),
        "best_steps": population.best_step.tolist(),
        "seconds": round(seconds, 2),
        "held_rows": len(held),
    }


def run(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    lines = read_lines(options.results)
    done = {(line["table"], line["variant"]) for line in lines if line["repeat"] == options.repeat}
    spent = sum(line["seconds"] for line in lines)
    paths = [path for path in (options.data / "tables").glob("*.parquet") if path.stem not in TWELVE]
    ready = {
        path.stem: prepared(path, options.repeat) for path in paths if not options.tables or path.stem in options.tables
    }
    for variant in options.variants or VARIANTS:
        for table, rows in ready.items():
            if (table, variant) in done:
                continue
            if spent > 60 * options.minutes:
                print(f"the budget of {options.minutes:g} processor minutes is spent")
                return
            line = measure(rows, variant, options.repeat)
            spent += line["seconds"]
            with options.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        print(f"{variant}: {spent / 60:.1f} min in all", flush=True)


def report(options: argparse.Namespace) -> None:
    """Print each variant's losses against the base's on the same tables, with intervals, for each repeat."""
    everything = read_lines(options.results)
    print("Per cent of the base's (geometric mean over tables, 95 % interval), and on how many tables lower")
    for repeat in sorted({line["repeat"] for line in everything}):
        print(f"repeat {repeat}")
        lines = {(line["table"], line["variant"]): line for line in everything if line["repeat"] == repeat}
        compare(lines, options.base)


def compare(lines: dict[tuple[str, str], dict[str, Any]], base: str) -> None:
    measures: dict[str, Callable[[dict[str, Any]], float]] = {
        "one network": lambda line: float(np.mean(np.reshape(line["losses"], (-1, SEEDS)), 1).min()),
        "ensemble": lambda line: line["ensemble"],
        "processor time": lambda line: line["seconds"],
    }
    variants = list(dict.fromkeys(variant for _, variant in lines))
    for variant in variants:
        tables = [table for table, own in lines if own == variant and (table, base) in lines]
        parts = []
        for name, measure_of in measures.items():
            logs = [math.log(measure_of(lines[t, variant]) / measure_of(lines[t, base])) for t in tables]
            draws = np.random.default_rng(0).integers(len(logs), size=(4000, len(logs)))
            ends = np.percentile(np.array(logs)[draws].mean(1), [2.5, 97.5])
            low, middle, high = (100 * math.exp(value) for value in (ends[0], float(np.mean(logs)), ends[1]))
            parts.append(f"{name} {middle:.1f} [{low:.1f}, {high:.1f}], {sum(log < 0 for log in logs)} of {len(logs)}")
        print(f"{variant}: " + "; ".join(parts))


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "report"):
        command = commands.add_parser(name)
        command.add_argument("--results", type=Path, default=RESULTS)
        if name == "report":
            command.add_argument("--base", default="base", help="the variant that the others are compared with")
        else:
            command.add_argument("--data", type=Path, default=DATA, help="the folder that holds tables/")
            command.add_argument("--minutes", type=float, default=25.0, help="processor minutes, earlier runs counted")
            command.add_argument("--tables", type=lambda text: text.split(","), default=None)
            command.add_argument("--repeat", type=int, default=0, help="other rows, splits and seeds")
            command.add_argument("--variants", type=lambda text: text.split(","), default=None)
    options = parser.parse_args()
    run(options) if options.command == "run" else report(options)


if __name__ == "__main__":
    main()
