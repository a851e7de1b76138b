"""What augmentation is worth on a task: digits of which 100 have a label, with each technique and without."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from poise.core.interval import Interval
from poise.core.recipe import Recipe
from poise.diagnosis.curves import over_seeds
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows

__all__ = ["SEEDS", "STORE", "STRENGTHS", "gains", "measured", "stored"]

STORE = Path(__file__).parent / "data" / "augment.json"  # written by `python tools/lab_data.py augment`
STRENGTHS = (0.15, 0.3, 1.0)  # shares of the strongest worth trying
SEEDS = 8  # pairs of networks
LABELS, STEPS = 100, 300


def measured(key: str | None, strength: float) -> list[float]:
    """Return the share of right answers on the other 1,697 digits for each of 8 seeds; `key` None is no augmentation.

    A seed has the same 100 digits, first weights and batches whatever the augmentation.
    """
    from sklearn.datasets import load_digits

    from poise.lab.figures.augment import at_strength, augmentations

    images, labels = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
    images = (images.float() / 16).reshape(-1, 1, 8, 8)
    generator = torch.Generator().manual_seed(0)
    order = torch.stack([torch.randperm(len(images), generator=generator) for _ in range(SEEDS)])
    recipe = Recipe() if key is None else Recipe(at_strength(augmentations()[key], strength))
    population = Population(_network, recipe, CrossEntropy(), lr=[3e-3] * SEEDS, classes=10)
    population.train(Rows(images, F.one_hot(labels, 10).float()), STEPS, 32, order[:, :LABELS])
    answers = population.outputs(images).argmax(-1)
    unseen = order[:, LABELS:]
    right = [answers[seed, rows] == labels[rows] for seed, rows in enumerate(unseen)]
    return [float(own.double().mean()) for own in right]


def _network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 16, 10),
    )


@lru_cache(maxsize=1)
def stored() -> dict[tuple[str | None, float], list[float]]:
    """Return the shares by technique and strength; written by `python tools/lab_data.py`."""
    record = json.loads(STORE.read_text(encoding="utf-8"))
    return {(cell["cell"][0], cell["cell"][1]): cell["right"] for cell in record["cells"]}


def gains(strength: float) -> tuple[float, dict[str, Interval]]:
    """Return the stored strength nearest to a strength, and what each technique gained at it, paired by seed."""
    nearest = min(STRENGTHS, key=lambda one: abs(one - strength))
    without = np.array(stored()[None, 0.0])
    found = {key: values for (key, at), values in stored().items() if key is not None and at == nearest}
    return nearest, {key: over_seeds(np.array(values) - without) for key, values in found.items()}
