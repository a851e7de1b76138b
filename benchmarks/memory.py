"""What `Population.predicted_bytes` says, against the memory that a process really takes.

Each shape is measured in a process of its own: its resident memory once the libraries are loaded, a small population of
its kind has been trained and the rows are there, and the most that it ever was by the end of twenty steps of training
and, where the shape says so, five evaluations. The prediction is made in another process, because making it takes
memory too. The first group of shapes is what `poise/train/footprint.py` was made on; the second was written down before
it was looked at.

    python -m benchmarks.memory                 # measure all, print, write results/memory.json
    python -m benchmarks.memory --only held     # one group, or one shape; the others stay as stored
    python -m benchmarks.memory --show          # print what was stored
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from poise import L1, BatchNorm, ClipNorm, Decay, Dropout, Ema, InputNoise, LabelSmoothing, Mixup, Recipe, Sam
from poise.core.context import Batch
from poise.models.recurrent_net import RecurrentNet
from poise.models.small_cnn import SmallCnn
from poise.models.tabular import Mlp
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows

STORED = Path(__file__).parent / "results" / "memory.json"
STEPS, EVALUATIONS, THREADS = 20, 5, 2

PLAIN = Recipe()
USUAL = Recipe(BatchNorm(), Dropout(0.3), Mixup(0.4), LabelSmoothing(0.1), Decay(0.01))
CLIPPED = Recipe(Dropout(0.2), ClipNorm(1.0), Decay(0.01), L1(1e-5), Ema(0.99))
EAGER = Recipe(BatchNorm(), Dropout(0.3), InputNoise(0.1), Decay(0.01))  # the noise has no kernel
TWICE = Recipe(Sam(), Decay(0.01))


@dataclass(frozen=True)
class Shape:
    """A population, its data, and whether it is evaluated as well."""

    network: str
    members: int
    batch: int
    recipe: Recipe
    width: int = 64
    depth: int = 3
    columns: int = 64
    classes: int = 10
    rows: int = 4096
    scored: bool = False
    side: int = 16  # of images; of sequences, the length

    def build(self) -> Callable[[], nn.Module]:
        if self.network == "cnn":
            return partial(SmallCnn, 3, self.classes, width=self.width, depth=self.depth)
        if self.network == "lstm":
            return partial(Last, self.classes, self.width, self.depth)
        return partial(Mlp, self.columns, self.classes, width=self.width, depth=self.depth)

    def data(self) -> Rows:
        generator = torch.Generator().manual_seed(0)
        if self.network == "cnn":
            inputs = torch.rand(self.rows, 3, self.side, self.side, generator=generator)
        elif self.network == "lstm":
            inputs = torch.randint(50, (self.rows, self.side), generator=generator)
        else:
            inputs = torch.randn(self.rows, self.columns, generator=generator)
        targets = torch.randint(self.classes, (self.rows,), generator=generator)
        return Rows(inputs, nn.functional.one_hot(targets, self.classes).float())

    def population(self) -> Population:
        return Population(self.build(), self.recipe, CrossEntropy(), lr=[1e-3] * self.members, classes=self.classes)

    @property
    def score(self) -> Callable[[Tensor, Batch], Tensor] | None:
        return losses if self.scored else None


class Last(nn.Module):
    """The last place of a recurrent network: sequences are classified."""

    def __init__(self, classes: int, width: int, depth: int) -> None:
        super().__init__()
        self.network = RecurrentNet(50, classes, width=width, depth=depth)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)[:, -1]  # type: ignore[no-any-return]  # nn.Module's call is untyped


SHAPES: dict[str, dict[str, Shape]] = {
    "made on": {
        "usual, width 64": Shape("mlp", 256, 128, USUAL),
        "usual, width 256": Shape("mlp", 64, 128, USUAL, width=256),
        "usual, scored": Shape("mlp", 128, 128, USUAL, width=128, scored=True),
        "by torch, width 64": Shape("mlp", 64, 128, EAGER),
        "by torch, width 128, scored": Shape("mlp", 32, 128, EAGER, width=128, scored=True),
        "cnn": Shape("cnn", 8, 64, PLAIN, width=16, depth=2),
        "lstm in a loop, width 64": Shape("lstm", 8, 32, PLAIN, width=64, depth=1, side=16, rows=512),
        "lstm in a loop, width 160": Shape("lstm", 5, 40, PLAIN, width=160, depth=2, side=12, rows=512),
    },
    "held out": {
        "plain, width 48": Shape("mlp", 700, 32, PLAIN, width=48, depth=2, columns=20),
        "usual, width 200, depth 5": Shape("mlp", 40, 300, USUAL, width=200, depth=5, columns=100),
        "clipped, averaged": Shape("mlp", 150, 64, CLIPPED, width=160, depth=2, columns=30),
        "clipped, averaged, scored": Shape("mlp", 96, 500, CLIPPED, width=96, depth=4, scored=True),
        "usual, 4096 members": Shape("mlp", 4096, 64, USUAL, width=16, depth=2, columns=10, rows=1000),
        "by torch, width 40, batch 512": Shape("mlp", 48, 512, EAGER, width=40, depth=2, columns=12),
        "by torch, width 300": Shape("mlp", 12, 96, EAGER, width=300, depth=4, columns=50, scored=True),
        "by torch, 400 members": Shape("mlp", 400, 32, EAGER, width=32, depth=3, columns=24),
        "two passes (SAM)": Shape("mlp", 24, 256, TWICE, width=150, depth=3, columns=40),
        "cnn, width 24, depth 3": Shape("cnn", 6, 48, Recipe(BatchNorm(), Dropout(0.1)), width=24, depth=3, side=20),
        "cnn, many, scored": Shape("cnn", 24, 32, PLAIN, width=8, depth=2, side=16, rows=512, scored=True),
        "lstm in a loop": Shape("lstm", 6, 64, PLAIN, width=96, depth=2, side=24, rows=512),
        "lstm in a loop, scored": Shape("lstm", 4, 32, Recipe(Decay(0.01)), width=128, depth=1, side=30, rows=256,
                                        scored=True),
        "lstm in a loop, many": Shape("lstm", 16, 48, Recipe(Decay(0.01)), width=48, depth=2, side=20, rows=512),
    },
}  # fmt: skip


def losses(outputs: Tensor, batch: Batch) -> Tensor:
    """Return each member's cross-entropy (M,)."""
    return -(batch.targets * outputs.log_softmax(-1)).sum(-1).mean(-1)


def named(name: str) -> Shape:
    return next(group[name] for group in SHAPES.values() if name in group)


def warmed(shape: Shape) -> None:
    """Load what this kind of network and recipe load once in a process, and start the threads."""
    tiny = replace(shape, members=2, batch=4, width=4, rows=16)
    found = tiny.population()
    found.train(tiny.data(), 2, tiny.batch)
    if shape.score is not None:
        found.evaluate(tiny.data(), shape.score)


def predicted(shape: Shape) -> int:
    warmed(shape)
    return shape.population().predicted_bytes(shape.data(), shape.batch, score=shape.score)


def measured(shape: Shape) -> int:
    """Return the bytes that the process took beyond what it had before the population was made."""
    warmed(shape)
    data = shape.data()
    before = resident()
    if peak() > before + 16e6:
        raise SystemExit(f"loading took {peak() - before:,.0f} bytes more than it left: the peak would be its own")
    found = shape.population()
    for _ in range(EVALUATIONS if shape.scored else 1):
        found.train(data, STEPS // EVALUATIONS if shape.scored else STEPS, shape.batch)
        if shape.score is not None:
            found.evaluate(data, shape.score)
    return peak() - before


def resident() -> int:
    """Return the process's resident bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak() -> int:
    """Return the most bytes that were ever resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def asked(name: str, function: Callable[[Shape], int]) -> int:
    """Return a number from a process of its own: forked before torch has a thread, with the libraries loaded."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_answer, args=(name, function, theirs))
    process.start()
    theirs.close()
    try:
        return int(ours.recv())
    except EOFError:
        raise SystemExit(f"{name}: the process ended without an answer.") from None
    finally:
        process.join()


def _answer(name: str, function: Callable[[Shape], int], pipe: Any) -> None:
    torch.set_num_threads(THREADS)
    pipe.send(function(named(name)))


def compared(group: str, name: str) -> dict[str, Any]:
    """Return a shape's prediction and measurement, in megabytes, and the first by the second."""
    said, taken = asked(name, predicted), asked(name, measured)
    row = {
        "group": group, "shape": name, "predicted": round(said / 1e6), "measured": round(taken / 1e6),
        "ratio": round(said / taken, 2),
    }  # fmt: skip
    print(told(row), flush=True)
    return row


def told(row: dict[str, Any]) -> str:
    return (f"{row['group']:>9}{row['shape']:>32}{row['predicted']:>11}{row['measured']:>10}{row['ratio']:>8.2f}"
            f"{'' if 0.8 <= row['ratio'] <= 1.2 else '  *'}")  # fmt: skip


def shown(stored: dict[str, Any]) -> str:
    lines = [f"torch {stored['torch']}, {stored['library']}, {stored['threads']} threads; megabytes",
             f"{'group':>9}{'shape':>32}{'predicted':>11}{'measured':>10}{'ratio':>8}"]  # fmt: skip
    lines += [told(row) for row in stored["rows"]]
    for group in SHAPES:
        shares = [row["ratio"] for row in stored["rows"] if row["group"] == group]
        if shares:
            near = sum(0.8 <= share <= 1.2 for share in shares)
            lines.append(f"{group}: {near} of {len(shares)} within 20 %, {min(shares):.2f} to {max(shares):.2f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="store_true", help="print the stored results")
    parser.add_argument("--only", default="", help="what the group or shape must have in its name")
    parser.add_argument("--dry", action="store_true", help="write nothing")
    given = parser.parse_args()
    if given.show:
        print(shown(json.loads(STORED.read_text())))
        return
    wanted = [(group, name) for group, shapes in SHAPES.items() for name in shapes if given.only in f"{group} {name}"]
    kept = json.loads(STORED.read_text())["rows"] if given.only and not given.dry and STORED.exists() else []
    found = {row["shape"]: row for row in kept}
    found |= {name: compared(group, name) for group, name in wanted}
    rows = [found[name] for shapes in SHAPES.values() for name in shapes if name in found]
    stored = {"torch": torch.__version__, "library": " ".join(platform.libc_ver()), "threads": THREADS, "rows": rows}
    if not given.dry:
        STORED.write_text(json.dumps(stored, indent=1) + "\n")
    print(shown(stored))


if __name__ == "__main__":
    main()
