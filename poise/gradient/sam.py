"""Sharpness-aware minimisation: the gradient is taken where the loss near by is highest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.placed import placed
from poise.core.regularizer import Memory, Regularizer
from poise.gradient.values import common_norm, map_values, rows_like, values_of

__all__ = ["Sam"]

_LEAST = 0.01  # what a weight of 0 counts as in the adaptive size: the paper's eta
_TINY = 1e-12  # keeps a gradient of 0 from giving 0 / 0; davda54/sam uses the same


@dataclass(frozen=True)
class Sam(Regularizer):
    """Takes the gradient at the point within `rho` of the weights where the loss is highest, to first order.

    g <- gradient of the objective at w + e, e = rho g / |g|, |g| the norm over all parameters. It prefers minima whose
    surroundings are low as well; one of the strongest single regularizers where training reaches a loss near 0. With
    `adaptive` the ball follows the weights: e = rho T^2 g / |T g|, T = |w| + 0.01 for weights and embeddings, 1 for
    biases and norms; `rho` is then 5 to 10 times as large. Both gradients see the same rows and masks, and batch
    statistics move once. It comes first in its stage: noise and clipping act on the new gradient. It costs a second
    forward and backward pass; in a loop of your own, call `run.step(optimizer, closure)`.

    Neutral: rho = 0.
    Shapes: gradients keep shape and dtype; the norm is summed in float32 at least.
    Units: rho is a distance in the space of all weights (adaptive: relative to their size).
    Raises: ArgumentError if rho is not a finite number >= 0, or adaptive not True or False.
    Source: Foret, Kleiner, Mobahi and Neyshabur 2021, "Sharpness-aware minimization for efficiently improving
        generalization", algorithm 1; Kwon, Kim, Park and Choi 2021, "ASAM: adaptive sharpness-aware minimization
        for scale-invariant learning of deep neural networks", algorithm 1.

    >>> w = {"w": torch.tensor([3.0, 4.0])}
    >>> ctx = Context(0, rng=None, params=w, gradient=lambda params: params)  # of |w|^2 / 2
    >>> Sam(rho=5.0).gradient(w, {}, ctx)[0]
    {'w': tensor([6., 8.])}
    """

    rank: ClassVar[int] = 10  # before everything that edits the gradient of the step
    needs: ClassVar[tuple[str, ...]] = ("closure",)
    formula: ClassVar[str] = "g <- gradient at w + rho g / |g|"
    cost: ClassVar[str] = "a second forward and backward pass"

    rho: DialValue = dial(0.05, neutral=0.0, low=0.0, log=True, search=(1e-3, 1.0), unit="distance of weights")
    adaptive: bool = False

    def gradient(self, grads: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        if not grads:
            return grads, memory
        felt = {name: self._stretched(name, g, ctx) for name, g in grads.items()}
        norm = common_norm(felt.values())
        factor = like(self.rho, norm) / (norm + _TINY)
        there = dict(ctx.params)
        for name, g in felt.items():
            there[name] = there[name] + self._stretched(name, g, ctx) * factor.to(g.dtype)
        found = ctx.gradient(there)
        # Chosen, not computed: where sums run in any order, a second pass at the same point would differ in a bit.
        moved = placed(self.rho, norm) > 0
        return {name: _chosen(moved, found[name], g) for name, g in grads.items()}, memory

    def _stretched(self, name: str, grad: Tensor, ctx: Context) -> Tensor:
        """Return T g: the gradient in the measure of the parameter's ball."""
        if not self.adaptive or ctx.roles[name].kind not in ("weight", "embedding"):
            return grad
        size = rows_like(ctx.params[name], grad).abs() + _LEAST
        return map_values(lambda values: values * size, grad)


def _chosen(moved: Tensor, found: Tensor, grad: Tensor) -> Tensor:
    """Return `found` where moved, else `grad`; both of the same rows, if they are sparse."""
    if grad.is_sparse and found.is_sparse:
        values = values_of(found)
        return map_values(lambda own: torch.where(moved, values.to(own.dtype), own), grad)
    found, grad = (g.to_dense() if g.is_sparse else g for g in (found, grad))
    return torch.where(moved, found.to(grad.dtype), grad)
