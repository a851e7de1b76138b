"""Flip: images mirrored at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.batch.geometry import GeometricTransform
from poise.batch.images import images_of, rows_where
from poise.batch.resampling import identity_maps
from poise.core.context import Batch, Context
from poise.core.dial import dial
from poise.core.errors import ArgumentError
from poise.core.rng import Rng
from poise.core.visits import VisitRng
from poise.kernels.images import step

__all__ = ["Flip"]

Draw = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Flip(GeometricTransform):
    """Mirror each image left to right with probability `horizontal`, and top to bottom with probability `vertical`.

    x'_ij = x_i,W-1-j. Use the horizontal flip wherever a mirrored object is the same object (photographs; not digits
    or text), the vertical one where there is no up (aerial images, microscopy). Costs one copy of the batch.
    With `alternating`, the draw of epoch 0 holds in every even epoch and its mirror image in every odd one, so that
    two epochs in a row show a sample both ways (at 0.5); it needs the rows' ids. Drawn for each row: by sample and
    epoch, or by place.

    Neutral: horizontal = 0 and vertical = 0.
    Shapes: inputs (B, C, H, W), bytes or floats of any scale and any number of channels; targets as they are.
    Units: both are probabilities.
    Raises: ArgumentError if a probability is outside [0, 1], alternating is no bool, or the batch has no ids then, or
        the inputs are no images of bytes or floats.
    Source: Krizhevsky, Sutskever and Hinton 2012, "ImageNet classification with deep convolutional neural networks",
        section 4.1; alternating: Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU".

    >>> draw = (torch.tensor([True]), torch.tensor([False]))
    >>> Flip().edit(torch.tensor([[[[1.0, 2.0, 3.0]]]]), draw)
    tensor([[[[3., 2., 1.]]]])
    """

    rank: ClassVar[int] = 10
    formula: ClassVar[str] = "x'_ij = x_i,W-1-j with probability horizontal, x'_ij = x_H-1-i,j with vertical"
    cost: ClassVar[str] = "one copy of the batch"
    whole: ClassVar[str] = "mirror"

    horizontal: float = dial(0.5, neutral=0.0, low=0.0, high=1.0, unit="probability", search=(0.0, 0.5))
    vertical: float = dial(0.0, neutral=0.0, low=0.0, high=1.0, unit="probability", search=(0.0, 0.5))
    alternating: bool = False

    def draw(self, rng: Rng, batch: Batch, ctx: Context) -> Draw:
        """Return whether each row is mirrored left to right, and top to bottom (B,)."""
        rows = images_of("Flip", batch).shape[0]
        across, down = self._places(rng, batch, rows).unbind(-1)
        return across < self.horizontal, down < self.vertical

    def _places(self, rng: Rng, batch: Batch, rows: int) -> Tensor:
        if not self.alternating:
            return rng.uniform("places", (rows, 2))
        if batch.visits is None:
            raise ArgumentError(
                "`Flip.alternating` must have the rows' ids; got a batch without. "
                "Give them: run.batch(x, y, ids=ids, epoch=epoch)."
            )
        sample, epoch = batch.visits.unbind(-1)
        start = VisitRng(rng.keys, rng.name, torch.stack([sample, torch.zeros_like(epoch)], -1))
        first = start.uniform("places", (rows, 2))
        # 1 - u is below 1/2 exactly where u is above; both have one law.
        return torch.where((epoch % 2 == 1)[:, None].to(first.device), 1 - first, first)

    def maps(self, images: Tensor, draw: Draw) -> Tensor:
        signs = 1 - 2 * torch.stack(draw, -1).to(torch.float64)
        return identity_maps(signs.shape[0], signs) * signs[..., None]

    def program(self, images: Tensor, draw: Draw) -> Tensor:
        return step("move", images, 0.0, 0.0, *draw)[:, None]

    def edit(self, images: Tensor, draw: Draw) -> Tensor:
        across, down = draw
        images = rows_where(across, images.flip(-1), images)
        return rows_where(down, images.flip(-2), images)
