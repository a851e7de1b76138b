"""Soft orthogonality: the rows (or columns) of each weight matrix are pulled towards an orthonormal set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.kinds import Penalty, summed
from poise.core.select import transposed_of
from poise.core.units import units_first

__all__ = ["Orthogonal"]


@dataclass(frozen=True)
class Orthogonal(Penalty):
    """Adds weight times the squared distance of each weight matrix's Gram matrix from the identity.

    weight sum over matrices of |W W' - I|^2 (Frobenius) if W (out, in) is wide, |W' W - I|^2 if it is tall: of the
    two Gram matrices the smaller one, which can reach I. The other has the same gradient, its value being higher by
    |out - in|. Keeps gradients and activations of deep networks at one scale; use it instead of decay, which pulls
    the same weights to 0, not beside it. It costs one product of each matrix with itself, a share out / B of a
    forward pass over B rows.

    Neutral: weight = 0.
    Shapes: a kernel (out, in, ...) is the matrix (out, in * ...), as is that of a transposed convolution (in, out,
        ...); a packed attention projection is one matrix; vectors are left out. The term is 0-d, float32 at least.
    Units: objective per squared deviation of an inner product, without a half; the sum runs over all matrices.
    Raises: ArgumentError if weight is not a finite number >= 0, or `where` is no selection.
    Source: Bansal, Chen and Wang 2018, "Can we gain more from orthogonality regularizations in training deep CNNs?",
        soft orthogonality; Brock, Lim, Ritchie and Weston 2017, "Neural photo editing with introspective adversarial
        networks", with absolute values in place of squares.

    >>> float(Orthogonal(weight=0.5).penalty({"w": torch.tensor([[2.0, 0.0], [0.0, 1.0]])}, Context(0, rng=None)))
    4.5
    """

    formula: ClassVar[str] = "weight * sum |W W' - I|^2, the smaller Gram matrix of each W"
    cost: ClassVar[str] = "one product of each weight matrix with itself"

    weight: DialValue = dial(1e-3, neutral=0.0, low=0.0, log=True, search=(1e-6, 1e-1))

    def penalty(self, params: Mapping[str, Tensor], ctx: Context) -> Tensor:
        terms = []
        for name, parameter in params.items():
            if parameter.dim() < 2 or parameter.numel() == 0:
                continue
            matrix = units_first(parameter, transposed_of(ctx.roles, name)).flatten(1)
            if matrix.dtype.itemsize == 2:
                matrix = matrix.float()
            rows, columns = matrix.shape
            gram = matrix @ matrix.T if rows <= columns else matrix.T @ matrix
            terms.append((gram - torch.eye(min(rows, columns), dtype=gram.dtype, device=gram.device)).square().sum())
        total = summed(terms)
        return like(self.weight, total) * total
