"""Sharpness: images smoothed or sharpened at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from poise.batch import colors
from poise.batch.images import PixelTransform, images_of
from poise.core.context import Batch, Context
from poise.core.dial import dial
from poise.core.placed import placed
from poise.core.rng import Rng
from poise.kernels.images import step

__all__ = ["Sharpness"]


@dataclass(frozen=True)
class Sharpness(PixelTransform):
    """Move each image towards its smoothed version, or away from it, by a random factor.

    x' = s + f (x - s), s smoothed by Pillow's kernel (1 1 1, 1 5 1, 1 1 1) / 13, f uniform in 1 - strength .. 1 +
    strength, not below 0; pixels at the border stay. For pictures whose focus varies. Costs one pass over the batch.
    Drawn for each row: by sample and epoch, or by place.

    Neutral: strength = 0.
    Shapes: inputs (B, C, H, W), bytes or floats, C = 1 or 3; targets as they are.
    Units: strength is the largest change of the factor, 0.9 in the policies. Pixels are bytes, floats in [0, 1], or
        standardised by `mean` and `deviation`, numbers for each channel.
    Raises: ArgumentError if strength is not a finite number >= 0, mean and deviation do not fit, the inputs are no
        images of bytes or floats, have other channels, or lie outside [0, 1] (seen on a CPU only).
    Source: Cubuk, Zoph, Mane, Vasudevan and Le 2019, "AutoAugment: learning augmentation strategies from data".

    >>> import torch
    >>> point = torch.zeros(1, 1, 3, 3).index_fill(2, torch.tensor([1]), 0.5)  # a bright row between dark ones
    >>> Sharpness().edit(point, torch.tensor([0.0]))[0, 0, 1]  # (2 x 1 + 5) / 13 of it in the middle
    tensor([0.5000, 0.2692, 0.5000])
    """

    rank: ClassVar[int] = 13
    formula: ClassVar[str] = "x' = s + f (x - s), s smoothed, f uniform around 1"
    cost: ClassVar[str] = "one pass over the batch"

    strength: float = dial(0.5, neutral=0.0, low=0.0, unit="change of the factor", search=(0.0, 0.9))

    def draw(self, rng: Rng, batch: Batch, ctx: Context) -> Tensor:
        """Return the factor of each row (B,)."""
        place = rng.uniform("factor", (images_of("Sharpness", batch).shape[0],))
        strength = placed(self.strength, place).to(place)
        low = (1 - strength).clamp(min=0)
        return low + place * (1 + strength - low)

    def program(self, images: Tensor, draw: Tensor) -> Tensor:
        return step("sharpen", images, draw)[:, None]

    def edit_pixels(self, pixels: Tensor, draw: Tensor) -> Tensor:
        return colors.sharpness(pixels, draw)
