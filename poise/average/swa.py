"""Stochastic weight averaging: the equal average of the weights along the end of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.average.shadow import shadow
from poise.core.context import Context
from poise.core.dial import DialValue, dial, double
from poise.core.errors import ArgumentError, shown
from poise.core.placed import placed
from poise.core.regularizer import Memory, Regularizer

__all__ = ["Swa"]


@dataclass(frozen=True)
class Swa(Regularizer):
    """Evaluates with the equal average of the weights at steps start, start + every, start + 2 every, ...

    mean <- mean + (w - mean) / (count + 1) at those steps; evaluation uses (1 - share) w + share mean, and the plain
    weights before `start`. Use it for the last quarter of training at a constant or cyclical learning rate. Batch norm
    needs its statistics of the averaged weights anew. It costs two passes over the weights and one copy of them.

    Neutral: share = 0, the weights themselves.
    Shapes: weights keep shape and dtype; the mean is float32 at least.
    Units: start and every count optimizer steps from 0, the step after which the weights are read.
    Raises: ArgumentError if start is not an int >= 0, every not an int >= 1, or share not in [0, 1].
    Source: Izmailov et al. 2018, "Averaging weights leads to wider optima and better generalization", algorithm 1.

    >>> part = Swa(start=0, every=1)
    >>> memory = part.remember({"w": torch.zeros(1)})
    >>> for step, value in enumerate([0.0, 3.0, 6.0]):
    ...     weights, memory = part.average({"w": torch.tensor([value])}, memory, Context(step, rng=None))
    >>> weights
    {'w': tensor([3.])}
    """

    formula: ClassVar[str] = "mean of the weights at steps start, start + every, ...; evaluation uses the mean"
    cost: ClassVar[str] = "two passes over the weights, one copy of them in memory"

    start: int
    every: int = 1
    share: DialValue = dial(1.0, neutral=0.0, low=0.0, high=1.0, search=(0.0, 1.0))

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, low in (("start", 0), ("every", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise ArgumentError(
                    f"`Swa.{name}` must be an int >= {low}; got {shown(value)}. It counts optimizer steps, not epochs."
                )

    def remember(self, params: Mapping[str, Tensor]) -> Memory:
        device = next((w.device for w in params.values()), None)
        means = {f"mean/{name}": shadow(w) for name, w in params.items()}
        return means | {"count": torch.tensor(0, device=device)}

    def average(self, weights: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        count = memory["count"]
        since = placed(ctx.step, count).to(count) - self.start
        due = (since >= 0) & (since % self.every == 0)
        count = count + due.to(count.dtype)
        # In float64: a gain of 1/3 rounded to float32 would make the mean of float64 weights a float32 one.
        gain = torch.where(due, 1 / count.clamp(min=1).to(torch.float64), 0.0)
        share = torch.where(count > 0, placed(double(self.share), count), 0.0)
        means = {name: memory[f"mean/{name}"] for name in weights}
        means = {name: torch.lerp(mean, weights[name].to(mean), gain.to(mean)) for name, mean in means.items()}
        blends = {name: torch.lerp(weights[name].to(mean), mean, share.to(mean)) for name, mean in means.items()}
        return (
            {name: blend.to(weights[name].dtype) for name, blend in blends.items()},
            memory | {f"mean/{name}": mean for name, mean in means.items()} | {"count": count},
        )
