"""Cutout: a square of each image blanked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.batch.boxes import inside_boxes
from poise.batch.images import ImageTransform, blanked, images_of
from poise.core.context import Batch, Context
from poise.core.dial import dial, double
from poise.core.placed import placed
from poise.core.rng import Rng
from poise.kernels.images import step

__all__ = ["Cutout"]


@dataclass(frozen=True)
class Cutout(ImageTransform):
    """Set a square of each image to 0, around a pixel drawn anywhere in the image.

    x'_ij = 0 for i in c - L // 2 .. c - L // 2 + L - 1 and j likewise, L = round(side min(H, W)); the centre is uniform
    over all pixels, so that squares at the border are cut off, and the mean area is less than L^2. Makes the network
    use the whole object; put it after standardisation, where 0 is the mean pixel. Costs one pass over the batch.
    Drawn for each row: by sample and epoch, or by place.

    Neutral: side = 0, or share = 0.
    Shapes: inputs (B, C, H, W), bytes or floats of any scale and any number of channels; targets as they are.
    Units: side is a share of the shorter side, 0.5 for CIFAR-10 and 0.25 for CIFAR-100 in the paper; share is the
        probability that a row is cut at all.
    Raises: ArgumentError if side or share is outside [0, 1], or the inputs are no images of bytes or floats.
    Source: DeVries and Taylor 2017, "Improved regularization of convolutional neural networks with cutout",
        section 3.2.

    >>> corner = torch.tensor([[0, 0, 1, 1]])  # top, left, bottom, right
    >>> Cutout().edit(torch.tensor([[[[5.0, 7.0]]]]), corner)
    tensor([[[[0., 7.]]]])
    """

    rank: ClassVar[int] = 16
    formula: ClassVar[str] = "x'_ij = 0 in a square of side L around a random pixel"
    cost: ClassVar[str] = "one pass over the batch"

    side: float = dial(0.5, neutral=0.0, low=0.0, high=1.0, unit="share of the shorter side", search=(0.0, 0.6))
    share: float = dial(1.0, neutral=0.0, low=0.0, high=1.0, unit="probability", search=(0.0, 1.0))

    def draw(self, rng: Rng, batch: Batch, ctx: Context) -> Tensor:
        """Return the box that is blanked in each row, top, left, bottom and right (B, 4) int64; empty for none."""
        rows, _, height, width = images_of("Cutout", batch).shape
        centre = rng.uniform("places", (rows, 3), torch.float64)  # and whether the row is cut
        length = placed(double(self.side), centre, torch.float64) * min(height, width)
        length = length.round()
        cut = centre[:, 2] < self.share
        length = torch.where(cut, length, 0.0)
        top = (centre[:, 0] * height).floor() - (length / 2).floor()
        left = (centre[:, 1] * width).floor() - (length / 2).floor()
        return torch.stack([top, left, top + length, left + length], -1).to(torch.int64)

    def program(self, images: Tensor, draw: Tensor) -> Tensor:
        return step("blank", images, *draw.unbind(-1))[:, None]

    def edit(self, images: Tensor, draw: Tensor) -> Tensor:
        inside = inside_boxes(draw, images.shape[-2], images.shape[-1])
        return blanked(inside[:, None], images)
