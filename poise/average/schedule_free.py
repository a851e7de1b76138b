"""Schedule-free learning: averaged weights in place of a learning rate that falls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.average.shadow import shadow
from poise.core.context import Context
from poise.core.dial import DialValue, dial, double, like
from poise.core.placed import placed
from poise.core.regularizer import Memory, Regularizer

__all__ = ["ScheduleFree"]


@dataclass(frozen=True)
class ScheduleFree(Regularizer):
    """Trains at a point between the optimizer's weights and their running average, and evaluates with the average.

    Gradients are taken at y = (1 - momentum) z + momentum x; the optimizer steps from z (z <- z - lr g(y) for SGD);
    then x <- x + c (z - x), c = lr^2 / (sum of lr^2 so far), which is 1 / t at a constant rate. So there is no final
    step count to know: use a constant learning rate, after a warm-up if there is one. Give it an optimizer without
    momentum, because momentum is what x is for: SGD(momentum=0) makes Schedule-Free SGD, AdamW(betas=(0, 0.999))
    makes Schedule-Free AdamW, whose larger learning rates (1 to 10 times) it takes too; with a momentum of the
    optimizer's own it is neither of the two. `Decay` acts at y, thresholds and projections act on z, as in the source's
    code. The model holds y between steps, so evaluate by `run.evaluation()` or `run.predictor()`; batch norm needs its
    statistics of x anew. It costs four passes over the weights and two copies of them.

    Neutral: share = 0, where c = 1 and x = y = z. Between, c falls to 1 - share: an exponential average, not an
    equal one. momentum = 0 takes gradients at z, and x is Polyak's average.
    Shapes: weights keep shape and dtype; x and z are float32 at least.
    Units: momentum and share are shares in [0, 1].
    Raises: ArgumentError if momentum or share is not in [0, 1].
    Source: Defazio, Yang, Mehta, Mishchenko, Khaled and Cutkosky 2024, "The road less scheduled": its three
    sequences with the weights lr^2 of algorithm 1, without that one's warm-up, which is the optimizer's matter.

    >>> part, ctx = ScheduleFree(momentum=0.5), Context(0, rng=None, lr=0.1)
    >>> memory = part.remember({"w": torch.tensor([0.0])})
    >>> for stepped in (4.0, 8.0):  # where the optimizer arrives
    ...     y, memory = part.update({"w": torch.tensor([stepped])}, memory, ctx)
    >>> y, part.average(y, memory, ctx)[0]  # x is the mean of 4 and 8; y lies half way from 8 to it
    ({'w': tensor([7.])}, {'w': tensor([6.])})
    """

    rank: ClassVar[int] = 95  # after every threshold and projection: those are of z
    formula: ClassVar[str] = "y = (1 - momentum) z + momentum x; z <- optimizer's step, x <- running mean of z"
    cost: ClassVar[str] = "four passes over the weights, two copies of them in memory"

    momentum: DialValue = dial(0.9, neutral=0.0, low=0.0, high=1.0, search=(0.5, 0.98), unit="share of the average")
    share: DialValue = dial(1.0, neutral=0.0, low=0.0, high=1.0, search=(0.0, 1.0))

    def remember(self, params: Mapping[str, Tensor]) -> Memory:
        points = {f"{point}/{name}": shadow(w) for point in ("z", "x") for name, w in params.items()}
        # One sum a parameter: groups of the optimizer have rates of their own, and parameters may miss a step.
        sums = {f"sum/{name}": torch.zeros((), dtype=torch.float64, device=w.device) for name, w in params.items()}
        # The momentum by which each y was made: a schedule has another one when z is put back.
        made = {f"momentum/{name}": torch.zeros_like(total) for name, total in zip(params, sums.values(), strict=True)}
        return points | sums | made

    def shrink(self, params: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        """Put z in place of y; what other parts did to y in this stage is done to z."""
        edited = {}
        for name, y in params.items():
            z, x = memory[f"z/{name}"], memory[f"x/{name}"]
            held = _between(z, x, memory[f"momentum/{name}"])
            moved = y.to(z) - held.to(y.dtype).to(z)  # exactly 0 if nothing did
            edited[name] = torch.where(self._acts(z), z + moved, y.to(z)).to(y.dtype)
        return edited, memory

    def update(self, params: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        """Take what the optimizer made of z into the average, and return the next y."""
        edited: dict[str, Tensor] = {}
        new: Memory = {}
        for name, w in params.items():
            old = memory[f"x/{name}"]
            z = w.to(old.dtype, copy=True)  # the caller writes y over w
            weight = placed(ctx.rate_of(name), old, torch.float64).square()
            total = memory[f"sum/{name}"] + weight
            gain = torch.where(total > 0, weight / total.clamp(min=torch.finfo(torch.float64).tiny), 0.0)
            x = torch.lerp(old, z, like(1 - double(self.share) * (1 - gain), z))
            momentum = placed(self.momentum, total, torch.float64)
            edited[name] = torch.where(self._acts(z), _between(z, x, momentum), z).to(w.dtype)
            new |= {f"z/{name}": z, f"x/{name}": x, f"sum/{name}": total, f"momentum/{name}": momentum}
        return edited, memory | new

    def average(self, weights: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        averages = {name: memory[f"x/{name}"] for name in weights}
        return {
            name: torch.where(self._acts(x), x, weights[name].to(x)).to(weights[name].dtype)
            for name, x in averages.items()
        }, memory

    def _acts(self, like_weights: Tensor) -> Tensor:
        return placed(self.share, like_weights) > 0


def _between(z: Tensor, x: Tensor, momentum: Tensor) -> Tensor:
    return torch.lerp(z, x, momentum.to(z))
