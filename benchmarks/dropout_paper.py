"""The regularizers that the dropout paper compares on MNIST, each with each seed, trained as one population.

Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov 2014, "Dropout", JMLR 15, section 6.5, table 9: test error of
a 784-1024-1024-2048-10 network of rectified units with L2, L2 and L1 towards the end of training, L2 and KL-sparsity,
max-norm, dropout and L2, dropout and max-norm. Here the network is 784-256-256-512-10, it sees 4,000 of the 60,000
training images, and it trains for 45 epochs. The strengths and the learning rate of each arm are chosen by a sweep over
another draw of 4,000 images, on 5,000 validation images; the test images are looked at once, at the end.

A superset recipe holds every part; an arm is a set of dials. So is a seed: each member has its own images, initial
weights, batches and masks, which do not depend on the arm.

    python -m benchmarks.dropout_paper             # some 20 minutes of one core; writes results/dropout_paper.json
    python -m benchmarks.dropout_paper --smoke     # seconds, on scikit-learn's digits; writes nothing
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.images import revision
from benchmarks.images_data import DATA, Whole, load
from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.kinds import Inserted, Recorder, summed
from poise.core.recipe import Recipe
from poise.core.regularizer import Memory
from poise.core.schedule import OneCycle
from poise.network import Dropout
from poise.network.attach import AfterActivations
from poise.objective import L2
from poise.train.losses import CrossEntropy
from poise.train.optimizers import Sgd
from poise.train.population import Population, Rows
from poise.update import L1, MaxNorm

STORED = Path(__file__).parent / "results" / "dropout_paper.json"
RATES = (0.05, 0.2)
LATE = 0.8  # of the steps; then L1 begins
PAPER = {
    "none": None,
    "L2": 1.62,
    "L2, L1 at the end": 1.60,
    "L2, KL-sparsity": 1.55,
    "max-norm": 1.35,
    "dropout, L2": 1.25,
    "dropout, max-norm": 1.05,
}
"""Test error in per cent, table 9; `none` is not in the paper."""

Dials = dict[str, float]


@dataclass(frozen=True)
class KlSparsity(AfterActivations):
    """Pulls the mean answer of each hidden unit over the batch, q, towards `target`.

    weight * sum over sites of mean over units of target log(target / q) - target + q: the divergence of two Poisson
    rates, because a rectified unit's mean may pass 1, where that of two probabilities has no value.
    """

    rank: ClassVar[int] = 10
    formula: ClassVar[str] = "weight * mean over units of KL(target || mean activation)"
    cost: ClassVar[str] = "one pass over the activations"

    weight: DialValue = dial(1e-2, neutral=0.0, low=0.0, log=True)
    target: float = 0.1

    def layer(self, host: nn.Module) -> Inserted:
        return Recorder(self)

    def objective(self, terms: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        rates = [calls[0].mean(0).clamp(min=1e-6) for calls in ctx.activations.values() if calls]
        value = summed([(self.target * (self.target / q).log() - self.target + q).mean() for q in rates])
        return terms | {self.name: like(self.weight, value) * value}, memory


SUPERSET = Recipe(
    L2(1e-4), L1(1e-5), KlSparsity(), MaxNorm(2.0), Dropout(0.5), Dropout(0.2, where="inputs", name="input_dropout")
)


@dataclass(frozen=True)
class Size:
    """How much is trained: `rows` images a member, `hidden` units, `epochs` passes in batches of `batch`."""

    data: str = "mnist"
    rows: int = 4_000
    validation: int = 5_000
    hidden: tuple[int, ...] = (256, 256, 512)
    epochs: int = 45
    batch: int = 100
    seeds: int = 5

    @property
    def steps(self) -> int:
        """Optimizer steps of a training."""
        return self.epochs * (self.rows // self.batch)


SMOKE = Size("digits", rows=400, validation=200, hidden=(32, 32, 32), epochs=15, batch=25, seeds=2)
"""A check in seconds."""


def grids() -> dict[str, list[Dials]]:
    """Return of each arm the strengths that the sweep tries, each of them at every learning rate."""

    def product(**values: Sequence[float]) -> list[Dials]:
        keys = [key.replace("__", ".") for key in values]
        return [dict(zip(keys, chosen, strict=True)) for chosen in itertools.product(*values.values())]

    drops = [{"dropout.p": 0.2, "input_dropout.p": 0.1}, {"dropout.p": 0.5, "input_dropout.p": 0.2}]
    return {
        "none": [{}],
        "L2": product(l2__weight=(1e-4, 3e-4, 1e-3, 3e-3)),
        "L2, L1 at the end": product(l2__weight=(3e-4, 1e-3), l1__weight=(1e-5, 1e-4)),
        "L2, KL-sparsity": product(l2__weight=(3e-4, 1e-3), kl_sparsity__weight=(1e-2, 1e-1)),
        "max-norm": product(max_norm__limit=(0.7, 1.0, 1.5, 2.5)),
        "dropout, L2": [one | two for one in drops for two in product(l2__weight=(1e-5, 1e-4))],
        "dropout, max-norm": [one | two for one in drops for two in product(max_norm__limit=(1.0, 2.0))],
    }


def network(columns: int, hidden: Sequence[int]) -> nn.Sequential:
    """Return a chain of linear layers and rectifiers with 10 outputs."""
    widths = [columns, *hidden]
    layers = [layer for a, b in itertools.pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 10))


def rows_of(pixels: np.ndarray, labels: np.ndarray) -> Rows:
    """Return images as flat rows in [0, 1], and labels as distributions."""
    inputs = torch.from_numpy(pixels.reshape(len(pixels), -1).astype(np.float32) / 255)
    return Rows(inputs, F.one_hot(torch.from_numpy(labels), 10).float())


def drawn(whole: Whole, size: Size, seed: int) -> np.ndarray:
    """Return a random order of the training images: the first `rows` train, the next `validation` validate."""
    return np.random.default_rng(seed).permutation(len(whole.labels))[: size.rows + size.validation]


def trained(whole: Whole, size: Size, members: Sequence[tuple[Dials, float, int]]) -> Population:
    """Train members, each with its dials, its learning rate and its seed, as one population.

    L1 is off for the first part of the training. Members of one seed have the same images, weights and draws.
    """
    own = torch.stack([torch.from_numpy(drawn(whole, size, seed)[: size.rows]) for _, _, seed in members])
    data = rows_of(whole.pixels, whole.labels)
    declared = SUPERSET.declared()
    dials = {key: torch.tensor([dials.get(key, declared[key].neutral) for dials, _, _ in members]) for key in declared}
    late = dials["l1.weight"]
    population = Population(
        lambda: network(data.inputs.shape[1], size.hidden),
        SUPERSET,
        CrossEntropy(),
        lr=[lr for _, lr, _ in members],
        dials=dials | {"l1.weight": torch.zeros_like(late)},
        members=[seed for _, _, seed in members],
        optimizer=Sgd(momentum=0.9),
        schedule=OneCycle(1.0, size.steps),
        classes=10,
    )
    early = round(LATE * size.steps)
    population.train(data, early, size.batch, own)
    population.state.dials["l1.weight"] = late
    population.restore(None)
    population.train(data, size.steps - early, size.batch, own)
    return population


def errors(population: Population, pixels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return each member's share of wrong answers in per cent, (M,)."""
    wrong = population.outputs(rows_of(pixels, labels).inputs).argmax(-1) != torch.from_numpy(labels)
    return 100 * wrong.double().mean(1).numpy()


def losses(population: Population, pixels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return each member's mean cross-entropy, (M,)."""
    outputs = population.outputs(rows_of(pixels, labels).inputs).double()
    truth = torch.from_numpy(labels).expand(len(outputs), -1)
    return F.cross_entropy(outputs.transpose(1, 2), truth, reduction="none").mean(1).numpy()


def sweep(whole: Whole, size: Size) -> tuple[dict[str, tuple[Dials, float]], list[dict[str, Any]]]:
    """Return of each arm the strengths and the rate with the fewest errors on validation images, and all tries."""
    seed = 1000  # a draw of its own
    tries = [(arm, dials, lr) for arm, grid in grids().items() for dials in grid for lr in RATES]
    # Sparsity looks at activations, which no kernel keeps: those who do not need it are spared its time.
    tries.sort(key=lambda one: "kl_sparsity.weight" in one[1])
    held, wrong, loss = drawn(whole, size, seed)[size.rows :], np.zeros(0), np.zeros(0)
    for _, own in itertools.groupby(tries, key=lambda one: "kl_sparsity.weight" in one[1]):
        population = trained(whole, size, [(dials, lr, seed) for _, dials, lr in own])
        wrong = np.append(wrong, errors(population, whole.pixels[held], whole.labels[held]))
        loss = np.append(loss, losses(population, whole.pixels[held], whole.labels[held]))
    wrong = np.where(np.isfinite(loss), wrong, np.inf)
    table = [
        {
            "arm": arm,
            "dials": dials,
            "lr": lr,
            "validation_error": round(float(own), 3),
            "validation_loss": round(float(cost), 5),
        }
        for (arm, dials, lr), own, cost in zip(tries, wrong, loss, strict=True)
    ]
    chosen: dict[str, tuple[Dials, float]] = {}
    for arm in grids():
        best = min(
            (one for one in table if one["arm"] == arm),
            key=lambda one: (one["validation_error"], one["validation_loss"]),
        )
        chosen[arm] = (best["dials"], best["lr"])
    return chosen, table


def compare(whole: Whole, size: Size, chosen: Mapping[str, tuple[Dials, float]]) -> dict[str, dict[str, list[float]]]:
    """Train every arm with every seed as one population; return errors and losses by arm, one a seed."""
    members = [(dials, lr, seed) for dials, lr in chosen.values() for seed in range(size.seeds)]
    population = trained(whole, size, members)
    found = {"test_error": errors(population, whole.test_pixels, whole.test_labels),
             "test_loss": losses(population, whole.test_pixels, whole.test_labels)}  # fmt: skip
    per_seed = [drawn(whole, size, seed)[: size.rows] for seed in range(size.seeds)]
    outputs = [errors(population, whole.pixels[rows], whole.labels[rows]) for rows in per_seed]
    found["train_error"] = np.array([outputs[seed][place] for place, (_, _, seed) in enumerate(members)])
    return {
        arm: {
            name: [round(float(v), 4) for v in values[place * size.seeds : (place + 1) * size.seeds]]
            for name, values in found.items()
        }
        for place, arm in enumerate(chosen)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, default=STORED)
    options = parser.parse_args()
    torch.set_num_threads(1)
    size = SMOKE if options.smoke else Size()
    whole = load(size.data, options.data)
    began = time.process_time()
    chosen, table = sweep(whole, size)
    print(round(time.process_time() - began), json.dumps(chosen), flush=True)
    middle = time.process_time()
    arms = compare(whole, size, chosen)
    record = {"size": asdict(size), "steps": size.steps, "chosen": chosen, "sweep": table, "arms": arms}
    record |= {"sweep_seconds": round(middle - began), "compare_seconds": round(time.process_time() - middle)}
    record |= {"revision": revision(), "torch": torch.__version__}
    for arm, values in arms.items():
        print(f"arm {arm}: {float(np.mean(values['test_error'])):.3f}")
    if not options.smoke:
        options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
