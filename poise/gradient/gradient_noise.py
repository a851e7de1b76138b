"""Gaussian noise in the gradients, less of it as training goes on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, double
from poise.core.regularizer import Memory, Regularizer
from poise.gradient.values import map_values

__all__ = ["GradientNoise"]


@dataclass(frozen=True)
class GradientNoise(Regularizer):
    """Adds Gaussian noise of falling variance to every gradient.

    g <- g + sigma n, n ~ N(0, 1) for each number, sigma^2 = variance / (1 + step)^decay. Helps very deep networks out
    of bad starts and flat places early in training; under Adam, which divides by sqrt(v), it is felt most where
    gradients are small. It comes before clipping, which bounds the step that is taken. It costs one normal draw a
    parameter.

    Neutral: variance = 0. With decay = 0 the noise does not fall.
    Shapes: gradients keep shape and dtype; of a sparse gradient only the rows that occur get noise.
    Units: variance is that of the gradient's own unit, at step 0; the paper tries 0.01, 0.3 and 1, and decay 0.55.
    Raises: ArgumentError if variance or decay is not a finite number >= 0.
    Source: Neelakantan, Vilnis, Le, Sutskever, Kaiser, Kurach and Martens 2015, "Adding gradient noise improves
        learning for very deep networks", equation 1.

    >>> part = GradientNoise(variance=0.01, decay=0.5)
    >>> [round(float(part.deviation(step)), 4) for step in (0, 15)]
    [0.1, 0.05]
    """

    rank: ClassVar[int] = 60  # before clipping, which bounds the step that is taken
    formula: ClassVar[str] = "g <- g + sigma n, sigma^2 = variance / (1 + step)^decay"
    cost: ClassVar[str] = "one normal draw for each parameter"

    variance: DialValue = dial(0.01, neutral=0.0, low=0.0, log=True, search=(1e-5, 1.0), unit="squared gradient")
    decay: DialValue = dial(0.55, neutral=0.0, low=0.0, search=(0.0, 1.0), unit="exponent")

    def deviation(self, step: int) -> Tensor:
        """Return sigma at a step, 0-d in float64."""
        fall = (1.0 + step) ** torch.as_tensor(double(self.decay), dtype=torch.float64)
        return (torch.as_tensor(double(self.variance), dtype=torch.float64) / fall).sqrt()

    def gradient(self, grads: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        sigma = self.deviation(ctx.step)

        def noisy(name: str, values: Tensor) -> Tensor:
            noise = ctx.rng.normal(name, tuple(values.shape), torch.promote_types(values.dtype, torch.float32))
            return values + (sigma.to(noise) * noise).to(values)

        return {name: map_values(partial(noisy, name), grad) for name, grad in grads.items()}, memory
