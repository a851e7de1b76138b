"""Alpha dropout: dropout for self-normalising networks, which keeps the mean and variance of the units."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from poise.core.dial import dial
from poise.core.kinds import Inserted
from poise.network.attach import AfterActivations

__all__ = ["AlphaDropout", "AlphaDropoutLayer"]

_SATURATION = -1.7580993408473766
"""The value of SELU at minus infinity, -scale alpha of torch.nn.SELU."""


class AlphaDropoutLayer(Inserted):
    """Sets each value to SELU's saturation with probability `p` while training; does nothing in evaluation."""

    p: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        wide = torch.promote_types(x.dtype, torch.float32)
        p = self.p.to(wide)
        kept = self.rng().margin("keep", tuple(x.shape), self.p) > 0
        spread = ((1 - p) * (1 + p * _SATURATION**2)).clamp(min=torch.finfo(wide).tiny)
        gain = torch.where(p < 1, torch.rsqrt(spread), 0.0)
        return torch.addcmul(-gain * p * _SATURATION, torch.where(kept, x.to(wide), _SATURATION), gain).to(x.dtype)


@dataclass(frozen=True)
class AlphaDropout(AfterActivations):
    """Set SELU units to their lowest value with probability p, then restore the layer's mean and variance.

    y = a (x m + s (1 - m)) + b, m ~ Bernoulli(1 - p) for each value, s = -1.7581 (SELU at minus infinity),
    a = ((1 - p) (1 + p s^2))^(-1/2), b = -a p s: units of mean 0 and variance 1 keep both, so that the network stays
    self-normalising, which dropout's zeros would upset. Evaluation leaves x as it is. Costs one random mask and three
    passes over the activations. p = 1 gives exact zeros.

    Neutral: p = 0.
    Shapes: any; one independent draw for each value.
    Units: p is the share dropped, not the share kept; 0.05 to 0.1 is usual.
    Raises: ArgumentError if p is outside [0, 1].
    Source: Klambauer, Unterthiner, Mayr, Hochreiter 2017, "Self-normalizing neural networks", paragraph "New dropout
        technique"; torch.nn.AlphaDropout.

    >>> model = AlphaDropout(0.5).network(nn.Sequential(nn.SELU()))
    >>> [round(value, 4) for value in sorted(set(model(torch.zeros(100)).tolist()))]
    [-0.7792, 0.7792]
    """

    rank: ClassVar[int] = 30
    formula: ClassVar[str] = "y = a (x m + s (1 - m)) + b, m ~ Bernoulli(1 - p), s = -1.7581"
    cost: ClassVar[str] = "one mask and three passes over the activations"
    places: ClassVar[tuple[str, ...]] = ("SELU activations", "activations")

    where: str = field(default="SELU activations", kw_only=True)
    p: float = dial(0.1, neutral=0.0, low=0.0, high=1.0, unit="share of units", search=(0.0, 0.4))

    def layer(self, host: nn.Module) -> Inserted:
        return AlphaDropoutLayer(self)
