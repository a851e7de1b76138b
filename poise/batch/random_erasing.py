"""Random erasing: a rectangle of each image replaced by noise, its mean or zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.batch.boxes import first_fitting, inside_boxes
from poise.batch.images import ImageTransform, images_of
from poise.core.context import Batch, Context
from poise.core.dial import dial
from poise.core.errors import ArgumentError, shown
from poise.core.placed import placed
from poise.core.rng import Rng
from poise.kernels.images import step

__all__ = ["RandomErasing"]

Draw = tuple[Tensor, Tensor]

_SMALLEST = 0.02  # the paper's s_l
_ASPECT = 1 / 0.3  # the paper's r_1 and r_2 = 1 / r_1


@dataclass(frozen=True)
class RandomErasing(ImageTransform):
    """Replace a rectangle inside of each image, with probability `share`, by what `fill` says.

    The area is uniform in 0.02 .. area of the image (all of `area` if it is less), the ratio of sides log-uniform in
    0.3 .. 1 / 0.3 about the image's own; ten draws, of which the first that fits is taken, else the row is left. Sides
    are rounded to pixels, the place is uniform over those where the rectangle is whole. Unlike Cutout's, the rectangle
    is never cut off by the border and varies in size. Costs one pass over the batch, and with noise a draw a pixel.
    Drawn for each row: by sample and epoch, or by place.

    Neutral: share = 0, or area = 0.
    Shapes: inputs (B, C, H, W), bytes or floats of any scale and any number of channels; targets as they are.
    Units: share is a probability; area a share of the image's area. fill "noise" is standard normal for each value, as
        suits standardised images; "uniform" is uniform in 0 .. 1, or over a byte's levels; "mean" each channel's mean
        in the image; or "zero".
    Raises: ArgumentError if share or area is outside [0, 1], fill is none of these, or noise for bytes, or the inputs
        are no images of bytes or floats.
    Source: Zhong, Zheng, Kang, Li and Yang 2020, "Random erasing data augmentation", algorithm 1, where the ratio is
        uniform and the fill uniform.

    >>> draw = (torch.tensor([[0, 0, 1, 1]]), torch.zeros(1, 1, 1, 1))  # top, left, bottom, right
    >>> RandomErasing(fill="mean").edit(torch.tensor([[[[5.0, 7.0]]]]), draw)
    tensor([[[[6., 7.]]]])
    """

    rank: ClassVar[int] = 16
    formula: ClassVar[str] = "x'_ij = fill in a random rectangle, with probability share"
    cost: ClassVar[str] = "one pass over the batch, one draw a pixel for noise"

    share: float = dial(0.5, neutral=0.0, low=0.0, high=1.0, unit="probability", search=(0.0, 1.0))
    area: float = dial(0.4, neutral=0.0, low=0.0, high=1.0, unit="share of the area", search=(0.02, 0.6))
    fill: str = "noise"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fill not in ("noise", "uniform", "mean", "zero"):
            raise ArgumentError(
                f"`RandomErasing.fill` must be noise, uniform, mean or zero; got {shown(self.fill)}. "
                '"noise" suits standardised images, "uniform" pixels in [0, 1].'
            )

    def draw(self, rng: Rng, batch: Batch, ctx: Context) -> Draw:
        """Return the box that is erased in each row, top, left, bottom and right (B, 4) int64, empty for none.

        And the fill (B, C, H, W), or (B, 1, 1, 1) of zeros.
        """
        images = images_of("RandomErasing", batch)
        rows, _, height, width = images.shape
        erased = rng.uniform("share", (rows,)) < self.share
        largest = placed(self.area, erased)
        down, across, fits = first_fitting(rng, rows, largest.clamp(max=_SMALLEST), largest, _ASPECT)
        tall, wide = (down * height).round(), (across * width).round()
        tall = torch.where(erased & fits, tall, 0.0)
        place = rng.uniform("place", (rows, 2)).unbind(-1)
        top, left = (place[0] * (height - tall + 1)).floor(), (place[1] * (width - wide + 1)).floor()
        box = torch.stack([top, left, top + tall, left + wide], -1).to(torch.int64)
        if self.fill == "noise":
            if images.dtype == torch.uint8:
                raise ArgumentError(
                    '`RandomErasing.fill` must be uniform, mean or zero for bytes; got "noise". '
                    "Normal noise suits standardised floats."
                )
            return box, rng.normal("fill", tuple(images.shape), images.dtype)
        if self.fill == "uniform" and images.dtype == torch.uint8:
            return box, rng.numbers("fill", tuple(images.shape), torch.uint8)
        if self.fill == "uniform":
            return box, rng.uniform("fill", tuple(images.shape), images.dtype)
        return box, images.new_zeros(rows, 1, 1, 1)

    def program(self, images: Tensor, draw: Draw) -> Tensor | None:
        if self.fill in ("noise", "uniform"):
            return None
        return step("blank", images, *draw[0].unbind(-1), 0.0, float(self.fill == "mean"))[:, None]

    def edit(self, images: Tensor, draw: Draw) -> Tensor:
        box, fill = draw
        inside = inside_boxes(box, images.shape[-2], images.shape[-1])
        if self.fill == "mean":
            wide = images if images.dtype.itemsize > 2 else images.float()
            fill = wide.mean((-2, -1), keepdim=True)
            fill = fill.round().to(torch.uint8) if images.dtype == torch.uint8 else fill.to(images.dtype)
        return torch.where(inside[:, None], fill, images)
