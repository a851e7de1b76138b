"""Posterize: fewer levels of brightness at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.batch import colors
from poise.batch.images import PixelTransform, images_of, rows_where
from poise.core.context import Batch, Context
from poise.core.dial import dial
from poise.core.placed import placed
from poise.core.rng import Rng
from poise.kernels.images import step

__all__ = ["Posterize"]


@dataclass(frozen=True)
class Posterize(PixelTransform):
    """Clear the lowest bits of each pixel of each image, with probability `share`.

    level' = 2^bits floor(level / 2^bits), level the byte of the pixel, bits rounded. An edit of the policies; rarely
    alone. Costs one pass over the batch. Drawn for each row: by sample and epoch, or by place.

    Neutral: share = 0, or bits = 0.
    Shapes: inputs (B, C, H, W), bytes or floats, C = 1 or 3; targets as they are.
    Units: share is a probability; bits counts those cleared, Pillow's and torchvision's those kept, 8 - bits. Pixels
        are bytes, floats in [0, 1], or standardised by `mean` and `deviation`, numbers for each channel.
    Raises: ArgumentError if share is outside [0, 1], bits outside [0, 8], mean and deviation do not fit, the inputs are
        no images of bytes or floats, have other channels, or lie outside [0, 1] (seen on a CPU only).
    Source: Cubuk, Zoph, Mane, Vasudevan and Le 2019, "AutoAugment: learning augmentation strategies from data".

    >>> Posterize().edit(torch.tensor([[[[200]]]], dtype=torch.uint8), torch.tensor([True]))
    tensor([[[[192]]]], dtype=torch.uint8)
    """

    rank: ClassVar[int] = 13
    formula: ClassVar[str] = "level' = 2^bits floor(level / 2^bits) with probability share"
    cost: ClassVar[str] = "one pass over the batch"

    share: float = dial(0.2, neutral=0.0, low=0.0, high=1.0, unit="probability", search=(0.0, 0.5))
    bits: float = dial(4.0, neutral=0.0, low=0.0, high=8.0, unit="bits cleared", search=(1.0, 6.0))

    def draw(self, rng: Rng, batch: Batch, ctx: Context) -> Tensor:
        """Return whether each row is posterized (B,)."""
        rows = images_of("Posterize", batch).shape[0]
        return rng.uniform("share", (rows,)) < self.share

    def program(self, images: Tensor, draw: Tensor) -> Tensor:
        return step("posterize", images, self._bits(draw), where=draw)[:, None]

    def edit_pixels(self, pixels: Tensor, draw: Tensor) -> Tensor:
        return rows_where(draw, colors.posterize(pixels, self._bits(draw)), pixels)

    def _bits(self, draw: Tensor) -> Tensor:
        return placed(self.bits, draw, torch.float32).expand_as(draw)
