"""What a population gains on a GPU: against the loop that a good user of torch writes, and by compiling and recording.

The networks and the loop are those of `benchmarks/population.py`. Three ways take turns: the loop over one network; the
population by the usual operations of torch; and the population as it comes, with the words of its generator and its
update compiled and its step recorded (`poise/kernels/compiled.py`, `poise/train/recorded.py`). Then the same steps on
the CPU and on the GPU in float64, whose weights must agree.

    python -m benchmarks.gpu                    # measure, print, write results/gpu.json
    python -m benchmarks.gpu --show             # print what was stored
    python -m benchmarks.gpu --device cpu --quick   # whether the script runs, where there is no GPU
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.population import BATCH, CLASSES, COLUMNS, Steps, loop, operations, population, table
from poise import BatchNorm, Dropout, LabelSmoothing, Mixup, Recipe
from poise.kernels import native
from poise.models.tabular import Mlp
from poise.train.losses import CrossEntropy
from poise.train.optimizers import Sgd
from poise.train.population import Population, Rows

STORED = Path(__file__).parent / "results" / "gpu.json"
SHAPES = ((64, 256), (256, 256), (32, 10_000))  # width, members
QUICK = ((16, 4),)


def _wait(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(steps: Steps, count: int, device: str) -> float:
    """Return the wall time of one step."""
    _wait(device)
    began = time.perf_counter()
    steps(count)
    _wait(device)
    return (time.perf_counter() - began) / count


def peak(device: str) -> float:
    """Operations a second of torch's own product of large float32 matrices, the best of several."""
    size = 512 if device == "cpu" else 4096
    left, right = torch.randn(2, size, size, device=device)
    return max(2 * size**3 / seconds_of(lambda n: [left @ right for _ in range(n)], 4, device) for _ in range(8))


def measured(width: int, members: int, device: str, rounds: int, count: int, best: float) -> dict[str, Any]:
    """Return the wall time of one step of all members, in turns; `best` are operations a second."""
    ways: dict[str, tuple[Steps, bool]] = {
        "loop": (loop(width, device), True),
        "usual": (population(width, members, device=device), False),
        "population": (population(width, members, device=device), True),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, (steps, on) in ways.items():
            with native(on):
                seconds = seconds_of(steps, count, device)
            if turn:  # the first is for compiling
                found[name].append(seconds)
    step = statistics.median(found["population"])
    return {
        "width": width, "members": members, "loop_us": statistics.median(found["loop"]) * 1e6, "step_us": step * 1e6,
        "ratios": [members * a / b for a, b in zip(found["loop"], found["population"], strict=True)],
        "by_usual": [a / b for a, b in zip(found["usual"], found["population"], strict=True)],
        "share_of_peak": operations(width) * members / step / best,
    }  # fmt: skip


def difference(device: str, steps: int = 30) -> float:
    """Return how far weights on the device end from those on the CPU, relative to how far they went: float64, SGD."""
    inputs, classes = table()
    ends, start = [], None
    for place in ("cpu", device):
        data = Rows(inputs.double(), F.one_hot(classes, CLASSES).double()).to(place)
        members = Population(
            lambda: Mlp(COLUMNS, CLASSES, width=64, depth=3).double(),
            Recipe(BatchNorm(), Dropout(0.3), Mixup(0.4), LabelSmoothing(0.1)),
            CrossEntropy(), lr=[0.01, 0.1], classes=CLASSES, optimizer=Sgd(0.9),
        ).to(place)  # fmt: skip
        start = members.state.flat.data.cpu().clone()
        members.train(data, steps, BATCH)
        ends.append(members.state.flat.data.cpu())
    return float((ends[0] - ends[1]).norm() / (ends[0] - start).norm())


def report(found: dict[str, Any]) -> str:
    lines = [found["machine"], f"float32 products of torch at their best: {found['peak'] / 1e12:.1f} TFLOP/s", ""]
    lines.append("  width  members  loop us  step us          times the loop      by usual operations  of peak")
    for row in found["shapes"]:
        spread = [f"{statistics.median(row[name]):.1f} ({min(row[name]):.1f} to {max(row[name]):.1f})"
                  for name in ("ratios", "by_usual")]  # fmt: skip
        lines.append(
            f"{row['width']:7d}{row['members']:9d}{row['loop_us']:9.0f}{row['step_us']:9.0f}"
            f"{spread[0]:>24s}{spread[1]:>25s}{row['share_of_peak']:9.0%}"
        )
    lines += ["", f"weights in float64 after 30 steps, from those on the CPU: {found['difference']:.1g} of their way"]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--show", action="store_true", help="print what was stored")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu (with --quick)")
    parser.add_argument("--quick", action="store_true", help="a tiny population, and nothing is stored")
    given = parser.parse_args()
    if given.show and not STORED.exists():
        parser.error(f"{STORED.name} was never written: measure on a machine with a GPU first, without --show.")
    if given.show:
        print(report(json.loads(STORED.read_text())))
        return
    if given.device != "cpu" and not torch.cuda.is_available():
        parser.error(f"--device {given.device}: torch finds no GPU. Whether the script runs: --device cpu --quick.")
    rounds, count = (2, 5) if given.quick else (7, 30)
    best = peak(given.device)
    name = "cpu" if given.device == "cpu" else torch.cuda.get_device_name(given.device)
    found = {
        "machine": f"{name}; torch {torch.__version__}; {rounds} rounds in turns",
        "peak": best,
        "shapes": [measured(*shape, given.device, rounds, count, best) for shape in (QUICK if given.quick else SHAPES)],
        "difference": difference(given.device),
    }
    print(report(found))
    if not given.quick:
        STORED.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
