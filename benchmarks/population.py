"""How many training steps a second a population takes, against a loop over networks in plain torch.

Both train the same thing: three hidden layers with batch norm, ReLU and dropout, mixup, label smoothing, AdamW, batches
of 128 without replacement, every configuration with its own rates. The loop is what a good user of torch writes
(`nn.BatchNorm1d`, `nn.Dropout`, `F.cross_entropy(label_smoothing=)`, one beta draw a batch, `AdamW(fused=True)`); the
population is `poise.train.population.Population` with 32 members. One thread, in turns, in one process; then one
population a process against one loop a process, in two processes at once.

    python -m benchmarks.population             # measure, print, write results/population.json
    python -m benchmarks.population --show      # print what was stored
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from poise.batch import LabelSmoothing, Mixup
from poise.core.recipe import Recipe
from poise.models.tabular import Mlp
from poise.network import BatchNorm, Dropout
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows
from poise.update import Decay

STORED = Path(__file__).parent / "results" / "population.json"
WIDTHS = (64, 128, 256)
ROWS, COLUMNS, CLASSES, BATCH, MEMBERS = 4096, 64, 10, 128, 32

Steps = Callable[[int], None]


@dataclass(frozen=True)
class Cost:
    """Seconds of one training step of one network."""

    wall: float
    processor: float


def table() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(ROWS, COLUMNS, generator=generator)
    return inputs, (inputs @ torch.randn(COLUMNS, CLASSES, generator=generator)).argmax(1)


def loop(width: int) -> Steps:
    """The plain loop over one network; all configurations cost it the same."""
    inputs, classes = table()
    layers: list[nn.Module] = []
    for before in (COLUMNS, width, width):
        layers += [nn.Linear(before, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.3)]
    model = nn.Sequential(*layers, nn.Linear(width, CLASSES))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    draws = np.random.default_rng(0)
    order = torch.randperm(ROWS)
    place = 0

    def steps(count: int) -> None:
        nonlocal order, place
        for _ in range(count):
            if place + BATCH > ROWS:
                order, place = torch.randperm(ROWS), 0
            rows = order[place : place + BATCH]
            place += BATCH
            x, y = inputs[rows], classes[rows]
            share, partner = float(draws.beta(0.4, 0.4)), torch.randperm(BATCH)
            outputs = model(torch.lerp(x, x[partner], 1 - share))
            loss = share * F.cross_entropy(outputs, y, label_smoothing=0.1)
            loss = loss + (1 - share) * F.cross_entropy(outputs, y[partner], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return steps


def population(width: int, members: int = MEMBERS) -> Steps:
    """The population; dropout, mixup, smoothing, decay and learning rate differ by member."""
    inputs, classes = table()
    data = Rows(inputs, F.one_hot(classes, CLASSES).float())
    spread = torch.linspace(0.0, 1.0, members)
    found = Population(
        lambda: Mlp(COLUMNS, CLASSES, width=width, depth=3),
        Recipe(BatchNorm(), Dropout(0.3), Mixup(0.4), LabelSmoothing(0.1), Decay(0.01)),
        CrossEntropy(),
        lr=1e-3 * (1 + spread),
        dials={
            "dropout.p": 0.1 + 0.4 * spread,
            "mixup.alpha": 0.1 + spread,
            "label_smoothing.amount": 0.05 + 0.1 * spread,
            "decay.rate": 0.01 * (1 + spread),
        },
        classes=CLASSES,
    )

    def steps(count: int) -> None:
        found.train(data, count, BATCH)

    return steps


def timed(steps: Steps, count: int, networks: int) -> Cost:
    wall, processor = time.perf_counter(), time.process_time()
    steps(count)
    share = 1 / (count * networks)
    return Cost((time.perf_counter() - wall) * share, (time.process_time() - processor) * share)


def measure(width: int, rounds: int, seconds: float = 0.5) -> dict[str, Any]:
    """Return the costs of both, measured in turns: what else the machine does then falls on both alike."""
    both = {"loop": (loop(width), 1), "population": (population(width), MEMBERS)}
    counts = {}
    for name, (steps, networks) in both.items():
        steps(3)
        counts[name] = max(2, round(seconds / (timed(steps, 10, networks).wall * networks)))
    costs: dict[str, list[Cost]] = {name: [] for name in both}
    for _ in range(rounds):
        for name, (steps, networks) in both.items():
            costs[name].append(timed(steps, counts[name], networks))
    return {"width": width} | compared(costs)


def compared(costs: dict[str, list[Cost]]) -> dict[str, Any]:
    """Return, for either clock: microseconds a step of both, and the ratio of each round."""
    row: dict[str, Any] = {}
    for clock in ("wall", "processor"):
        own = {name: [getattr(cost, clock) for cost in found] for name, found in costs.items()}
        ratios = [slow / fast for slow, fast in zip(own["loop"], own["population"], strict=True)]
        row[clock] = {
            **{f"{name}_us": round(1e6 * statistics.median(found), 1) for name, found in own.items()},
            "ratio": round(statistics.median(ratios), 2),
            "spread": [round(min(ratios), 2), round(max(ratios), 2)],
        }
    return row


def _worker(kind: str, width: int, rounds: int, seconds: float, gate: Any, pipe: Any) -> None:
    torch.set_num_threads(1)
    steps, networks = (population(width, MEMBERS // 2), MEMBERS // 2) if kind == "population" else (loop(width), 1)
    steps(3)
    count = max(2, round(seconds / (timed(steps, 10, networks).wall * networks)))
    found = []
    for _ in range(rounds):
        gate.wait()
        found.append(timed(steps, count, networks))
        gate.wait()
    pipe.send(found)


def measure_shards(width: int, rounds: int, seconds: float = 0.5) -> dict[str, Any]:
    """Return the costs with two processes of one kind at work at a time: 16 members each, or one loop each."""
    context = multiprocessing.get_context("spawn")
    costs = {}
    for kind in ("loop", "population"):
        gate, pipes, workers = context.Barrier(2), [], []
        for _ in range(2):
            ours, theirs = context.Pipe()
            worker = context.Process(target=_worker, args=(kind, width, rounds, seconds, gate, theirs))
            worker.start()
            pipes.append(ours)
            workers.append(worker)
        found = [pipe.recv() for pipe in pipes]
        for worker in workers:
            worker.join()
        # A step of one network in both at once: two networks advance in the time of the slower one.
        costs[kind] = [
            Cost(max(a.wall, b.wall) / 2, (a.processor + b.processor) / 2) for a, b in zip(*found, strict=True)
        ]
    return {"width": width} | compared(costs)


def shown(stored: dict[str, Any]) -> str:
    lines = [f"{stored['machine']}; torch {stored['torch']}; {stored['rounds']} rounds in turns"]
    for part, title in (("one_process", "one process, one thread, 32 members"),
                        ("two_processes", "two processes, one thread and 16 members each")):  # fmt: skip
        lines += ["", title, f"{'':>7}{'wall clock':>42}{'processor time':>42}"]
        lines.append(f"{'width':>7}" + 2 * f"{'loop us':>10}{'member us':>11}{'ratio (spread)':>21}")
        for row in stored.get(part, []):
            line = f"{row['width']:>7}"
            for clock in ("wall", "processor"):
                its = row[clock]
                spread = f"{its['ratio']:.2f} ({its['spread'][0]:.2f} to {its['spread'][1]:.2f})"
                line += f"{its['loop_us']:>10.0f}{its['population_us']:>11.0f}{spread:>21}"
            lines.append(line)
    return "\n".join(lines)


def machine() -> str:
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return f"{names[0] if names else platform.processor()}, {len(names)} cores, shared"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="store_true", help="print the stored results")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--dry", action="store_true", help="one process only, and write nothing")
    given = parser.parse_args()
    if given.show:
        print(shown(json.loads(STORED.read_text())))
        return
    torch.set_num_threads(1)
    stored: dict[str, Any] = {"machine": machine(), "torch": torch.__version__, "rounds": given.rounds}
    stored["one_process"] = [measure(width, given.rounds) for width in given.widths]
    if not given.dry:
        stored["two_processes"] = [measure_shards(width, given.rounds) for width in given.widths]
        STORED.parent.mkdir(exist_ok=True)
        STORED.write_text(json.dumps(stored, indent=1) + "\n")
    print(shown(stored))


if __name__ == "__main__":
    main()
