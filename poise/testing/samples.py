"""What the battery tries a part on: small networks, rows, and an instance of each class away from neutral."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from poise.core.dial import Dial, dials_of
from poise.core.regularizer import Regularizer
from poise.testing.residual_networks import residual_image_network, residual_network
from poise.testing.sequence_networks import SequenceNetwork

__all__ = [
    "Sample",
    "changed",
    "color_sample",
    "example",
    "image_network",
    "image_sample",
    "sample_for",
    "table_network",
    "table_sample",
    "tasks_sample",
    "twins_sample",
]

_ROWS, _COLUMNS, _CLASSES = 6, 5, 3


def table_network() -> nn.Module:
    """Return a network with weights, biases and norms for rows of five columns."""
    return nn.Sequential(
        nn.Linear(_COLUMNS, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, _CLASSES)
    )


def image_network() -> nn.Module:
    """Return a network of two convolutions for images of two channels, 6 x 6."""
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 3, 2), nn.AvgPool2d(3), nn.Flatten(), nn.Linear(3, _CLASSES)
    )


def _selu_network() -> nn.Module:
    return nn.Sequential(nn.Linear(_COLUMNS, 8), nn.SELU(), nn.Linear(8, _CLASSES))


@dataclass(frozen=True)
class Sample:
    """A network and rows to try a part on.

    Shapes: inputs (B, ...) float64, targets (B, K) distributions, weights (B,); `columns` (F,) int64 groups. With
    `tasks`, the loss is one of several: see `task_targets`.
    """

    module: Callable[[], nn.Module]
    inputs: Tensor
    targets: Tensor
    weights: Tensor
    classes: int | None = _CLASSES
    columns: Tensor | None = None
    tasks: tuple[str, ...] = ()

    def task_targets(self, targets: Tensor) -> dict[str, Tensor]:
        """Return each task's targets: task k wants the k-th class after the right one, so that tasks conflict."""
        return {task: targets.roll(k, -1) for k, task in enumerate(self.tasks)}


def _rows(shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    own = torch.Generator().manual_seed(20)
    inputs = torch.randn(_ROWS, *shape, generator=own, dtype=torch.float64)
    targets = torch.eye(_CLASSES, dtype=torch.float64)[torch.arange(_ROWS) % _CLASSES]
    return inputs, targets, torch.linspace(0.5, 1.5, _ROWS, dtype=torch.float64)


def table_sample() -> Sample:
    """Return six rows of five columns, the last two of one category, in three classes."""
    return Sample(table_network, *_rows((_COLUMNS,)), columns=torch.tensor([0, 1, 2, 3, 3]))


def image_sample(part: Regularizer | None = None) -> Sample:
    """Return six images of two channels in three classes, with residual branches for the parts that act there."""
    from poise.network.branches import AtBranches

    module = partial(residual_image_network, 2, _CLASSES) if isinstance(part, AtBranches) else image_network
    return Sample(module, *_rows((2, 6, 6)))


def color_network() -> nn.Module:
    """Return a network of one convolution for colour images of any size."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, _CLASSES))


def color_sample() -> Sample:
    """Return six colour images that are no squares, with pixels in [0, 0.5], in three classes."""
    inputs, targets, weights = _rows((3, 20, 18))
    return Sample(color_network, 0.5 * torch.sigmoid(2 * inputs), targets, weights)


def sequence_sample() -> Sample:
    """Return the table for a network that reads a row as a sequence of words."""
    return dataclasses.replace(table_sample(), module=partial(SequenceNetwork, _COLUMNS, _CLASSES))


def selu_sample() -> Sample:
    """Return the table for a network of SELU units."""
    return dataclasses.replace(table_sample(), module=_selu_network)


def tasks_sample() -> Sample:
    """Return the table with three tasks that pull the same weights apart."""
    return dataclasses.replace(table_sample(), tasks=("a", "b", "c"))


class _Twins(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = table_network(), table_network()

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.first(inputs) + self.second(inputs)
        return outputs


class _RestingDropout(nn.Dropout):
    """Off in training, where it would draw from torch's generator and no two runs would be alike."""

    def __init__(self) -> None:
        super().__init__(0.5)
        self.training = False

    def train(self, mode: bool = True) -> Self:
        return super().train(False)


def _dropping_network() -> nn.Module:
    return nn.Sequential(nn.Linear(_COLUMNS, 8), nn.ReLU(), _RestingDropout(), nn.Linear(8, _CLASSES))


def twins_sample() -> Sample:
    """Return the table and two networks of one structure, `first` and `second`, whose outputs are summed."""
    return dataclasses.replace(table_sample(), module=_Twins)


def sample_for(part: Regularizer) -> Sample:
    """Return the sample that suits the part's class: a table for most, several tasks or twins for parts on these."""
    from poise.batch import MixupOrCutMix
    from poise.batch.images import ImageTransform
    from poise.network import (
        AlphaDropout,
        AttentionDropout,
        DropBlock,
        EmbeddingDropout,
        LockedDropout,
        RecurrentDropConnect,
        SpatialDropout,
        TemporalPenalty,
    )
    from poise.network.branches import AtBranches
    from poise.objective import SoftSharing
    from poise.objective.weighting import Weighting
    from poise.predict import DropoutAtTest

    if isinstance(part, AtBranches):
        return dataclasses.replace(table_sample(), module=partial(residual_network, _COLUMNS, _CLASSES))
    if isinstance(part, SoftSharing):
        return twins_sample()
    if isinstance(part, DropoutAtTest):
        return dataclasses.replace(table_sample(), module=_dropping_network)
    if isinstance(part, (AttentionDropout, EmbeddingDropout, LockedDropout, RecurrentDropConnect, TemporalPenalty)):
        return sequence_sample()
    if isinstance(part, (ImageTransform, MixupOrCutMix)):
        return color_sample()
    if isinstance(part, (DropBlock, SpatialDropout)):
        return image_sample()
    if isinstance(part, AlphaDropout):
        return selu_sample()
    return tasks_sample() if isinstance(part, Weighting) or "tasks" in part.needs else table_sample()


def _away_from_neutral(declared: Dial) -> float:
    """Return a legal value that does something: the default, or a value within the search range."""
    if declared.default != declared.neutral:
        return declared.default
    low, high = declared.search
    high = high if math.isfinite(high) else max(1.0, 2 * low)
    middle = (low + high) / 2
    return middle if middle != declared.neutral else (low + 3 * high) / 4


def changed(part: Any, **fields: Any) -> Any:
    """Return the part with fields replaced and checked; the type of a field varies, so the result's type is open."""
    return dataclasses.replace(part, **fields)


def example(kind: type[Regularizer], **fields: Any) -> Regularizer:
    """Return an instance of the class with every dial away from neutral; `fields` are set as given.

    Raises: TypeError if a field without a default is missing.
    """
    chosen = {name: _away_from_neutral(declared) for name, declared in dials_of(kind).items()} | fields
    needed = [f.name for f in dataclasses.fields(kind) if f.default is f.default_factory is dataclasses.MISSING]
    if missing := [name for name in needed if name not in chosen]:
        raise TypeError(f"{kind.__name__} has no sample: give example(..., {', '.join(missing)}=...)")
    return kind(**chosen)
