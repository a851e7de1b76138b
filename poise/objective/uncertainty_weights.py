"""Weighting of tasks by the noise that their losses show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.regularizer import Memory
from poise.objective.weighting import Weighting, wide

__all__ = ["UncertaintyWeights"]


@dataclass(frozen=True)
class UncertaintyWeights(Weighting):
    """Divides each task's loss by a learned variance, so that noisy tasks count less.

    L = sum_t L_t / v_t + 1/2 log v_t, v_t = exp(s_t), s_t = 0 at first. Its gradient in the log-variance is
    dL/ds_t = 1/2 - L_t / v_t; instead of one gradient step of length `rate`, the flow ds/dt = -dL/ds is followed for a
    time `rate`, which has the closed form

        v_t <- 2 L_t + (v_t - 2 L_t) exp(-rate / 2),

    equal to the gradient step to first order and stable at any rate. So v_t is an average of 2 L_t over about
    2 / rate steps, and the weight 1 / v_t brings each task's weighted loss to 1/2. Use it where tasks come in
    different units (regressions of different scale); costs nothing. The sum of 1/2 log v_t is a term of the part's own,
    without gradient in the weights.

    Neutral: rate = 0, every weight is 1.
    Shapes: memory holds the variances (T,), float32 at least.
    Units: rate is a step in log-variance, taken for each micro-batch of a step; losses must be >= 0 (half squared
        errors make v_t the variance of the noise).
    Raises: ArgumentError if rate is not a finite number >= 0, or `tasks` are not tasks of the loss.
    Source: Kendall, Gal and Cipolla 2018, "Multi-task learning using uncertainty to weigh losses for scene geometry
        and semantics", equations 7 and 10.

    >>> part = UncertaintyWeights(1.3862943611, tasks=("a",))  # exp(-rate / 2) = 1/2
    >>> _, memory = part.weigh(torch.tensor([2.0]), part.remember({"w": torch.zeros(1)}), Context(0, rng=None))
    >>> memory["variance"]  # half way from 1 to 2 L = 4
    tensor([2.5000])
    """

    rank: ClassVar[int] = 20
    formula: ClassVar[str] = "sum L_t / v_t + 1/2 log v_t; v_t <- 2 L_t + (v_t - 2 L_t) exp(-rate / 2)"

    rate: DialValue = dial(0.02, neutral=0.0, low=0.0, log=True, unit="log-variance a step", search=(1e-3, 0.5))

    def remember(self, params: Mapping[str, Tensor]) -> Memory:
        return {"variance": torch.ones(len(self.tasks), dtype=wide(params), device=next(iter(params.values())).device)}

    def weigh(self, losses: Tensor, memory: Memory, ctx: Context) -> tuple[Tensor, Memory]:
        variance = memory["variance"]
        losses = losses.to(variance)
        share = -torch.expm1(-0.5 * like(self.rate, variance) * torch.ones_like(variance))
        moved = torch.lerp(variance, 2 * losses, share)
        return 1 / variance, memory | {"variance": torch.where(losses > 0, moved, variance)}

    def objective(self, terms: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        half_logs = 0.5 * memory["variance"].log().sum()
        terms, memory = super().objective(terms, memory, ctx)
        return terms | {self.name: half_logs}, memory
