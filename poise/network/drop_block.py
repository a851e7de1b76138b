"""DropBlock: squares of a feature map switched off at random while training."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.core.dial import dial
from poise.core.errors import ArgumentError, shown
from poise.core.kinds import Inserted
from poise.network.attach import AfterActivations

__all__ = ["DropBlock", "DropBlockLayer"]


class DropBlockLayer(Inserted):
    """Zeroes blocks of each feature map while training; does nothing in evaluation."""

    p: Tensor

    def __init__(self, part: DropBlock) -> None:
        super().__init__(part)
        self.size = part.size

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        kept = 1 - self.blocks(tuple(x.shape))
        # Counted in float64: a float32 sum of more than 2^24 ones need not be their number.
        count = kept.sum(dtype=torch.float64)
        scale = torch.where(count > 0, kept.numel() / count.clamp(min=1), 0.0)
        # As in `dropped`: an infinite value in a block becomes 0, not NaN.
        passed: Tensor = torch.ops.aten.threshold_backward(x, kept, 0.5)
        return (passed * scale.to(passed.dtype)).to(x.dtype)

    def blocks(self, shape: tuple[int, ...]) -> Tensor:
        """Return 1 in every block and 0 elsewhere, float32 of the given shape (B, C, ...)."""
        sides = shape[2:]
        blocks = [min(self.size, side) for side in sides]
        corners = [side - block + 1 for side, block in zip(sides, blocks, strict=True)]
        rate = self.p * (math.prod(sides) / (math.prod(blocks) * math.prod(corners)))
        rate = torch.where(self.p < 1, rate, 1.0)
        hit = (self.rng().uniform("corner", (*shape[:2], *corners)) < rate).to(torch.float32)
        # A value lies in a block if a corner was drawn among the `block` places up to its own.
        hit = F.pad(hit, [margin for block in reversed(blocks) for margin in (block - 1, block - 1)])
        for dim, block in enumerate(blocks, 2):
            hit = _highest(hit, dim, block)
        return hit


def _highest(x: Tensor, dim: int, size: int) -> Tensor:
    """Return the maximum over each window of `size` places, by windows of twice the size: 10x faster than pooling.

    >>> _highest(torch.tensor([3, 1, 2, 0]), 0, 3).tolist()
    [3, 2]
    """
    width = 1
    while width < size:
        step = min(width, size - width)
        count = x.shape[dim] - step
        x = torch.maximum(x.narrow(dim, 0, count), x.narrow(dim, step, count))
        width += step
    return x


@dataclass(frozen=True)
class DropBlock(AfterActivations):
    """Switch off square blocks of every feature map, each value with probability about p, and scale the others.

    y = x m count(m) / sum(m), where m is 0 in blocks of `size` positions a side whose corners are drawn with rate
    gamma = p / size^d * prod(side / (side - size + 1)) over the d dimensions of the map. Takes away a whole region,
    which dropout leaves readable from its neighbours; for convolutional networks, best with p rising from 0 over
    the training. Blocks overlap, so the dropped share is below p, the more so for large p; p = 1 drops all.
    Costs one random number and 2 + d passes over the activations.

    Neutral: p = 0.
    Shapes: (B, C, ...) behind the activation of a convolution; a map smaller than `size` is one block.
    Units: p is the share of values to drop, not the share kept; size is in positions.
    Raises: ArgumentError if p is outside [0, 1] or size is not a whole number >= 1.
    Source: Ghiasi, Lin, Le 2018, "DropBlock", algorithm 1 and equation 1, with a mask for each channel.

    >>> model = DropBlock(0.3, size=4).network(nn.Sequential(nn.Conv1d(1, 9, 1), nn.ReLU()))
    >>> dropped = (model[1](torch.ones(100, 9, 4)) == 0).sum(-1)
    >>> sorted(set(dropped.flatten().tolist()))
    [0, 4]
    """

    rank: ClassVar[int] = 30
    formula: ClassVar[str] = "y = x m count(m) / sum(m), m = 0 in blocks drawn with rate gamma(p)"
    cost: ClassVar[str] = "one random number and 4 passes over the activations"
    places: ClassVar[tuple[str, ...]] = ("convolution activations", "convolutions")

    where: str = field(default="convolution activations", kw_only=True)
    p: float = dial(0.1, neutral=0.0, low=0.0, high=1.0, unit="share of values", search=(0.0, 0.5))
    size: int = 7

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.size, bool) or not isinstance(self.size, int) or self.size < 1:
            raise ArgumentError(
                f"`DropBlock.size` must be a whole number >= 1; got {shown(self.size)}. 1 drops single values."
            )

    def layer(self, host: nn.Module) -> Inserted:
        return DropBlockLayer(self)
