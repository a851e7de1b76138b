"""Spatial dropout: whole channels switched off at random while training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from poise.core.dial import dial
from poise.core.kinds import Inserted
from poise.network.attach import AfterActivations
from poise.network.dropout import dropped

__all__ = ["SpatialDropout", "SpatialDropoutLayer"]


class SpatialDropoutLayer(Inserted):
    """Zeroes each channel of each row with probability `p` while training; does nothing in evaluation."""

    p: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        channels = (*x.shape[:2], *[1] * (x.dim() - 2))
        return dropped(x, self.rng().margin("keep", channels, self.p).expand(x.shape), self.p)


@dataclass(frozen=True)
class SpatialDropout(AfterActivations):
    """Switch off each channel of a convolution with probability p, at all its positions, and scale the others.

    y = x m / (1 - p), m ~ Bernoulli(1 - p) for each row and channel; evaluation leaves x as it is. Neighbouring
    positions of a feature map tell the same, so a unit that dropout takes away is read off its neighbours: for
    convolutions, drop whole maps. Costs two passes over the activations and next to no random numbers.

    Neutral: p = 0.
    Shapes: (B, C, ...) behind the activation of a convolution: signals, images or volumes; rows must be batched.
    Units: p is the share of channels dropped, not the share kept.
    Raises: ArgumentError if p is outside [0, 1].
    Source: Tompson, Goroshin, Jain, LeCun, Bregler 2015, "Efficient object localization using convolutional
        networks", section 3.2; the law is that of torch.nn.Dropout1d, Dropout2d and Dropout3d.

    >>> import torch
    >>> model = SpatialDropout(0.5).network(nn.Sequential(nn.Conv1d(1, 50, 1), nn.ReLU()))
    >>> maps = model[1](torch.ones(1, 50, 9))
    >>> sorted(set(maps.mean(-1).flatten().tolist()))
    [0.0, 2.0]
    """

    rank: ClassVar[int] = 30
    formula: ClassVar[str] = "y = x m / (1 - p), m ~ Bernoulli(1 - p) for each channel"
    cost: ClassVar[str] = "two passes over the activations"
    places: ClassVar[tuple[str, ...]] = ("convolution activations", "convolutions")

    where: str = field(default="convolution activations", kw_only=True)
    p: float = dial(0.2, neutral=0.0, low=0.0, high=1.0, unit="share of channels", search=(0.0, 0.8))

    def layer(self, host: nn.Module) -> Inserted:
        return SpatialDropoutLayer(self)
