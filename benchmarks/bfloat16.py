"""What products of operands rounded to bfloat16 cost in test loss, and what they save.

Six tables, three recipes, and for each sixteen networks: the network of a study of a table, trained twice from the same
seed on the same batches, masks and mixtures, once with products of float32 and once of bfloat16; the best of its
evaluations on held-out rows is tested. Told is the mean of the paired differences in test loss (cross-entropy, or
squared error of the standardised target) with a 95 % interval by Student's t, beside the spread of the loss over seeds
with float32. Then the time of one step of `benchmarks/population.py` with both in turns, by processor time on one core.

    python -m benchmarks.bfloat16             # measure, print, write results/bfloat16.json
    python -m benchmarks.bfloat16 --show      # print what was stored
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks import population as speed
from benchmarks.tables_data import DATA, load_problem
from poise import BatchNorm, Decay, Dropout, Ema, LabelSmoothing, Mixup, Recipe
from poise.core.context import Batch
from poise.data import Encoder
from poise.kernels.product import PRODUCTS, has_bfloat16
from poise.models.edges import quantile_edges
from poise.models.tabular import ColumnPlan, TabularNet
from poise.train.losses import CrossEntropy, SquaredError
from poise.train.population import Population, Rows

STORED = Path(__file__).parent / "results" / "bfloat16.json"
TABLES = ("credit_g", "vehicle", "concrete", "phoneme", "spambase", "abalone")
MEMBERS, STEPS, EVERY, BATCH, WIDTH = 16, 1000, 50, 128, 128
RECIPES = {
    "nothing": Recipe(),
    "norm, dropout, decay": Recipe(BatchNorm(), Dropout(0.2), Decay(0.02)),
    "mixup, smoothing, average": Recipe(BatchNorm(), Dropout(0.1), Mixup(0.3), LabelSmoothing(0.05), Ema(0.995)),
}


def rows_of(table: str) -> tuple[Rows, Rows, Rows, Callable[[], TabularNet]]:
    """Return the rows to train on, to stop by and to test on, and what makes a network."""
    problem = load_problem(DATA, table, 0)
    order = torch.randperm(len(problem.train_target), generator=torch.Generator().manual_seed(0))
    stop, train = order[: len(order) // 4].numpy(), order[len(order) // 4 :].numpy()
    encoder = Encoder().fit(problem.train_features.iloc[train].reset_index(drop=True))
    known, asked = (
        torch.from_numpy(encoder.transform(part)) for part in (problem.train_features, problem.test_features)
    )
    if problem.classes:
        codes = {label: place for place, label in enumerate(problem.classes)}
        first, second = (
            F.one_hot(torch.tensor([codes[label] for label in part]), len(codes)).float()
            for part in (problem.train_target, problem.test_target)
        )
    else:
        raw = [np.asarray(part, dtype=np.float64) for part in (problem.train_target, problem.test_target)]
        centre, scale = raw[0][train].mean(), raw[0][train].std()
        first, second = (torch.from_numpy((part - centre) / scale).float()[:, None] for part in raw)
    plan = ColumnPlan(tuple(int(group) for group in encoder.groups), tuple(encoder.kinds))
    numeric = plan.numeric()
    bins = max(2, min(8, 512 // max(1, len(numeric))))
    edges = quantile_edges(known[train].numpy(), numeric, bins) if numeric else None
    build = partial(TabularNet, plan, first.shape[1], width=WIDTH, edges=edges)
    return Rows(known[train], first[train]), Rows(known[stop], first[stop]), Rows(asked, second), build


def losses(outputs: Tensor, batch: Batch) -> Tensor:
    """Return each member's loss (M,) in float64."""
    outputs, targets = outputs.double(), batch.targets.double()
    if targets.shape[-1] == 1:
        return (outputs - targets).square().mean((1, 2))
    return -(targets * outputs.log_softmax(-1)).sum(-1).mean(1)


def tested(table: str, recipe: Recipe, products: str, members: int, steps: int) -> list[float]:
    """Return the test loss of each member at its best evaluation."""
    train, stop, test, build = rows_of(table)
    classes = None if train.targets.shape[1] == 1 else train.targets.shape[1]
    if classes is None:
        recipe = recipe.without(*[part.name for part in recipe if isinstance(part, LabelSmoothing)])
    found = Population(
        build, recipe, SquaredError() if classes is None else CrossEntropy(), lr=[2e-3] * members,
        seed=1, classes=classes, products=products,
    )  # fmt: skip
    best, kept = torch.full((members,), math.inf, dtype=torch.float64), torch.zeros(members, dtype=torch.float64)
    for _ in range(steps // EVERY):
        found.train(train, EVERY, min(BATCH, len(train)))
        score, own = (
            losses(found.outputs(part.inputs), Batch(part.inputs, part.targets.expand(members, -1, -1), None))
            for part in (stop, test)
        )
        kept, best = torch.where(score < best, own, kept), torch.minimum(best, score)
    losses_found: list[float] = kept.tolist()
    return losses_found


def interval(differences: list[float]) -> list[float]:
    """Return the mean and the two ends of its 95 % interval by Student's t."""
    from scipy import stats

    mean, error = statistics.fmean(differences), statistics.stdev(differences) / math.sqrt(len(differences))
    reach = float(stats.t.ppf(0.975, len(differences) - 1)) * error
    return [mean, mean - reach, mean + reach]


def compared(members: int, steps: int) -> list[dict[str, Any]]:
    """Return each table's and recipe's losses with both kinds of products."""
    found = []
    for table in TABLES:
        for name, recipe in RECIPES.items():
            both = [tested(table, recipe, products, members, steps) for products in PRODUCTS]
            row = {"table": table, "recipe": name, "losses": both}
            found.append(row)
            print(told(row), flush=True)
    return found


def told(row: dict[str, Any]) -> str:
    wide, half = row["losses"]
    mean, low, high = interval([b - a for a, b in zip(wide, half, strict=True)])
    return (f"{row['table']:>10}{row['recipe']:>28}{statistics.fmean(wide):>9.4f}{statistics.stdev(wide):>9.4f}"
            f"{mean:>+10.4f} ({low:+.4f} to {high:+.4f})")  # fmt: skip


def timed(rounds: int) -> list[dict[str, Any]]:
    """Return the processor time of one network's step with both, by width, measured in turns on one core."""
    found = []
    for width in speed.WIDTHS:
        both = [speed.population(width, products=products) for products in PRODUCTS]
        count = speed.count_for(both[0], speed.MEMBERS, 0.5)
        speed.count_for(both[1], speed.MEMBERS, 0.5)
        costs: list[list[float]] = [[], []]
        for _ in range(rounds):
            for steps, own in zip(both, costs, strict=True):
                own.append(speed.timed(steps, count, speed.MEMBERS).processor)
        found.append({"width": width, "us": [speed.median_us(own) for own in costs], "ratio": speed.ratio(*costs)})
    return found


def shown(stored: dict[str, Any]) -> str:
    lines = [f"{stored['machine']}; torch {stored['torch']}; {stored['members']} members of width {WIDTH}, "
             f"{stored['steps']} steps of {BATCH} rows", "",
             f"{'table':>10}{'recipe':>28}{'loss':>9}{'spread':>9}{'bfloat16 - float32':>32}"]  # fmt: skip
    lines += [told(row) for row in stored["losses"]]
    parts = [interval([(b - a) / statistics.stdev(row["losses"][0]) for a, b in zip(*row["losses"], strict=True)])
             for row in stored["losses"]]  # fmt: skip
    outside = sum(low > 0 or high < 0 for _, low, high in parts)
    pooled = interval([mean for mean, _, _ in parts])
    lines += ["", f"all, in units of the spread over seeds: {pooled[0]:+.3f} ({pooled[1]:+.3f} to {pooled[2]:+.3f}); "
              f"{outside} of {len(parts)} intervals are without 0"]  # fmt: skip
    lines += ["", "one step of one network on one core, three hidden layers: microseconds",
              f"{'width':>7}{'float32':>9}{'bfloat16':>10}{'times (spread)':>23}"]  # fmt: skip
    for row in stored["times"]:
        low, high = row["us"]
        lines.append(f"{row['width']:>7}{low:>9.0f}{high:>10.0f}"
                     f"{'{:.2f} ({:.2f} to {:.2f})'.format(*row['ratio']):>23}")  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="store_true", help="print the stored results")
    parser.add_argument("--members", type=int, default=MEMBERS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--times", action="store_true", help="measure the times alone, and keep the stored losses")
    parser.add_argument("--dry", action="store_true", help="write nothing")
    given = parser.parse_args()
    if given.show:
        print(shown(json.loads(STORED.read_text())))
        return
    if not has_bfloat16():
        raise SystemExit("no kernels here, or no processor with AVX-512 BF16: there is nothing to compare.")
    torch.set_num_threads(1)
    stored: dict[str, Any] = json.loads(STORED.read_text()) if given.times else {
        "machine": speed.machine(), "torch": torch.__version__, "members": given.members, "steps": given.steps,
        "losses": compared(given.members, given.steps),
    }  # fmt: skip
    stored["times"] = timed(given.rounds)
    if not given.dry:
        STORED.write_text(json.dumps(stored, indent=1) + "\n")
    print(shown(stored))


if __name__ == "__main__":
    main()
