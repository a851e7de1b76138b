"""What an ensemble's members should share: batches of their own or the same ones, each its own stop or one for all.

Six tables and three recipes, as in bfloat16.py; for each an ensemble of sixteen networks that differ in their seeds,
trained four times from the same initial weights. With patience, the weights of the best evaluation are kept: of each
member's, or of the mean answer's. Told is the test loss of the mean answer, in per cent of the usual way's (batches of
their own, each its own stop): the geometric mean over the eighteen ensembles, with a 95 % interval by Student's t over
the tables' means.

    python -m benchmarks.jointly             # measure, print, write results/jointly.json
    python -m benchmarks.jointly --show      # print what was stored
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from pathlib import Path
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from benchmarks.bfloat16 import BATCH, EVERY, RECIPES, TABLES, rows_of
from poise import Patience, Recipe
from poise.core.context import Batch
from poise.train.jointly import joint_outputs
from poise.train.losses import CrossEntropy, SquaredError
from poise.train.population import Population

STORED = Path(__file__).parent / "results" / "jointly.json"
MEMBERS, LONGEST, PATIENCE = 16, 4000, 8
ARMS = {
    "own batches, own stop": {"batches": "own", "stopping": "member"},
    "own batches, one stop": {"batches": "own", "stopping": "ensemble"},
    "same batches, own stop": {"batches": "shared", "stopping": "member"},
    "same batches, one stop": {"batches": "shared", "stopping": "ensemble"},
}


def measure(table: str, name: str) -> dict[str, Any]:
    """Train the four ensembles of one recipe on one table."""
    train, stop, test, build = rows_of(table)
    classes = train.targets.shape[1] if train.targets.shape[1] > 1 else None

    def score(outputs: Tensor, batch: Batch) -> Tensor:
        if classes is None:
            return torch.square(outputs - batch.targets).mean((-1, -2))
        return -(batch.targets * outputs.log_softmax(-1)).sum(-1).mean(-1)

    losses, steps = {}, {}
    for arm, options in ARMS.items():
        ensemble = Population(
            build, Recipe(*RECIPES[name], Patience(PATIENCE)), CrossEntropy() if classes else SquaredError(),
            lr=[3e-3] * MEMBERS, classes=classes, seed=1, **options,
        )  # fmt: skip
        while ensemble.state.step < LONGEST and not bool(ensemble.stopped.all()):
            ensemble.train(train, EVERY, min(BATCH, len(train)))
            ensemble.evaluate(stop, score)
        outputs = ensemble.outputs(test.inputs, best=True)
        joint = joint_outputs(outputs, ~ensemble.diverged, classes, None)
        losses[arm] = float(score(joint, Batch(None, test.targets[None], None))[0])
        steps[arm] = float(ensemble.best_step.float().mean())
    return {"table": table, "recipe": name, "loss": losses, "steps": steps}


def show(rows: list[dict[str, Any]]) -> None:
    usual = next(iter(ARMS))
    print(f"{'':>26}{'loss, % of the usual':>24}{'better':>10}{'kept step':>12}")
    for arm in ARMS:
        logs = {table: [math.log(row["loss"][arm] / row["loss"][usual]) for row in rows if row["table"] == table]
                for table in TABLES}  # fmt: skip
        means = [statistics.mean(found) for found in logs.values()]
        centre = statistics.mean(means)
        half = stats.t.ppf(0.975, len(means) - 1) * statistics.stdev(means) / len(means) ** 0.5
        low, high = (100 * math.exp(centre + sign * half) for sign in (-1, 1))
        better = sum(row["loss"][arm] < row["loss"][usual] for row in rows)
        step = statistics.mean(row["steps"][arm] for row in rows)
        told = f"{100 * math.exp(centre):.1f} [{low:.1f}, {high:.1f}]"
        print(f"{arm:>26}{told:>24}{f'{better} of {len(rows)}':>10}{step:>12.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="store_true", help="print what was stored")
    if not parser.parse_args().show:
        torch.set_num_threads(1)
        rows = [measure(table, name) for table in TABLES for name in RECIPES]
        STORED.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    show(json.loads(STORED.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
