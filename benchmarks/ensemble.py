"""What an ensemble of 32 costs, against one network and against a plain loop of 32 torch models.

The networks: three hidden layers with batch norm, ReLU and dropout, AdamW with weight decay, batches of 128 without
replacement, equal settings, different seeds. Three ways: the ensemble as one program (a `Population` of equal dials,
and its `stack()` for prediction), one member alone (a population of one), and 32 plain torch models one after another.
Each trains for the same number of steps, and predicts the mean of the class probabilities of the same rows, once for a
table of rows and once for a single row. On one core, in turns in one process, by processor time.

    python -m benchmarks.ensemble             # measure, print, write results/ensemble.json
    python -m benchmarks.ensemble --show      # print what was stored
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.population import BATCH, CLASSES, COLUMNS, ROWS, machine, median_us, ratio, table
from poise.core.recipe import Recipe
from poise.models.tabular import Mlp
from poise.network import BatchNorm, Dropout
from poise.predict.ensemble import average_probabilities
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows
from poise.update import Decay

STORED = Path(__file__).parent / "results" / "ensemble.json"
WIDTHS = (64, 128, 256)
MEMBERS = 32
STEPS = 4  # of every network, a measurement
QUESTIONS = (ROWS, 1)  # rows to predict at a time
TASKS = {"fit": "fit", f"predict {ROWS}": f"predict {ROWS}", "predict 1": "predict 1 row"}

Fit = Callable[[], None]
Predict = Callable[[Tensor], Tensor]


def program(width: int, members: int) -> tuple[Fit, Predict]:
    """The members as one program; one member alone if there is one."""
    inputs, classes = table()
    data = Rows(inputs, F.one_hot(classes, CLASSES).float())
    found = Population(
        lambda: Mlp(COLUMNS, CLASSES, width=width, depth=3),
        Recipe(BatchNorm(), Dropout(0.3), Decay(0.01)),
        CrossEntropy(),
        lr=[1e-3] * members,
        classes=CLASSES,
    )

    def fit() -> None:
        found.train(data, STEPS, BATCH)

    fit()
    stack = found.stack()
    return fit, lambda x: average_probabilities(stack.outputs(x))


def loop(width: int, members: int) -> tuple[Fit, Predict]:
    """The same in plain torch, one network after another."""
    inputs, classes = table()
    models = [_network(width) for _ in range(members)]
    optimizers = [torch.optim.AdamW(m.parameters(), lr=1e-3, weight_decay=0.01, fused=True) for m in models]
    orders = [torch.randperm(ROWS) for _ in models]
    place = 0

    def fit() -> None:
        nonlocal place, orders
        if place + STEPS * BATCH > ROWS:
            place, orders = 0, [torch.randperm(ROWS) for _ in models]
        for model, optimizer, order in zip(models, optimizers, orders, strict=True):
            model.train()
            for rows in order[place : place + STEPS * BATCH].split(BATCH):
                loss = F.cross_entropy(model(inputs[rows]), classes[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        place += STEPS * BATCH

    @torch.inference_mode()
    def predict(x: Tensor) -> Tensor:
        total = torch.zeros(len(x), CLASSES)
        for model in models:
            total += torch.softmax(model.eval()(x), dim=1)
        return total / members

    fit()
    return fit, predict


def _network(width: int) -> nn.Module:
    layers: list[nn.Module] = []
    for before in (COLUMNS, width, width):
        layers += [nn.Linear(before, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.3)]
    return nn.Sequential(*layers, nn.Linear(width, CLASSES))


def seconds(work: Callable[[], Any], times: int = 1) -> float:
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) / times


def compared(width: int, rounds: int) -> dict[str, Any]:
    """Return the processor time of the three, measured in turns: what else the machine does falls on all."""
    inputs = table()[0]
    ways = {"ensemble": program(width, MEMBERS), "alone": program(width, 1), "loop": loop(width, MEMBERS)}
    # What is short is done more often in a turn. One member's work is 32 times less than that of the others.
    repeated = {"ensemble": 1, "alone": 16, "loop": 1}
    works: dict[str, dict[str, tuple[Callable[[], Any], int]]] = {"fit": {}}
    for name, (fit, predict) in ways.items():
        works["fit"][name] = (fit, repeated[name])
        for rows in QUESTIONS:
            asked = inputs[:rows].clone()
            often = repeated[name] * (1 if rows > 1 else 8)
            works.setdefault(f"predict {rows}", {})[name] = (partial(predict, asked), often)
    found: dict[str, Any] = {"width": width}
    for task, own in works.items():
        costs: dict[str, list[float]] = {name: [] for name in own}
        for turn in range(rounds + 1):
            for name, (work, often) in own.items():
                spent = seconds(work, often)
                if turn:  # the first one warms up
                    costs[name].append(spent / (STEPS if task == "fit" else 1))
        found[task] = {
            **{f"{name}_us": median_us(costs[name]) for name in own},
            "times_alone": ratio(costs["ensemble"], costs["alone"]),
            "loop_times": ratio(costs["loop"], costs["ensemble"]),
        }
    return found


def shown(stored: dict[str, Any]) -> str:
    def told(found: list[float]) -> str:
        return f"{found[0]:.1f} ({found[1]:.1f} to {found[2]:.1f})"

    lines = [f"{stored['machine']}; torch {stored['torch']}; {stored['rounds']} rounds in turns"]
    lines.append("one core, processor time: a step of every member, and a prediction; median (lowest to highest)")
    lines.append(f"{'width':>22}{'loop us':>10}{'ensemble us':>13}{'loop / ensemble':>24}{'ensemble / member':>24}")
    for task, name in TASKS.items():
        for row in stored["widths"]:
            own = row[task]
            lines.append(f"{name:>16}{row['width']:>6}{own['loop_us']:>10.0f}{own['ensemble_us']:>13.0f}"
                         f"{told(own['loop_times']):>24}{told(own['times_alone']):>24}")  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="store_true", help="print the stored results")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--dry", action="store_true", help="write nothing")
    given = parser.parse_args()
    if given.show:
        print(shown(json.loads(STORED.read_text())))
        return
    torch.set_num_threads(1)
    stored: dict[str, Any] = {
        "machine": machine(), "torch": torch.__version__, "rounds": given.rounds,
        "widths": [compared(width, given.rounds) for width in given.widths],
    }  # fmt: skip
    if not given.dry:
        STORED.parent.mkdir(exist_ok=True)
        STORED.write_text(json.dumps(stored, indent=1) + "\n")
    print(shown(stored))


if __name__ == "__main__":
    main()
