"""Dropout: units switched off at random while training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from poise.core.dial import dial
from poise.core.kinds import Inserted
from poise.network.attach import AfterActivations

__all__ = ["Dropout", "DropoutLayer", "dropped"]


def dropped(x: Tensor, margin: Tensor, p: Tensor) -> Tensor:
    """Return x / (1 - p) where margin > 0 (see `Rng.margin`), else 0; all 0 at p = 1.

    An infinite value that is dropped becomes 0, not NaN as in a product with a mask. `torch.where` would say the same,
    but its bool condition runs scalar code on a CPU, ten times slower than aten's name for "x where margin > 0".
    """
    kept: Tensor = torch.ops.aten.threshold_backward(x, margin, 0)
    rate = p.to(kept.dtype)
    scale = torch.where(rate < 1, 1 / (1 - rate).clamp(min=torch.finfo(rate.dtype).tiny), 0.0)
    return (kept * scale).to(x.dtype)


class DropoutLayer(Inserted):
    """Zeroes each value with probability `p` while training; does nothing in evaluation."""

    p: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return dropped(x, self.rng().margin("keep", tuple(x.shape), self.p), self.p)


@dataclass(frozen=True)
class Dropout(AfterActivations):
    """Switch off each hidden unit with probability p at every training step, and scale the others by 1 / (1 - p).

    y = x m / (1 - p), m ~ Bernoulli(1 - p) for each value, drawn anew at each call; evaluation leaves x as it is.
    The first thing to try against overfitting in a network of dense layers; costs one random mask and two passes
    over the activations, and usually more steps to converge. p = 1 gives exact zeros. The probability is exact to
    2^-16.

    Neutral: p = 0.
    Shapes: any; one independent draw for each value.
    Units: p is the share dropped, not the share kept.
    Raises: ArgumentError if p is outside [0, 1].
    Source: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov 2014, "Dropout", JMLR 15, section 4.

    >>> model = Dropout(0.5).network(nn.Sequential(nn.ReLU()))
    >>> sorted(set(model(torch.ones(100)).tolist()))
    [0.0, 2.0]
    """

    rank: ClassVar[int] = 30
    formula: ClassVar[str] = "y = x m / (1 - p), m ~ Bernoulli(1 - p)"
    cost: ClassVar[str] = "one mask and two passes over the activations"

    p: float = dial(0.2, neutral=0.0, low=0.0, high=1.0, unit="share of units", search=(0.0, 0.8))

    def layer(self, host: nn.Module) -> Inserted:
        return DropoutLayer(self)
