"""How many training steps a second a population takes, against a loop over networks in plain torch.

Both train the same thing: three hidden layers with batch norm, ReLU and dropout, mixup, label smoothing, AdamW, batches
of 128 without replacement, every configuration with its own rates. The loop is what a good user of torch writes
(`nn.BatchNorm1d`, `nn.Dropout`, `F.cross_entropy(label_smoothing=)`, one beta draw a batch, `AdamW(fused=True)`); the
population is `poise.train.population.Population`. First on one core, in turns in one process, by processor time.
Then on all cores: one population in as many threads, one loop, and one loop a core in processes of their own, again in
turns; with products of float32, and of bfloat16. Then a study's bracket of a table, with everything that a search
tries (`population_study.py`). Last, where a member's step goes, kernel by kernel.

    python -m benchmarks.population             # measure, print, write results/population.json
    python -m benchmarks.population --show      # print what was stored
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
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
from poise.kernels import available
from poise.kernels.product import PRODUCTS
from poise.models.tabular import Mlp
from poise.network import BatchNorm, Dropout
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows
from poise.update import Decay

STORED = Path(__file__).parent / "results" / "population.json"
WIDTHS = (64, 128, 256)
ROWS, COLUMNS, CLASSES, BATCH, MEMBERS, MANY = 4096, 64, 10, 128, 32, 256
CORES = os.cpu_count() or 1

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


def loop(width: int, device: str = "cpu") -> Steps:
    """The plain loop over one network; all configurations cost it the same."""
    inputs, classes = (tensor.to(device) for tensor in table())
    layers: list[nn.Module] = []
    for before in (COLUMNS, width, width):
        layers += [nn.Linear(before, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.3)]
    model = nn.Sequential(*layers, nn.Linear(width, CLASSES)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    draws = np.random.default_rng(0)
    order = torch.randperm(ROWS, device=device)
    place = 0

    def steps(count: int) -> None:
        nonlocal order, place
        for _ in range(count):
            if place + BATCH > ROWS:
                order, place = torch.randperm(ROWS, device=device), 0
            rows = order[place : place + BATCH]
            place += BATCH
            x, y = inputs[rows], classes[rows]
            share, partner = float(draws.beta(0.4, 0.4)), torch.randperm(BATCH, device=device)
            outputs = model(torch.lerp(x, x[partner], 1 - share))
            loss = share * F.cross_entropy(outputs, y, label_smoothing=0.1)
            loss = loss + (1 - share) * F.cross_entropy(outputs, y[partner], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return steps


def population(width: int, members: int = MEMBERS, products: str = "float32", device: str = "cpu") -> Steps:
    """The population; dropout, mixup, smoothing, decay and learning rate differ by member."""
    inputs, classes = table()
    data = Rows(inputs, F.one_hot(classes, CLASSES).float()).to(device)
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
        products=products,
    ).to(device)

    def steps(count: int) -> None:
        found.train(data, count, BATCH)

    return steps


def timed(steps: Steps, count: int, networks: int) -> Cost:
    wall, processor = time.perf_counter(), time.process_time()
    steps(count)
    share = 1 / (count * networks)
    return Cost((time.perf_counter() - wall) * share, (time.process_time() - processor) * share)


def count_for(steps: Steps, networks: int, seconds: float) -> int:
    steps(3)
    return max(2, round(seconds / (timed(steps, 5, networks).wall * networks)))


def operations(width: int) -> int:
    """Floating-point operations of the matrix products of one step of one network; the input needs no gradient."""
    sides = [(COLUMNS, width), (width, width), (width, width), (width, CLASSES)]
    return 2 * BATCH * (3 * sum(a * b for a, b in sides) - COLUMNS * width)


def peak() -> float:
    """Operations that one core does a second in torch's own product of large matrices, the best of several."""
    left, right = torch.randn(1024, 1024), torch.randn(1024, 1024)
    best = 0.0
    for _ in range(12):
        began = time.process_time()
        torch.mm(left, right)
        best = max(best, 2 * 1024**3 / (time.process_time() - began))
    return best


def one_core(width: int, rounds: int, seconds: float = 0.5) -> dict[str, Any]:
    """Return the processor time of both on one core, measured in turns: what else the machine does falls on both."""
    both = {"loop": (loop(width), 1), "population": (population(width), MEMBERS)}
    counts = {name: count_for(*one, seconds) for name, one in both.items()}
    costs: dict[str, list[float]] = {name: [] for name in both}
    for _ in range(rounds):
        for name, (steps, networks) in both.items():
            costs[name].append(timed(steps, counts[name], networks).processor)
    own = median_us(costs["population"])
    return {
        "width": width, "loop_us": median_us(costs["loop"]), "population_us": own,
        "ratio": ratio(costs["loop"], costs["population"]), "share_of_peak": operations(width) / (own * 1e-6) / peak(),
    }  # fmt: skip


def _worker(width: int, rounds: int, seconds: float, gate: Any, pipe: Any) -> None:
    torch.set_num_threads(1)
    steps = loop(width)
    count = count_for(steps, 1, seconds)
    found = []
    for _ in range(rounds):
        gate.wait()
        found.append(timed(steps, count, 1).wall)
        gate.wait()
    pipe.send(found)


def all_cores(width: int, members: int, products: str, rounds: int, seconds: float = 0.5) -> dict[str, Any]:
    """Return the wall time of a network's step: a population in threads, one loop, and a loop a core at once."""
    context = multiprocessing.get_context("spawn")
    gate = context.Barrier(CORES + 1)
    workers, pipes = [], []
    for _ in range(CORES):
        ours, theirs = context.Pipe()
        workers.append(context.Process(target=_worker, args=(width, rounds, seconds, gate, theirs)))
        workers[-1].start()
        pipes.append(ours)
    torch.set_num_threads(CORES)
    ours = population(width, members, products)
    many = count_for(ours, members, seconds)
    torch.set_num_threads(1)
    single = loop(width)
    few = count_for(single, 1, seconds)
    costs: dict[str, list[float]] = {"population": [], "loop": []}
    processor: dict[str, list[float]] = {"population": [], "loop": []}
    for _ in range(rounds):
        gate.wait()  # the loops of all cores begin, and are waited for
        gate.wait()
        for name, threads, cost in (("population", CORES, (ours, many, members)), ("loop", 1, (single, few, 1))):
            torch.set_num_threads(threads)
            found = timed(*cost)
            costs[name].append(found.wall)
            processor[name].append(found.processor / threads)
        torch.set_num_threads(1)
    walls = [pipe.recv() for pipe in pipes]
    for worker in workers:
        worker.join()
    # A step of one network in each process at once: so many networks advance in the time of the slowest.
    costs["loops"] = [max(own) / CORES for own in zip(*walls, strict=True)]
    own = median_us(costs["population"])
    return {
        "width": width, "members": members, "products": products, "population_us": own,
        "loop_us": median_us(costs["loop"]), "loops_us": median_us(costs["loops"]),
        "ratio": ratio(costs["loop"], costs["population"]), "steps_a_second": round(1e6 / own),
        "ratio_to_loops": ratio(costs["loops"], costs["population"]),
        "ratio_of_processor_time": ratio(processor["loop"], processor["population"]),
    }  # fmt: skip


def median_us(costs: list[float]) -> float:
    return round(1e6 * statistics.median(costs), 1)


def ratio(slow: list[float], fast: list[float]) -> list[float]:
    """Return the median, the lowest and the highest of the rounds' ratios."""
    found = [a / b for a, b in zip(slow, fast, strict=True)]
    return [round(statistics.median(found), 2), round(min(found), 2), round(max(found), 2)]


def shown(stored: dict[str, Any]) -> str:
    lines = [f"{stored['machine']}; torch {stored['torch']}; {stored['rounds']} rounds in turns"]
    lines.append(f"matrix products of torch at their best: {stored['peak'] / 1e9:.0f} GFLOP/s on one core")

    def told(found: list[float]) -> str:
        return f"{found[0]:.1f} ({found[1]:.1f} to {found[2]:.1f})"

    lines += ["", f"one core, {MEMBERS} members, processor time of one network's step",
              f"{'width':>7}{'loop us':>10}{'member us':>11}{'ratio (spread)':>23}{'of peak':>9}"]  # fmt: skip
    for row in stored["one_core"]:
        lines.append(f"{row['width']:>7}{row['loop_us']:>10.0f}{row['population_us']:>11.0f}{told(row['ratio']):>23}"
                     f"{row['share_of_peak']:>9.0%}")  # fmt: skip
    lines += ["", f"{stored['cores']} cores, wall clock of one network's step: (a) one loop, (b) a loop a core at once",
              f"{'width':>7}{'members':>9}{'products':>10}{'(a) us':>8}{'(b) us':>8}{'member us':>11}{'steps/s':>9}"
              f"{'times (a)':>20}{'times (b)':>20}{'by processor time':>21}"]  # fmt: skip
    for row in stored["all_cores"]:
        lines.append(f"{row['width']:>7}{row['members']:>9}{row['products']:>10}{row['loop_us']:>8.0f}{row['loops_us']:>8.0f}"
                     f"{row['population_us']:>11.0f}{row['steps_a_second']:>9}{told(row['ratio']):>20}"
                     f"{told(row['ratio_to_loops']):>20}{told(row['ratio_of_processor_time']):>21}")  # fmt: skip
    from benchmarks.population_study import told as told_of_studies

    lines += told_of_studies(stored["study"])
    tables = stored["pieces"]
    lines += ["", "where a member's step goes: microseconds on one core",
              f"{'width':>36}" + "".join(f"{row['width']:>8}" for row in tables)]  # fmt: skip
    for name in tables[0]["pieces"]:
        lines.append(f"{name:>36}" + "".join(f"{row['pieces'][name]:>8.0f}" for row in tables))
    for name in ("whole", "products at the peak"):
        lines.append(f"{name:>36}" + "".join(f"{row[name]:>8.0f}" for row in tables))
    return "\n".join(lines)


def machine() -> str:
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return f"{names[0] if names else platform.processor()}, {len(names)} cores, shared"


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
    stored: dict[str, Any] = {"machine": machine(), "torch": torch.__version__, "rounds": given.rounds, "cores": CORES}
    stored["peak"] = peak()
    stored["one_core"] = [one_core(width, given.rounds) for width in given.widths]
    stored["all_cores"] = [all_cores(width, members, products, given.rounds) for products in PRODUCTS
                           for members in (MEMBERS, MANY) for width in given.widths]  # fmt: skip
    # which measure what stands here, or with it
    from benchmarks.population_pieces import pieces
    from benchmarks.population_study import TABLES, study

    stored["study"] = [study(table, given.rounds) for table in TABLES]
    stored["pieces"] = [pieces(width) for width in given.widths] if available() else []
    if not given.dry:
        STORED.parent.mkdir(exist_ok=True)
        STORED.write_text(json.dumps(stored, indent=1) + "\n")
    print(shown(stored))


if __name__ == "__main__":
    main()
