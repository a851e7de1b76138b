"""Whether `torch.compile` pays for a population on a CPU: one block of the network, and one update of all weights.

The block is linear, batch norm, ReLU, dropout, a linear head and cross-entropy of 32 members, forward and back, mapped
by `torch.vmap`. Its dropout numbers are given, because a population's are keyed words that no compiler draws. The
update is Adam with decay on the flat weights of all members. Each is measured as torch runs it eagerly, as
`torch.compile` makes it, and as the kernels do it, in turns, by processor time on one core; and so is the time that
compiling takes in a process that finds nothing in the compiler's cache, and in a second one that finds everything.

    python -m benchmarks.compiled               # measure, print, write results/compiled.json
    python -m benchmarks.compiled --show        # print what was stored
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.population import BATCH, CLASSES, MEMBERS, machine
from poise import BatchNorm, Decay, Dropout, Recipe
from poise.core.context import Batch
from poise.kernels import available
from poise.models.tabular import Mlp
from poise.train.fast_update import add_update
from poise.train.losses import CrossEntropy
from poise.train.optimizers import Adam
from poise.train.population import Population
from poise.train.program import resolved, with_dials
from poise.train.work import Work

STORED = Path(__file__).parent / "results" / "compiled.json"
WIDTHS, ROUNDS, CALLS, SHARE = (64, 256), 9, 10, 0.3

Call = Callable[[], Any]


def block(weights: dict[str, Tensor], inputs: Tensor, targets: Tensor, numbers: Tensor) -> Tensor:
    """The sum over members of their losses."""

    def one(own: dict[str, Tensor], x: Tensor, y: Tensor, number: Tensor) -> Tensor:
        hidden = F.linear(x, own["first"], own["first_bias"])
        var, mean = torch.var_mean(hidden, 0, correction=0)
        hidden = ((hidden - mean) * (var + 1e-5).rsqrt() * own["gain"] + own["offset"]).relu()
        hidden = torch.where(number >= SHARE, hidden / (1 - SHARE), 0)
        outputs = F.linear(hidden, own["last"], own["last_bias"])
        return -(y * outputs.log_softmax(-1)).sum(-1).mean()

    return torch.vmap(one)(weights, inputs, targets, numbers).sum()


def update(weights: Tensor, grads: Tensor, first: Tensor, second: Tensor, step: Tensor, decay: Tensor) -> None:
    """Adam with decay of every member's weights (M, P), in place; `step` and `decay` (M, 1)."""
    first.lerp_(grads, 0.1)
    second.mul_(0.999).addcmul_(grads, grads, value=0.001)
    weights.mul_(decay).sub_(step * first / (second.sqrt() / 0.5 + 1e-8))


def of_width(width: int) -> dict[str, dict[str, Call]]:
    """Return what is measured: of block and update each way, a call that does it once for all members."""
    recipe = Recipe(BatchNorm(), Dropout(SHARE), Decay(0.01))
    found = Population(
        lambda: Mlp(width, CLASSES, width=width, depth=1), recipe, CrossEntropy(), lr=[1e-3] * MEMBERS, classes=CLASSES
    )
    found.program.module.train()
    state, program = found.state, found.program
    batch = Batch(
        torch.randn(MEMBERS, BATCH, width), F.one_hot(torch.randint(CLASSES, (MEMBERS, BATCH)), CLASSES).float(), None
    )
    shapes = {"first": (width, width), "first_bias": (width,), "gain": (width,), "offset": (width,),
              "last": (CLASSES, width), "last_bias": (CLASSES,)}  # fmt: skip
    weights = {name: (0.1 * torch.randn(MEMBERS, *shape)).requires_grad_() for name, shape in shapes.items()}
    numbers = torch.rand(MEMBERS, BATCH, width)
    flat = [torch.rand_like(state.flat.data) for _ in range(4)] + [
        torch.full((MEMBERS, 1), 1e-3),
        torch.ones(MEMBERS, 1),
    ]
    optimizer = {"first": flat[2], "second": flat[3]}
    compiled_block, compiled_update = torch.compile(block, fullgraph=True), torch.compile(update, fullgraph=True)

    def gradients(function: Callable[..., Tensor]) -> Call:
        return lambda: torch.autograd.grad(
            function(weights, batch.inputs, batch.targets, numbers), list(weights.values())
        )

    def block_by_kernels() -> None:
        work = Work(MEMBERS)
        ready = program.fast.ready(state.flat, batch)
        if ready is None:
            raise SystemExit("the kernels do not know the block")
        ready.add(work, state.flat, with_dials(program, state), state.keys, batch)
        work.run()

    def update_by_kernels() -> None:
        work = Work(MEMBERS)
        add_update(
            work, program, state, resolved(program, state), flat[1], state.lr[None], frozenset({"optimizer", "shrink"})
        )
        work.run()

    def update_by_torch() -> None:
        flat[0].mul_(flat[5])  # the decay, then the optimizer's own step, row by row
        Adam().step(state.flat, flat[1], optimizer, state.lr, 9)

    return {
        "block": {"eager": gradients(block), "compiled": gradients(compiled_block), "kernels": block_by_kernels},
        "update": {"eager": update_by_torch, "compiled": lambda: compiled_update(*flat), "kernels": update_by_kernels},
    }


def measured(width: int, only: tuple[str, ...] = ("eager", "compiled", "kernels")) -> list[dict[str, Any]]:
    """Return the microseconds of one member, and the seconds that the first call took, of each way."""
    found = []
    for piece, ways in of_width(width).items():
        first, costs = {}, {way: [] for way in only}
        for way in only:
            began = time.process_time(), time.perf_counter(), sum(os.times()[2:4])
            ways[way]()
            children = sum(os.times()[2:4]) - began[2]
            first[way] = [time.process_time() - began[0] + children, time.perf_counter() - began[1]]
        for _ in range(ROUNDS):
            for way in only:
                began_round = time.process_time()
                for _ in range(CALLS):
                    ways[way]()
                costs[way].append((time.process_time() - began_round) / CALLS / MEMBERS)
        found.append({
            "width": width, "piece": piece, "us": {way: 1e6 * statistics.median(own) for way, own in costs.items()},
            "first call": first["compiled"],
        })  # fmt: skip
    return found


def in_process(width: int, cache: str) -> list[dict[str, Any]]:
    """Measure in a process of its own, whose compiler keeps what it makes in a folder."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.compiled", "--width", str(width)], capture_output=True,
        text=True, check=False, env=os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def shown(stored: dict[str, Any]) -> str:
    lines = [f"{stored['machine']}; torch {stored['torch']}; {MEMBERS} members, batches of {BATCH} rows", "",
             "microseconds of one member on one core; seconds of processor time until the first result",
             f"{'width':>7}{'piece':>8}{'eager':>8}{'compiled':>10}{'kernels':>9}{'gain':>7}{'cold':>7}"
             f"{'cached':>8}"]  # fmt: skip
    for row in stored["rows"]:
        us = row["us"]
        lines.append(f"{row['width']:>7}{row['piece']:>8}{us['eager']:>8.0f}{us['compiled']:>10.0f}{us['kernels']:>9.0f}"
                     f"{us['eager'] / us['compiled']:>7.2f}{row['cold'][0]:>7.1f}{row['cached'][0]:>8.1f}")  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="store_true", help="print the stored results")
    parser.add_argument("--dry", action="store_true", help="write nothing")
    parser.add_argument("--width", type=int, help="one width, in this process")
    given = parser.parse_args()
    if given.width:
        torch.set_num_threads(1)
        print(json.dumps(measured(given.width)))
        return
    if given.show:
        print(shown(json.loads(STORED.read_text())))
        return
    if not available():
        raise SystemExit("there are no kernels here to compare with.")
    rows = []
    for width in WIDTHS:
        with tempfile.TemporaryDirectory() as cache:
            cold, cached = in_process(width, cache), in_process(width, cache)
        rows += [first | {"cold": first["first call"], "cached": second["first call"]}
                 for first, second in zip(cold, cached, strict=True)]  # fmt: skip
    stored = {"machine": machine(), "torch": torch.__version__, "rows": rows}
    if not given.dry:
        STORED.write_text(json.dumps(stored, indent=1) + "\n")
    print(shown(stored))


if __name__ == "__main__":
    main()
