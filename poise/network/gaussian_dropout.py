"""Gaussian dropout: units multiplied by Gaussian noise around 1 while training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from poise.core.dial import dial
from poise.core.kinds import Inserted
from poise.network.attach import AfterActivations

__all__ = ["GaussianDropout", "GaussianDropoutLayer"]


class GaussianDropoutLayer(Inserted):
    """Multiplies each value by N(1, p / (1 - p)) while training; does nothing in evaluation."""

    p: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        noise = self.rng().normal("noise", tuple(x.shape), x.dtype)
        return x * (1 + noise * torch.sqrt(self.p / (1 - self.p)).to(x.dtype))


@dataclass(frozen=True)
class GaussianDropout(AfterActivations):
    """Multiply each hidden unit by Gaussian noise with dropout's mean and variance at every training step.

    y = x n, n ~ N(1, p / (1 - p)) for each value: the mean and variance that dropout of rate p has, without its
    zeros. Works as well as dropout or a little better, and its strength goes smoothly to 0; a sign may flip at p
    near 1/2 and above. Evaluation leaves x as it is. Costs one normal draw a value (about five passes over the
    activations).

    Neutral: p = 0.
    Shapes: any; one independent draw for each value.
    Units: p is the rate of the dropout with the same variance; the deviation of n is sqrt(p / (1 - p)).
    Raises: ArgumentError if p is outside [0, 1): at 1 the variance is infinite.
    Source: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov 2014, "Dropout", JMLR 15, section 10.

    >>> model = GaussianDropout(0.2).network(nn.Sequential(nn.ReLU()))
    >>> y = model(torch.ones(100_000))
    >>> round(float(y.mean()), 2), round(float(y.std()), 2)
    (1.0, 0.5)
    """

    rank: ClassVar[int] = 30
    formula: ClassVar[str] = "y = x n, n ~ N(1, p / (1 - p))"
    cost: ClassVar[str] = "one normal draw for each activation"

    p: float = dial(
        0.2, neutral=0.0, low=0.0, high=1.0, open_high=True, unit="rate of equal variance", search=(0.0, 0.8)
    )

    def layer(self, host: nn.Module) -> Inserted:
        return GaussianDropoutLayer(self)
