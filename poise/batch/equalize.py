"""Equalize: histograms made flat at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from poise.batch import colors
from poise.batch.images import PixelTransform, images_of, rows_where
from poise.core.context import Batch, Context
from poise.core.dial import dial
from poise.core.rng import Rng
from poise.kernels.images import step

__all__ = ["Equalize"]


@dataclass(frozen=True)
class Equalize(PixelTransform):
    """Make the histogram of each channel of each image flat, with probability `share`.

    level' = (step // 2 + pixels below level) // step, step a 255th of the pixels below the highest level: Pillow's
    equalisation, exactly. For pictures whose exposure varies. Costs two passes over the batch. Drawn for each row: by
    sample and epoch, or by place.

    Neutral: share = 0.
    Shapes: inputs (B, C, H, W), bytes or floats, C = 1 or 3; targets as they are.
    Units: share is a probability. Pixels are bytes, floats in [0, 1], or standardised by
        `mean` and `deviation`, numbers for each channel.
    Raises: ArgumentError if share is outside [0, 1], mean and deviation do not fit, the inputs are no
        images of bytes or floats, have other channels, or lie outside [0, 1] (seen on a CPU only).
    Source: Cubuk, Zoph, Mane, Vasudevan and Le 2019, "AutoAugment: learning augmentation strategies from data".

    >>> import torch
    >>> ramp = torch.arange(100, 164, dtype=torch.uint8).repeat(256).reshape(1, 1, 128, 128)
    >>> int(Equalize().edit(ramp, torch.tensor([True])).max() - Equalize().edit(ramp, torch.tensor([True])).min())
    255
    """

    rank: ClassVar[int] = 13
    formula: ClassVar[str] = "level' = (step // 2 + pixels below level) // step with probability share"
    cost: ClassVar[str] = "two passes over the batch"

    share: float = dial(0.2, neutral=0.0, low=0.0, high=1.0, unit="probability", search=(0.0, 0.5))

    def draw(self, rng: Rng, batch: Batch, ctx: Context) -> Tensor:
        """Return whether each row is equalized (B,)."""
        rows = images_of("Equalize", batch).shape[0]
        return rng.uniform("share", (rows,)) < self.share

    def program(self, images: Tensor, draw: Tensor) -> Tensor:
        return step("equalize", images, where=draw)[:, None]

    def edit_pixels(self, pixels: Tensor, draw: Tensor) -> Tensor:
        return rows_where(draw, colors.equalize(pixels), pixels)
