"""Flip: images mirrored at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from poise.batch.images import ImageTransform, images_of, rows_where
from poise.core.context import Batch, Context
from poise.core.dial import dial
from poise.core.rng import Rng

__all__ = ["Flip"]

Draw = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Flip(ImageTransform):
    """Mirror each image left to right with probability `horizontal`, and top to bottom with probability `vertical`.

    x'_ij = x_i,W-1-j. Use the horizontal flip wherever a mirrored object is the same object (photographs; not digits
    or text), the vertical one where there is no up (aerial images, microscopy). Costs one copy of the batch each.
    Drawn for each row by its place in the batch.

    Neutral: horizontal = 0 and vertical = 0.
    Shapes: inputs (B, C, H, W) floats of any scale and any number of channels; targets as they are.
    Units: both are probabilities.
    Raises: ArgumentError if a probability is outside [0, 1], or the inputs are no images of floats.
    Source: Krizhevsky, Sutskever and Hinton 2012, "ImageNet classification with deep convolutional neural networks",
        section 4.1.

    >>> import torch
    >>> draw = (torch.tensor([True]), torch.tensor([False]))
    >>> Flip().edit(torch.tensor([[[[1.0, 2.0, 3.0]]]]), draw)
    tensor([[[[3., 2., 1.]]]])
    """

    rank: ClassVar[int] = 10
    formula: ClassVar[str] = "x'_ij = x_i,W-1-j with probability horizontal, x'_ij = x_H-1-i,j with vertical"
    cost: ClassVar[str] = "one copy of the batch for each direction"

    horizontal: float = dial(0.5, neutral=0.0, low=0.0, high=1.0, unit="probability", search=(0.0, 0.5))
    vertical: float = dial(0.0, neutral=0.0, low=0.0, high=1.0, unit="probability", search=(0.0, 0.5))

    def draw(self, rng: Rng, batch: Batch, ctx: Context) -> Draw:
        """Return whether each row is mirrored left to right, and top to bottom (B,)."""
        rows = images_of("Flip", batch).shape[0]
        return rng.uniform("horizontal", (rows,)) < self.horizontal, rng.uniform("vertical", (rows,)) < self.vertical

    def edit(self, images: Tensor, draw: Draw) -> Tensor:
        across, down = draw
        images = rows_where(across, images.flip(-1), images)
        return rows_where(down, images.flip(-2), images)
