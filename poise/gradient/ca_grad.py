"""Conflict-averse gradients: near the mean of the tasks' gradients, the direction that helps the worst task most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.regularizer import Memory, Regularizer
from poise.gradient.surgery import added, check_several, products_of, stacked

__all__ = ["CaGrad", "worst_mixture"]

_ROUNDS = 10  # exchanges of weight for each task: the dual is then at its minimum to 1e-5 of its size, as tests hold


@dataclass(frozen=True)
class CaGrad(Regularizer):
    """Steps within a ball around the mean gradient so that the task that gains least gains most.

    d = argmax min_t g_t . d over |d - g_0| <= radius |g_0|, g_0 the mean of the T tasks' gradients. By duality
    d = g_0 + radius |g_0| g_w / |g_w|, g_w = sum_t w_t g_t, where w minimises g_w . g_0 + radius |g_0| |g_w| over
    weights that are >= 0 and sum to 1. The tasks' part of the gradient, T g_0, becomes T d; the penalties' part stays.
    Unlike `PcGrad` it still goes where the mean loss falls; the larger the radius, the more it looks after the worst
    task. Costs a backward pass for each task, and 10 T small exchanges of weight on their T x T dot products.

    Neutral: radius = 0. Equal tasks give 1 + radius times their sum: the step is not scaled back.
    Shapes: gradients keep shape and dtype; dot products are summed in float32 at least.
    Units: radius is a share of the mean gradient's norm.
    Raises: ArgumentError if radius is outside [0, 1), or the loss is not given by task.
    Source: Liu, Liu, Jin, Stone and Liu 2021, "Conflict-averse gradient descent for multi-task learning", algorithm 1.

    >>> tasks = {"a": {"w": torch.tensor([4.0, 0.0])}, "b": {"w": torch.tensor([0.0, 2.0])}}
    >>> ctx = Context(0, rng=None, tasks=tasks)  # g_0 = (2, 1), of norm sqrt(5); the worst task is b: g_w = (0, 2)
    >>> CaGrad(0.2).gradient({"w": torch.tensor([4.0, 2.0])}, {}, ctx)[0]["w"]  # 2 (2, 1 + 0.2 sqrt(5))
    tensor([4.0000, 2.8944])
    """

    rank: ClassVar[int] = 30  # before clipping and noise: it edits the tasks' part of the plain gradient
    formula: ClassVar[str] = "T (g_0 + radius |g_0| g_w / |g_w|), w the mixture of tasks that the mean serves worst"
    cost: ClassVar[str] = "a backward pass for each task and their dot products"
    needs: ClassVar[tuple[str, ...]] = ("tasks",)

    radius: DialValue = dial(
        0.4, neutral=0.0, low=0.0, high=1.0, open_high=True, unit="share of the norm", search=(0.0, 0.9)
    )

    def gradient(self, grads: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        check_several("CaGrad", ctx)
        stacks = stacked(grads, ctx.tasks)
        products = products_of(stacks)
        radius = like(self.radius, products) * products.mean().clamp(min=0).sqrt()  # in the gradient's units
        mixture = worst_mixture(products, radius)
        length = (mixture @ products @ mixture).clamp(min=0).sqrt()
        # Where the mixture cancels, no direction helps every task, and none is taken.
        unit = torch.where(length > 0, mixture / length.clamp(min=torch.finfo(length.dtype).tiny), 0.0)
        return added(grads, stacks, len(products) * radius * unit), memory


def worst_mixture(products: Tensor, radius: Tensor) -> Tensor:
    """Return the weights w (T,), >= 0 with sum 1, that minimise g_w . g_0 + radius |g_w|.

    Weight goes from the task of the largest slope to that of the smallest, each time as far as is best, which has a
    closed form: along a line the function is a s + radius sqrt(p s^2 + 2 q s + r).

    Shapes: products (T, T) of the gradients; radius 0-d, in the gradients' units.
    """
    count = len(products)
    tiny = torch.finfo(products.dtype).tiny
    to_mean = products.mean(1)
    places = torch.arange(count, device=products.device)
    weights = torch.full_like(to_mean, 1 / count)
    for _ in range(_ROUNDS * count):
        pulls = products @ weights
        r = (weights * pulls).sum().clamp(min=0)
        slopes = to_mean + radius * pulls / r.sqrt().clamp(min=tiny)
        gains = places == slopes.argmin()
        gives = places == torch.where(weights > 0, slopes, -torch.inf).argmax()
        line = gains.to(weights.dtype) - gives.to(weights.dtype)
        ahead = products @ line
        a, p, q = (line * to_mean).sum(), (line * ahead).sum().clamp(min=0), (line * pulls).sum()
        # With u = p s + q the slope is 0 where u^2 (1 - m) = m (p r - q^2), m = a^2 / (radius^2 p), u and a opposed.
        m = a * a / (radius * radius * p).clamp(min=tiny)
        inner = m < 1
        u = -a.sign() * (m * (p * r - q * q).clamp(min=0) / torch.where(inner, 1 - m, 1.0)).sqrt()
        best = torch.where(inner, (u - q) / p.clamp(min=tiny), torch.where(a < 0, torch.inf, 0.0))
        most = torch.where(gives, weights, 0.0).sum()
        weights = weights + torch.where(p > 0, torch.minimum(best.clamp(min=0), most), 0.0) * line
    return weights.clamp(min=0)
