"""Crop: images padded and cut back to their size at a random place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.batch.geometry import GeometricTransform
from poise.batch.images import images_of
from poise.batch.resampling import PADDINGS, check_padding, gather_pixels, identity_maps
from poise.core.context import Batch, Context
from poise.core.dial import dial, double
from poise.core.placed import placed
from poise.core.rng import Rng
from poise.kernels.images import step

__all__ = ["Crop"]


@dataclass(frozen=True)
class Crop(GeometricTransform):
    """Pad each image by `pixels` on every side and cut a piece of the old size out at a random place.

    x'_ij = padded x_i+a,j+b, a and b uniform over the integers -pixels .. pixels, drawn for each row. Makes a network
    care less about where an object stands; with Flip the usual first augmentation for photographs. Costs one copy
    of the batch. Drawn for each row: by sample and epoch, or by place.

    Neutral: pixels = 0, and up to below 1.
    Shapes: inputs (B, C, H, W), bytes or floats of any scale and any number of channels; targets as they are.
    Units: pixels is the largest shift in pixels, rounded down; 4 is usual for images of 32.
    Raises: ArgumentError if pixels is not a finite number >= 0, padding is not zero, edge, reflect or symmetric, or
        the inputs are no images of bytes or floats.
    Source: He, Zhang, Ren and Sun 2016, "Deep residual learning for image recognition", section 4.2.

    >>> Crop(padding="edge").edit(torch.tensor([[[[1.0, 2.0, 3.0]]]]), torch.tensor([[0, 2]]))
    tensor([[[[3., 3., 3.]]]])
    """

    rank: ClassVar[int] = 11
    formula: ClassVar[str] = "x'_ij = padded x_i+a,j+b, a and b uniform in -pixels .. pixels"
    cost: ClassVar[str] = "one copy of the batch; two gathers without the kernels"
    whole: ClassVar[str] = "shift"

    pixels: float = dial(4.0, neutral=0.0, low=0.0, unit="pixels", search=(0.0, 8.0))
    padding: str = "zero"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_padding("Crop", self.padding)

    def draw(self, rng: Rng, batch: Batch, ctx: Context) -> Tensor:
        """Return the shifts (B, 2) int64, down and across."""
        shape = (images_of("Crop", batch).shape[0], 2)
        uniform = rng.uniform("shift", shape, torch.float64)
        largest = placed(double(self.pixels), uniform, torch.float64).floor()
        return ((uniform * (2 * largest + 1)).floor() - largest).to(torch.int64)

    def maps(self, images: Tensor, draw: Tensor) -> Tensor:
        offset = draw.flip(-1)[..., None].to(torch.float64)  # across comes first
        return torch.cat([identity_maps(draw.shape[0], offset)[..., :2], offset], -1)

    def border(self) -> str:
        return self.padding

    def program(self, images: Tensor, draw: Tensor) -> Tensor:
        return step("move", images, draw[:, 0], draw[:, 1], 0.0, 0.0, PADDINGS.index(self.padding))[:, None]

    def edit(self, images: Tensor, draw: Tensor) -> Tensor:
        down = torch.arange(images.shape[2], device=draw.device) + draw[:, :1]
        across = torch.arange(images.shape[3], device=draw.device) + draw[:, 1:]
        return gather_pixels(images, down, across, self.padding)
