"""Dropout: units switched off at random while training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from poise.core.dial import dial
from poise.core.kinds import Inserted
from poise.network.attach import AfterActivations

__all__ = ["Dropout", "DropoutLayer", "inverse_keep_rate"]


def inverse_keep_rate(p: Tensor, dtype: torch.dtype) -> Tensor:
    """Return 1 / (1 - p) in `dtype`, and 0 at p = 1, so that all-zero results stay zero and never become 0 x inf."""
    wide = p.to(torch.promote_types(dtype, torch.float32))
    return torch.where(wide < 1, 1 / (1 - wide).clamp(min=torch.finfo(wide.dtype).tiny), 0.0).to(dtype)


class DropoutLayer(Inserted):
    """Zeroes each value with probability `p` while training; does nothing in evaluation."""

    p: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        margin = self.rng().margin("keep", tuple(x.shape), self.p)
        # aten's name for "the first where the second is > 0, else 0". Not a product with a mask: an infinite value
        # that is dropped must become 0, not NaN; not `where`, whose bool condition is 10x slower on a CPU.
        kept = torch.ops.aten.threshold_backward(x, margin, 0)
        return (kept * inverse_keep_rate(self.p, kept.dtype)).to(x.dtype)


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
