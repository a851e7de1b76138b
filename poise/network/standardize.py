"""The arithmetic of batch normalisation, differentiated by hand: it is the widest pass of a population's step.

Automatic differentiation of mean, variance and affine map makes about ten passes over the activations; by hand it
is five. Both are here: the plain one is what `torch.compile` fuses, and the oracle of the other.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from poise.core.mapped import behind_vmap

__all__ = ["standardize", "standardize_plainly"]

Moments = tuple[Tensor, Tensor, Tensor]


def standardize(x: Tensor, gain: Tensor, offset: Tensor, rest: Tensor, eps: float, dims: tuple[int, ...]) -> Moments:
    """Return (gain (x - mean) / sqrt(var + eps) + rest x + offset, mean, var), moments over `dims`, var divided by n.

    Shapes: gain, offset (broadcast against x, size 1 in `dims`), rest 0-d; mean and var keep `dims` as size 1.
    """
    if torch.compiler.is_compiling():
        return standardize_plainly(x, gain, offset, rest, eps, dims)
    inner = tuple(d - x.dim() if d >= 0 else d for d in dims)
    full = [t.reshape(*[1] * (x.dim() - t.dim()), *t.shape) for t in (gain, offset, rest)]

    def apply(*tensors: Tensor) -> Moments:
        moments: Moments = _Standardize.apply(*tensors, eps, inner)  # type: ignore[no-untyped-call]  # torch has no types there
        return moments

    out, mean, var = behind_vmap(apply, x, *full)
    return out, mean, var


def standardize_plainly(
    x: Tensor, gain: Tensor, offset: Tensor, rest: Tensor, eps: float, dims: tuple[int, ...]
) -> Moments:
    """Return what `standardize` returns, left to automatic differentiation."""
    mean = x.mean(dims, keepdim=True)
    # Centred first: the mean of squares minus the squared mean loses all digits when |mean| >> deviation.
    centred = x - mean
    var = (centred * centred).mean(dims, keepdim=True)
    slope = gain * torch.rsqrt(var + eps)
    # Not from `centred`: x 1 + 0 is x to the bit when gain and offset are 0, (x - mean) 1 + mean is not.
    return torch.addcmul(offset - slope * mean, x, slope + rest), mean, var


class _Standardize(torch.autograd.Function):
    """Mean and variance are outputs, so that a second derivative (a Jacobian penalty) finds its way through them."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, gain: Tensor, offset: Tensor, rest: Tensor, eps: float, dims: tuple[int, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        return standardize_plainly(x, gain, offset, rest, eps, dims)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Moments) -> None:
        x, gain, _offset, rest, ctx.eps, ctx.dims = inputs
        _out, mean, var = output
        ctx.save_for_backward(x, gain, rest, mean, var)

    @staticmethod
    def backward(ctx: Any, g: Tensor, g_mean: Tensor, g_var: Tensor) -> tuple[Any, ...]:
        x, gain, rest, mean, var = ctx.saved_tensors
        rows = x.numel() // mean.numel()
        centred = x - mean
        root = torch.rsqrt(var + ctx.eps)
        total = g.sum(ctx.dims, keepdim=True)
        along = (g * centred).sum(ctx.dims, keepdim=True)
        slope = gain * root
        constant = (g_mean - slope * total) / rows
        bend = (2 * g_var - slope * root * root * along) / rows
        g_x = torch.addcmul(torch.addcmul(constant, centred, bend), g, slope + rest)
        return g_x, root * along, total, None, None, None
