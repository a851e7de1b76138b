"""Gaussian noise in the inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from poise.batch.column_groups import column_groups
from poise.core.context import Batch, Context
from poise.core.dial import dial
from poise.core.errors import ArgumentError, shown
from poise.core.kinds import Transform
from poise.core.placed import placed
from poise.core.rng import Rng

__all__ = ["InputNoise"]


@dataclass(frozen=True)
class InputNoise(Transform):
    """Add Gaussian noise to the inputs at every step; targets stay.

    x' = x + scale n, n ~ N(0, 1) for each value. For a linear model with squared loss the expected loss is exactly
    loss + scale^2 |w|^2; for small noise in general it penalises scale^2 times the squared gradient of the output with
    respect to the input (half of both for half the squared error). Good for standardised measurements; costs one normal
    draw a value. With `where="numeric"`, and the groups of columns known (`ctx.columns`), one-hot columns of a category
    of two levels or more are left alone; `where="all"` adds noise to them too.

    Neutral: scale = 0.
    Shapes: inputs (B, ...) of any rank; integer inputs (token ids) are left as they are.
    Units: scale is a standard deviation in units of the input: 0.1 is a tenth of a deviation of standardised columns.
    Raises: ArgumentError if scale is negative or not finite, `where` is neither "numeric" nor "all", or the inputs are
        not one tensor.
    Source: Bishop 1995, "Training with noise is equivalent to Tikhonov regularization".

    >>> batch = Batch(torch.tensor([[1.0, 0.0]]), torch.tensor([0.0]))
    >>> draw = torch.tensor([[2.0, -1.0]])
    >>> InputNoise(0.5).apply(batch, draw, Context(0, Rng(torch.zeros(3, dtype=torch.int64)))).inputs.tolist()
    [[2.0, -0.5]]
    """

    rank: ClassVar[int] = 20
    formula: ClassVar[str] = "x' = x + scale n, n ~ N(0, 1)"
    cost: ClassVar[str] = "one normal draw for each input value"

    scale: float = dial(0.1, neutral=0.0, low=0.0, log=True, unit="deviation of an input", search=(0.01, 1.0))
    where: str = "numeric"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.where not in ("numeric", "all"):
            raise ArgumentError(
                f'`InputNoise.where` must be "numeric" or "all"; got {shown(self.where)}. '
                '"numeric" leaves one-hot columns alone.'
            )

    def draw(self, rng: Rng, batch: Batch, ctx: Context) -> Tensor:
        """Return standard normals in the shape of the inputs."""
        inputs: Any = batch.inputs
        if not isinstance(inputs, Tensor):
            raise ArgumentError(
                f"`InputNoise` must have one tensor as inputs; got a {type(inputs).__name__}. "
                "HiddenNoise adds noise behind the layers that read them."
            )
        kind = inputs.dtype if inputs.is_floating_point() else torch.float32
        return rng.normal("noise", tuple(inputs.shape), kind)

    def apply(self, batch: Batch, draw: Tensor, ctx: Context) -> Batch:
        inputs: Tensor = batch.inputs
        if not inputs.is_floating_point():
            return batch
        scale = placed(self.scale, inputs, inputs.dtype)
        if self.where == "numeric" and ctx.columns is not None:
            scale = scale * column_groups(inputs.shape[-1], ctx.columns, inputs.device).alone.to(inputs.dtype)
        return batch._replace(inputs=torch.addcmul(inputs, draw, scale))
