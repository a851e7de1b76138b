"""Learn the configurations that a search of a table begins with, from what many configurations scored on many tables.

    python tools/portfolio.py run --data ../shared/data     # resumable: finished (table, group) pairs are skipped
    python tools/portfolio.py report                        # regret with each table left out, and the portfolio

A table is cut to 4,000 rows, a fifth of them to test on. Sixty configurations train on it for the same steps, ten
as one population, and their losses on the validation and the test rows become lines of
benchmarks/results/portfolio.jsonl. The first five are hand-made, twenty-five are what a search would draw at random,
thirty come from narrower beliefs. Of the stored lines, twenty configurations were run on 24 tables; learned of these, a
portfolio was no better than the hand-made starts, so those still stand in `poise.study.TABLE`.

A portfolio is chosen greedily: each next one leaves, beside those chosen, the smallest mean regret over tables.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import torch

from poise.core.context import Batch
from poise.data import Table
from poise.study.cohort import Cohort, Plan
from poise.study.folds import make_folds
from poise.study.prepare import Prepared, prepare
from poise.study.space import ALWAYS, Config, Space
from poise.study.table_network import Design

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results" / "portfolio.jsonl"
ROWS = 4_000  # of a table: 3,200 to develop on, 800 to test on
STEPS, EVALUATIONS = 480, 24
GROUP = 10
HAND_MADE, RANDOM, BELIEVED = 5, 25, 30
ORDER = (0, 3, 4, 5, 1, 2)  # of the groups: beliefs before chance, in case time runs out

# The twelve tables of benchmarks/tables.py: a portfolio that is shipped is not learned from them.
BENCHMARK = {
    "student_performance", "blood_transfusion", "vehicle", "credit_g", "concrete", "cmc", "car", "phoneme", "satimage",
    "bike_sharing", "california_housing", "adult",
}  # fmt: skip

# How often a part is on in the configurations drawn from narrower beliefs.
BELIEFS = {
    "batch_norm": 0.5, "dropout": 0.7, "hidden_noise": 0.5, "input_noise": 0.5, "swap_noise": 0.6, "mixup": 0.3,
    "cut_mix": 0.5, "label_smoothing": 0.3, "clip_norm": 0.7, "decay": 0.7, "l1": 0.5, "ema": 0.8,
}  # fmt: skip
BELIEVED_RATES = (1e-3, 1.2e-2)


def candidates() -> list[Config]:
    """Return the sixty configurations; those of one group use the same two rare parts, as a search's bracket does."""
    space = Space()
    found = space.portfolio(0)[:HAND_MADE]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    draw = np.random.default_rng(0)
    for number in range(HAND_MADE, HAND_MADE + RANDOM + BELIEVED):
        off = space.rare_off(number // GROUP, 0)
        if number < HAND_MADE + RANDOM:
            study.enqueue_trial(off)
            found.append(space.suggest(study.ask(), number))
        else:
            found.append(_believed(space, number, off, draw))
    return found


def _believed(space: Space, number: int, off: dict[str, bool], draw: np.random.Generator) -> Config:
    on = [name for name in space.names if name in ALWAYS or (f"{name}?" not in off and draw.random() < BELIEFS[name])]
    values = {key: _between(*space.range_of(key), draw) for key in space.searched(on)}
    return space.config(number, on, values, _between(*BELIEVED_RATES, draw))


def _between(low: float, high: float, draw: np.random.Generator) -> float:
    return float(np.exp(draw.uniform(np.log(low), np.log(high))))


def run(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows = read_lines(options.results)
    done = {(row["table"], row["number"] // GROUP) for row in rows}
    spent = sum(row["cpu_seconds"] for row in rows)
    everything = candidates()
    # Group by group, so that a run which is cut short has compared the same configurations on all tables.
    for group in ORDER:
        for path in sorted((options.data / "tables").glob("*.parquet"), key=lambda path: path.stat().st_size):
            if (path.stem, group) in done or (options.tables and path.stem not in options.tables):
                continue
            if spent > options.minutes * 60:
                print(f"the budget of {options.minutes:g} processor minutes is spent")
                return
            began = time.process_time()
            lines = list(measure(path, everything[group * GROUP : (group + 1) * GROUP]))
            cost = time.process_time() - began
            spent += cost
            with options.results.open("a", encoding="utf-8") as file:
                file.writelines(
                    json.dumps(line | {"cpu_seconds": round(cost / len(lines), 2)}) + "\n" for line in lines
                )
            print(f"{path.stem} {group} {cost:.1f} s, {spent / 60:.1f} min in all", flush=True)


def load(path: Path) -> Prepared:
    """Return a table, cut to size and prepared for a study."""
    frame = pd.read_parquet(path)
    frame = frame.sample(n=min(len(frame), ROWS), random_state=0)
    if isinstance(frame["target"].dtype, pd.CategoricalDtype):
        counts = frame["target"].value_counts()
        # A class of fewer rows would be in some parts only.
        frame = frame[frame["target"].map(counts).astype(int) >= 10]
        frame["target"] = frame["target"].cat.remove_unused_categories()
    frame = frame.reset_index(drop=True)
    table = Table(path.stem, frame.drop(columns="target"), frame[["target"]])
    return prepare(table, seed=0, task=None, groups=None, time=None, class_weight="balanced", design=Design())


def measure(path: Path, configs: Sequence[Config]) -> Iterator[dict[str, Any]]:
    """Train configurations on one table as one population; yield a line for each."""
    ready = load(path)
    problem = ready.problem
    classes = problem.heads[0].classes is not None
    space = Space(classification=classes)
    own = [space.config(one.number, [n for n in one.on if n in space.names], one.dials, one.lr) for one in configs]
    folds = make_folds(ready.strata, task=problem.heads[0].task, count=1, seed=0)
    plan = Plan(STEPS, min(int(folds.train.shape[1]), 64 if len(problem.rows) < 1_200 else 128), STEPS // EVALUATIONS)
    # One seed for all: differences are then of the configurations, not of their draws.
    cohort = Cohort(problem, space.recipe, own, folds, plan, seed=0, seeds=[0] * len(own))
    cohort.train(STEPS)
    validation, _ = cohort.validation()
    test = ready.parts.test
    outputs = cohort.population.outputs(torch.from_numpy(ready.inputs[test]), best=True)
    targets, _known = problem.heads[0].encode(ready.codes[0][test])
    scores = problem.score(outputs, Batch(None, targets.expand(len(own), *targets.shape), None))
    for place, config in enumerate(own):
        yield {
            "table": path.stem,
            "task": problem.heads[0].task,
            "number": config.number,
            "validation": _rounded(validation[place]),
            "test": _rounded(scores[place]),
            "best_step": int(cohort.population.best_step[place]),
            "validation_rows": int(folds.validation.sum()),
            "test_rows": len(test),
        }


def _rounded(value: torch.Tensor) -> float | None:
    return round(float(value), 6) if bool(torch.isfinite(value)) else None


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


@dataclass(frozen=True)
class Scores:
    """Losses (tables, configurations) of the configurations that were run on all of the tables.

    `held` is the loss on validation and test rows together, which a portfolio is learned from.
    """

    tables: list[str]
    numbers: list[int]
    validation: np.ndarray
    test: np.ndarray
    held: np.ndarray

    @classmethod
    def of(cls, lines: Sequence[dict[str, Any]]) -> Scores:
        """Take the lines as a matrix; a configuration that diverged has the loss of a table's worst."""
        frame = pd.DataFrame(lines).drop_duplicates(["table", "number"], keep="last")
        counts = frame.groupby("number")["table"].nunique()
        numbers = sorted(counts[counts >= 0.9 * frame["table"].nunique()].index)  # those of most tables
        frame = frame[frame["number"].isin(numbers)]
        whole = frame.groupby("table")["number"].nunique()
        tables = sorted(whole[whole == len(numbers)].index)
        frame = frame[frame["table"].isin(tables)]
        total = frame["validation_rows"] + frame["test_rows"]
        frame["held"] = (frame["validation"] * frame["validation_rows"] + frame["test"] * frame["test_rows"]) / total

        def matrix(name: str) -> np.ndarray:
            found = frame.pivot(index="table", columns="number", values=name)
            return found.T.fillna(found.max(axis=1)).T.to_numpy(float)

        return cls(tables, numbers, matrix("validation"), matrix("test"), matrix("held"))

    def only(self, rows: np.ndarray) -> Scores:
        """Return the scores of some of the tables."""
        kept = np.flatnonzero(rows)
        return Scores(
            [self.tables[i] for i in kept], self.numbers, self.validation[kept], self.test[kept], self.held[kept]
        )


def regret(losses: np.ndarray) -> np.ndarray:
    """Return (tables, configurations) 0 for a table's best and 1 for its median or worse."""
    best, middle = losses.min(1, keepdims=True), np.median(losses, axis=1, keepdims=True)
    return np.clip((losses - best) / np.maximum(middle - best, 1e-12), 0.0, 1.0)


def greedy(scores: Scores, size: int) -> list[int]:
    """Return the places of a portfolio's configurations, in order."""
    costs = regret(scores.held)
    chosen: list[int] = []
    for _ in range(size):
        so_far = costs[:, chosen].min(1) if chosen else np.ones(len(costs))
        means = np.minimum(costs, so_far[:, None]).mean(0)
        means[chosen] = np.inf
        chosen.append(int(means.argmin()))
    return chosen


def outcome(scores: Scores, costs: np.ndarray, table: int, chosen: Sequence[int]) -> float:
    """Return the regret on the test rows, of `costs`, of that of the chosen which validation prefers."""
    best = min(chosen, key=lambda place: scores.validation[table, place])
    return float(costs[table, best])


def report(options: argparse.Namespace) -> None:
    """Print the regret of portfolios on tables that they were not learned from, and the portfolio as code."""
    scores = Scores.of(read_lines(options.results))
    count, draw, costs = len(scores.tables), np.random.default_rng(0), regret(scores.test)
    shared = np.array([table in BENCHMARK for table in scores.tables])
    print(f"{len(scores.numbers)} configurations on {count} tables: {', '.join(scores.tables)}")
    hand = [place for place, number in enumerate(scores.numbers) if number < HAND_MADE]
    chance = [place for place, number in enumerate(scores.numbers) if HAND_MADE <= number < HAND_MADE + RANDOM]
    for size in (1, 2, 4, 8):
        learned = [
            outcome(scores, costs, table, greedy(scores.only(np.arange(count) != table), size))
            for table in range(count)
        ]
        held_out = greedy(scores.only(~shared), size)
        elsewhere = [outcome(scores, costs, table, held_out) for table in np.flatnonzero(shared)]
        made = [outcome(scores, costs, table, hand[:size]) for table in range(count)]
        drawn = [
            np.mean(
                [
                    outcome(scores, costs, table, draw.choice(chance, min(size, len(chance)), replace=False))
                    for _ in range(200)
                ]
            )
            for table in range(count)
        ]
        shown = {
            "learned, each table left out": learned,
            "hand-made": made,
            "random": drawn,
            "learned less hand-made": np.subtract(learned, made),
            "learned less random": np.subtract(learned, drawn),
            f"learned on the {int((~shared).sum())} tables, on the other {int(shared.sum())}": elsewhere,
            "hand-made on these": np.array(made)[shared],
        }
        print(f"after {size}: " + "; ".join(f"{name} {told(values)}" for name, values in shown.items()))
    everything = {config.number: config for config in candidates()}
    for place in greedy(scores.only(~shared), options.size):
        config = everything[scores.numbers[place]]
        dials = {key: float(f"{config.dials[key]:.2g}") for key in Space().searched(config.on)}
        print(f"        ({config.on!r}, {dials!r}, {config.lr:.2g}),  # {config.number}")


def told(values: Any) -> str:
    """The mean over tables with its 95 % bootstrap interval."""
    values = np.asarray(values, float)
    means = values[np.random.default_rng(0).integers(len(values), size=(4000, len(values)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{values.mean():.2f} [{low:.2f}, {high:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "report"):
        command = commands.add_parser(name)
        command.add_argument("--results", type=Path, default=RESULTS)
        if name == "run":
            command.add_argument("--data", type=Path, required=True, help="the folder that holds tables/")
            command.add_argument("--minutes", type=float, default=25.0, help="processor minutes, earlier runs counted")
            command.add_argument("--tables", type=lambda text: text.split(","), default=None)
        else:
            command.add_argument("--size", type=int, default=8, help="configurations of the portfolio")
    options = parser.parse_args()
    run(options) if options.command == "run" else report(options)


if __name__ == "__main__":
    main()
