"""Gaussian noise in hidden units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from poise.core.dial import dial
from poise.core.kinds import Inserted
from poise.network.attach import AfterActivations

__all__ = ["HiddenNoise", "HiddenNoiseLayer"]


class HiddenNoiseLayer(Inserted):
    """Adds Gaussian noise of deviation `scale` while training; does nothing in evaluation."""

    scale: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        noise = self.rng().normal("noise", tuple(x.shape), x.dtype)
        return torch.addcmul(x, noise, self.scale.to(x.dtype))


@dataclass(frozen=True)
class HiddenNoise(AfterActivations):
    """Add Gaussian noise to every hidden unit at every training step.

    y = x + scale n, n ~ N(0, 1) for each value. Makes units that carry the same fact agree, and punishes small
    activations that a later layer would have to amplify; use it where dropout is too strong, as in regression and
    in recurrent networks. Costs one normal draw a value (about five passes over the activations).

    Neutral: scale = 0.
    Shapes: any; one independent draw for each value.
    Units: scale is a standard deviation in units of the activation: its effect depends on their size, which batch
        normalisation fixes near 1.
    Raises: ArgumentError if scale is negative or not finite.
    Source: Poole, Sohl-Dickstein, Ganguli 2014, "Analyzing noise in autoencoders and deep networks": noise at
        the hidden unit activations.

    >>> model = HiddenNoise(0.5).network(nn.Sequential(nn.ReLU()))
    >>> noise = model(torch.zeros(10000))
    >>> round(float(noise.std()), 1)
    0.5
    """

    rank: ClassVar[int] = 20
    formula: ClassVar[str] = "y = x + scale n, n ~ N(0, 1)"
    cost: ClassVar[str] = "one normal draw for each activation"

    scale: float = dial(0.1, neutral=0.0, low=0.0, log=True, unit="deviation of an activation", search=(0.01, 1.0))

    def layer(self, host: nn.Module) -> Inserted:
        return HiddenNoiseLayer(self)
