"""Weighting of tasks by the norms of their gradients."""

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

__all__ = ["GradNorm"]


@dataclass(frozen=True)
class GradNorm(Weighting):
    """Moves the tasks' weights until their gradients have norms that let all tasks train at one speed.

    G_t = |gradient of w_t L_t in the shared parameters|, target_t = mean(G) r_t^alpha, where r_t is the share of its
    first loss that is left of task t, L_t / L_t(0), over the mean of these shares: slow tasks get larger gradients.
    The weights descend sum_t |G_t - target_t| with the targets held fixed. The step is taken in log w and in units of
    mean(G), so that weights stay positive and `rate` has no unit; then the weights are scaled to sum to T:

        w_t <- w_t exp(-rate sign(G_t - target_t) G_t / mean(G)).

    Shared are all parameters in which every task of the batch has a gradient (the paper takes the last shared layer
    alone, to save time; here each task's gradient is there anyway). Costs a backward pass for each task.

    Neutral: rate = 0, every weight is 1; alpha = 0 asks for equal norms whatever the speeds.
    Shapes: memory holds weights, first and latest losses (T,), float32 at least.
    Units: rate is a step in log-weight; alpha has none. Losses must be >= 0.
    Raises: ArgumentError if rate or alpha is not a finite number >= 0, or `tasks` are not tasks of the loss.
    Source: Chen, Badrinarayanan, Lee and Rabinovich 2018, "GradNorm: gradient normalization for adaptive loss
        balancing in deep multitask networks", equations 1 and 2 and algorithm 1.

    >>> part = GradNorm(0.6931471806, alpha=0.0, tasks=("a", "b"))  # exp(-rate) = 1/2
    >>> tasks = {"a": {"w": torch.tensor([3.0, 0.0])}, "b": {"w": torch.tensor([0.0, 1.0])}}
    >>> memory = part.remember({"w": torch.zeros(2)})
    >>> part.gradient({}, memory, Context(0, rng=None, tasks=tasks))[1]["weight"]  # 2^-1.5 to 2^0.5 is 1 to 4
    tensor([0.4000, 1.6000])
    """

    rank: ClassVar[int] = 20  # in the gradient stage it only looks; surgery and clipping come after
    formula: ClassVar[str] = "w_t <- w_t exp(-rate sign(G_t - target_t) G_t / mean G), target_t = mean(G) r_t^alpha"
    cost: ClassVar[str] = "a backward pass for each task"
    needs: ClassVar[tuple[str, ...]] = ("tasks",)

    rate: DialValue = dial(0.02, neutral=0.0, low=0.0, log=True, unit="log-weight a step", search=(1e-3, 0.2))
    alpha: DialValue = dial(1.5, neutral=0.0, low=0.0, search=(0.0, 3.0))

    def remember(self, params: Mapping[str, Tensor]) -> Memory:
        zeros = torch.zeros(len(self.tasks), dtype=wide(params), device=next(iter(params.values())).device)
        return {"weight": zeros + 1, "first": zeros, "latest": zeros.clone()}

    def weigh(self, losses: Tensor, memory: Memory, ctx: Context) -> tuple[Tensor, Memory]:
        losses = losses.to(memory["weight"])
        first = torch.where(memory["first"] > 0, memory["first"], losses.clamp(min=0))
        latest = torch.where(losses > 0, losses, memory["latest"])
        return memory["weight"], memory | {"first": first, "latest": latest}

    def gradient(self, grads: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        weight = memory["weight"]
        norms = _shared_norms([ctx.tasks[task] for task in self.tasks]).to(weight)
        present = norms > 0
        count = present.sum().clamp(min=1)
        mean = norms.sum() / count
        known = present & (memory["first"] > 0)
        left = torch.where(known, memory["latest"] / torch.where(known, memory["first"], 1.0), 1.0)
        slowness = left * count / torch.where(present, left, 0.0).sum().clamp(min=torch.finfo(left.dtype).tiny)
        target = mean * slowness ** like(self.alpha, weight)
        slope = torch.sign(norms - target) * norms / mean.clamp(min=torch.finfo(mean.dtype).tiny)
        moved = weight * torch.exp(-like(self.rate, weight) * slope)
        return grads, memory | {"weight": moved * (len(self.tasks) / moved.sum())}


def _shared_norms(tasks: list[Mapping[str, Tensor]]) -> Tensor:
    """Return the norm (T,) of each task's gradient in the parameters where every task that has one has one."""
    squares = torch.stack([_squares(gradient) for gradient in tasks])
    absent = squares.sum(1, keepdim=True) == 0
    shared = ((squares > 0) | absent).all(0)
    return torch.where(shared, squares, 0.0).sum(1).sqrt()


def _squares(gradient: Mapping[str, Tensor]) -> Tensor:
    """Return the squared norm of each parameter's gradient (P,), in float32 at least."""
    return torch.stack([(g if g.dtype.itemsize > 2 else g.float()).square().sum() for g in gradient.values()])
