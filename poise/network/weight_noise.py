"""Gaussian noise in weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from poise.core.dial import dial
from poise.core.kinds import Inserted
from poise.network.in_weights import InWeights, WeightLayer

__all__ = ["WeightNoise", "WeightNoiseLayer"]


class WeightNoiseLayer(WeightLayer):
    """Adds Gaussian noise of deviation `scale` to its host's weight for one forward pass."""

    scale: Tensor

    def edited(self, weight: Tensor) -> Tensor:
        noise = self.rng().normal("noise", tuple(weight.shape), weight.dtype)
        return torch.addcmul(weight, noise, self.scale.to(weight.dtype))


@dataclass(frozen=True)
class WeightNoise(InWeights):
    """Add Gaussian noise to the weights at every training step; the gradient is taken there, the step from the mean.

    w' = w + scale n, n ~ N(0, 1) for each weight, one draw for all rows of the batch. To first order it penalises
    scale^2 times the squared gradient of the output with respect to the weights, so it prefers flat minima; the
    older relative of sharpness-aware training, at half its price, and the classic for recurrent networks. Costs one
    normal draw for each weight.

    Neutral: scale = 0.
    Shapes: the weights of all Linear and Conv layers; biases are left alone.
    Units: scale is a standard deviation in units of a weight.
    Raises: ArgumentError if scale is negative or not finite.
    Source: Graves 2011, "Practical variational inference for neural networks"; Goodfellow, Bengio and Courville
        2016, "Deep learning", section 7.5, for the penalty.

    >>> model = WeightNoise(0.5).network(nn.Sequential(nn.Linear(1, 10000, bias=False)))
    >>> _ = model[0].weight.data.fill_(3.0)
    >>> out = model(torch.ones(1, 1)).detach()
    >>> round(float(out.mean()), 1), round(float(out.std()), 1)
    (3.0, 0.5)
    """

    rank: ClassVar[int] = 20
    formula: ClassVar[str] = "w' = w + scale n, n ~ N(0, 1)"
    cost: ClassVar[str] = "one normal draw for each weight"

    where: str = field(default="weight layers", kw_only=True)
    scale: float = dial(0.01, neutral=0.0, low=0.0, log=True, unit="deviation of a weight", search=(1e-3, 0.3))

    def layer(self, host: nn.Module) -> Inserted:
        return WeightNoiseLayer(self)
