"""What the tests of training share: a small table, and populations on it with everything switched on."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from poise import (
    L1, L2, BatchNorm, ClipNorm, Decay, Dropout, Ema, HiddenNoise, InputNoise, LabelSmoothing, MaxNorm, Mixup,
    Patience, Recipe, SwapNoise, WeightNoise,
)  # fmt: skip
from poise.core.context import Batch
from poise.core.schedule import OneCycle
from poise.models.tabular import Mlp
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows

COLUMNS, CLASSES = 7, 3


def everything() -> Recipe:
    return Recipe(
        BatchNorm(), Dropout(0.3), HiddenNoise(0.1), WeightNoise(0.01), InputNoise(0.1), SwapNoise(0.1), Mixup(0.4),
        LabelSmoothing(0.1), L1(1e-4), L2(1e-4), Decay(0.05), ClipNorm(1.0), MaxNorm(3.0), Ema(0.9), Patience(2),
    )  # fmt: skip


def spread(members: int) -> dict[str, Any]:
    """Learning rates, dials and ids that differ by member; a member's are the same in every population."""
    share = torch.arange(members) / 10
    return {
        "lr": (1e-3 * (1 + share)).tolist(),
        "dials": {
            "dropout.p": (0.05 + share).clamp(max=0.9),
            "mixup.alpha": 0.1 + share,
            "decay.rate": 0.01 * (1 + share),
            "l1.weight": 1e-4 + 1e-3 * share,
            "clip_norm.limit": 0.2 + share,
            "ema.decay": 0.5 + 0.02 * torch.arange(members),
            "batch_norm.share": (0.2 + 0.2 * torch.arange(members)).clamp(max=1),
            "patience.evaluations": 1 + torch.arange(members) % 3,
        },
    }


def chosen(settings: dict[str, Any], places: list[int]) -> dict[str, Any]:
    """The settings of some members, with the ids that they had."""
    return {
        "lr": [settings["lr"][place] for place in places],
        "dials": {name: value[places] for name, value in settings["dials"].items()},
        "members": places,
    }


def mean_loss(outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
    return -(batch.targets * outputs.log_softmax(-1)).sum(-1).mean(-1)


@pytest.fixture(scope="session")
def table() -> Rows:
    """90 rows, 7 columns, 3 classes that a linear map of the columns decides, with noise."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(90, COLUMNS, generator=generator)
    scores = inputs @ torch.randn(COLUMNS, CLASSES, generator=generator) + torch.randn(90, CLASSES, generator=generator)
    return Rows(inputs, F.one_hot(scores.argmax(1), CLASSES).float())


@pytest.fixture(scope="session")
def made() -> Callable[..., Population]:
    """Build a population: made(lr=..., dials=..., recipe=..., width=...)."""

    def make(width: int = 16, recipe: Recipe | None = None, **rest: Any) -> Population:
        return Population(
            lambda: Mlp(COLUMNS, CLASSES, width=width, depth=2),
            everything() if recipe is None else recipe,
            CrossEntropy(),
            classes=CLASSES,
            schedule=OneCycle(1.0, 40),
            **rest,
        )

    return make


@pytest.fixture(scope="session")
def trained(table: Rows) -> Callable[..., Population]:
    """Train and evaluate in turns: `rounds` times 6 steps of 20 rows."""

    def train(population: Population, rounds: int = 4) -> Population:
        for _ in range(rounds):
            population.train(table, 6, 20)
            population.evaluate(table, mean_loss)
        return population

    return train


@pytest.fixture(scope="session")
def tools() -> dict[str, Any]:
    return {"everything": everything, "spread": spread, "chosen": chosen, "mean_loss": mean_loss}
