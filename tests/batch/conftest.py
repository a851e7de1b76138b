"""What the tests of the batch stage share: one call of a part, and draws of a known size."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from poise.core.context import Batch, Context
from poise.core.regularizer import Regularizer
from poise.core.rng import Rng, key

Run = Callable[..., Batch]


@pytest.fixture
def run() -> Run:
    """The batch that a part makes of inputs, targets and weights, under a seed and further facts of the context."""

    def once(
        part: Regularizer, inputs: Any, targets: Tensor, weights: Tensor | None = None, seed: int = 0, **facts: Any
    ) -> Batch:
        facts.setdefault("classes", targets.shape[-1] if targets.dim() == 2 else None)
        ctx = Context(0, Rng(key(seed)), **facts).within(part.name)
        batch, _ = part.batch(Batch(inputs, targets, weights), {}, ctx)
        return batch

    return once


@pytest.fixture
def one_hot() -> Callable[[int, int], Tensor]:
    """Targets (rows, classes) that go round the classes."""
    return lambda rows, classes: torch.eye(classes, dtype=torch.float64)[torch.arange(rows) % classes]
