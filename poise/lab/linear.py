"""Linear models whose training has one end: its exact minimum, found at once, for sliders that must answer at once.

The objective is that of a recipe with `L2` and `L1` on the mean squared error; the zeros of the L1 term come from the
library's own threshold. `tests/lab/test_linear.py` trains the same recipes and arrives at the same weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.rng import Rng, key
from poise.stop.patience import Patience
from poise.update.l1 import L1

__all__ = ["Quadratic", "Stopped", "minimum", "stopped"]

_BLOCK, _BLOCKS = 20, 30  # alternations between two checks of the optimality conditions, and how many blocks at most
_MOMENTUM = 0.9


@dataclass(frozen=True)
class Quadratic:
    """The mean squared error of linear models in their weights: 1/2 w' curvature w - slope' w + a constant.

    Shapes: curvature (..., k, k), slope (..., k). Coordinate 0 is the bias, which no penalty touches.
    """

    curvature: Tensor
    slope: Tensor

    @staticmethod
    def of(features: Tensor, targets: Tensor, counts: Tensor | None = None) -> Quadratic:
        """Return that of features (..., n, k), 1 in column 0, and targets (..., n); `counts` (..., n) repeat rows."""
        weighted = features if counts is None else features * counts[..., None]
        scale = 2 / features.shape[-2]
        return Quadratic(scale * weighted.mT @ features, scale * (weighted.mT @ targets[..., None])[..., 0])

    def with_l2(self, weight: float | Tensor) -> Quadratic:
        """Return it with the penalty weight/2 sum w^2, the bias left out; `weight` may be (...,)."""
        penalised = torch.ones(self.slope.shape[-1], dtype=self.slope.dtype)
        penalised[0] = 0
        weights = torch.as_tensor(weight, dtype=self.slope.dtype)
        curvature = self.curvature + weights[..., None, None] * torch.diag(penalised)
        return Quadratic(curvature, self.slope.expand(curvature.shape[:-1]))


def minimum(data: Quadratic, l2: float | Tensor = 0.0, l1: float | Tensor = 0.0) -> Tensor:
    """Return the weights (..., k) that minimise the error with both penalties; the shortest, where many do.

    A strength may be a tensor (...,), one for each model.

    With L1, alternating directions (Boyd et al. 2011, section 6.4) find which weights are zero: a step to the
    quadratic's minimum, then `L1.proximal`. What is left is linear and solved exactly.
    """
    whole = data.with_l2(l2)
    strength = torch.as_tensor(l1, dtype=whole.slope.dtype)[..., None]
    shape = torch.broadcast_tensors(whole.slope, strength)[0].shape  # torch.broadcast_shapes imports sympy, 0.4 s
    if not bool(strength.any()):
        inverse = torch.linalg.pinv(whole.curvature, rtol=1e-13, hermitian=True)
        shortest: Tensor = (inverse @ whole.slope[..., None])[..., 0]
        return shortest.expand(shape)
    whole = Quadratic(whole.curvature.expand(*shape, shape[-1]), whole.slope.expand(shape))
    part, ctx = L1().at({"weight": strength}), Context(0, rng=Rng(key(0)))
    size = shape[-1]
    # Any stiffness arrives; what arrives soon makes the threshold, strength / stiffness, of the size of the weights.
    steepest, pull = whole.curvature.diagonal(dim1=-2, dim2=-1).amax(-1, True), whole.slope.abs().amax(-1, True)
    stiffness = (steepest * (strength / pull.clamp(min=1e-300)).clamp(0.01, 0.3))[..., None]
    inverse = torch.linalg.inv(whole.curvature + stiffness * torch.eye(size, dtype=whole.slope.dtype))
    step = 1 / stiffness[..., 0]
    kept = torch.zeros_like(whole.slope)
    surplus = torch.zeros_like(kept)
    found = kept
    for _ in range(_BLOCKS):
        for _ in range(_BLOCK):
            target = whole.slope + stiffness[..., 0] * (kept - surplus)
            moved = 1.7 * (inverse @ target[..., None])[..., 0] - 0.7 * kept + surplus  # 1.7: over-relaxation
            kept = torch.cat([moved[..., :1], part.proximal("weight", moved[..., 1:], step, ctx)], -1)
            surplus = moved - kept
        found, optimal = _polished(whole, kept, strength)
        if bool(optimal.all()):
            break
        found = torch.where(optimal[..., None], found, kept)
    return found


def _polished(whole: Quadratic, kept: Tensor, strength: Tensor) -> tuple[Tensor, Tensor]:
    """Return the exact weights if those that are 0 are the right ones, and whether they are."""
    free = kept != 0
    free[..., 0] = True
    both = (free[..., None] & free[..., None, :]).to(kept.dtype)
    sign = torch.sign(kept)
    sign[..., 0] = 0
    slope = torch.where(free, whole.slope - strength * sign, 0.0)
    # Padded columns and twins make it singular: the shortest solution then, as without L1.
    matrix = whole.curvature * both + torch.diag_embed((~free).to(kept.dtype))
    exact = torch.where(free, torch.linalg.solve_ex(matrix, slope)[0], 0.0)
    pull = (whole.slope - (whole.curvature @ exact[..., None])[..., 0]).abs()
    held = (free | (pull <= strength * (1 + 1e-9) + 1e-12)).all(-1)
    signed = ((torch.sign(exact) == sign) | ~free)[..., 1:].all(-1)
    return exact, held & signed & torch.isfinite(exact).all(-1)


def descent(data: Quadratic, l2: float, l1: float, steps: int) -> Iterator[Tensor]:
    """Yield the weights after each step of gradient descent from 0 with momentum 0.9, `L1` acting by its threshold.

    The learning rate is (1 - momentum) / the largest curvature, of each model its own.
    """
    whole = data.with_l2(l2)
    part, ctx = L1(l1), Context(0, rng=Rng(key(0)))
    rate = rate_of(whole)
    weights = torch.zeros_like(whole.slope)
    speed = torch.zeros_like(weights)
    for _ in range(steps):
        speed = _MOMENTUM * speed + (whole.curvature @ weights[..., None])[..., 0] - whole.slope
        weights = weights - rate * speed
        if l1 > 0:
            tail = part.proximal("weight", weights[..., 1:], rate / (1 - _MOMENTUM), ctx)
            weights = torch.cat([weights[..., :1], tail], -1)
        yield weights


def rate_of(whole: Quadratic) -> Tensor:
    """Return the learning rate (..., 1) at which descent with momentum 0.9 is stable."""
    steepest: Tensor = torch.linalg.eigvalsh(whole.curvature)[..., -1:]
    return (1 - _MOMENTUM) / steepest


@dataclass(frozen=True)
class Stopped:
    """The weights at the best evaluation, its step, and the step of the stop (that of the last one, if none)."""

    weights: Tensor
    best_step: Tensor
    stop_step: Tensor


def stopped(
    data: Quadratic, features: Tensor, targets: Tensor, *, l2: float, l1: float, steps: int, every: int, patience: int
) -> Stopped:
    """Descend and let `Patience` watch the mean squared error on other rows, every `every` steps.

    Shapes: features (..., n, k) of the other rows, which broadcast against the models; targets (..., n).
    """
    part = Patience(evaluations=patience)
    memory = {name: value.expand(data.slope.shape[:-1]).clone() for name, value in part.remember({}).items()}
    ended = torch.zeros(data.slope.shape[:-1], dtype=torch.bool)
    best = torch.zeros_like(data.slope)
    stop_step = torch.full(ended.shape, steps)
    for step, weights in enumerate(descent(data, l2, l1, steps), start=1):
        if step % every:
            continue
        score = torch.square((features @ weights[..., None])[..., 0] - targets).mean(-1)
        before = ended
        now, after = part.stop(ended, memory, Context(step, rng=Rng(key(0)), score=score))
        memory = {name: torch.where(before, memory[name], value) for name, value in after.items()}
        improved = ~before & (memory["best_step"] == step)
        best = torch.where(improved[..., None], weights, best)
        stop_step = torch.where(now & ~before, step, stop_step)
        ended = now
        if bool(ended.all()):
            break
    return Stopped(best, memory["best_step"], stop_step)
