"""Blur: images smoothed by a Gaussian at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.batch import colors
from poise.batch.images import PixelTransform, images_of
from poise.core.context import Batch, Context
from poise.core.dial import dial
from poise.core.errors import ArgumentError, shown
from poise.core.rng import Rng
from poise.kernels.images import MOST_REACH, step

__all__ = ["Blur"]


@dataclass(frozen=True)
class Blur(PixelTransform):
    """Smooth each image by a Gaussian of random width, with probability `share`.

    x'_ij = sum_ab w_a w_b x_i+a,j+b, w_a proportional to exp(-a^2 / 2 s^2), a = -reach .. reach, s uniform in 0 ..
    width; border pixels are repeated. Makes a network rely less on fine texture; with ColorJitter and Grayscale the
    edits of contrastive learning. Costs 2 (2 reach + 1) passes over the batch. Drawn for each row: by sample and epoch,
    or by place.

    Neutral: share = 0, or width = 0.
    Shapes: inputs (B, C, H, W), bytes or floats, C = 1 or 3; targets as they are.
    Units: share is a probability; width a deviation in pixels, reach whole pixels: three widths cut nothing off. Pixels
        are bytes, floats in [0, 1], or standardised by `mean` and `deviation`, numbers for each channel.
    Raises: ArgumentError if share is outside [0, 1], width not a finite number >= 0, reach no int of 1 .. 64, mean
        and deviation do not fit, the inputs are no images of bytes or floats, have other channels, or lie outside [0,
        1] (seen on a CPU only).
    Source: Chen, Kornblith, Norouzi and Hinton 2020, "A simple framework for contrastive learning of visual
        representations", appendix A, where the deviation is uniform in 0.1 .. 2.

    >>> row = torch.tensor([[[[0.0, 0.0, 1.0, 0.0, 0.0]]]])
    >>> Blur(reach=1).edit(row, torch.tensor([1.0])).flatten()  # 1 / (1 + 2 exp(-1/2)) in the middle
    tensor([0.0000, 0.2741, 0.4519, 0.2741, 0.0000])
    """

    rank: ClassVar[int] = 15
    formula: ClassVar[str] = "x' = x smoothed by a Gaussian of deviation uniform in 0 .. width, with probability share"
    cost: ClassVar[str] = "2 (2 reach + 1) passes over the batch"

    share: float = dial(0.5, neutral=0.0, low=0.0, high=1.0, unit="probability", search=(0.0, 1.0))
    width: float = dial(1.0, neutral=0.0, low=0.0, unit="pixels", search=(0.0, 2.0))
    reach: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.reach, bool) or not isinstance(self.reach, int) or not 1 <= self.reach <= MOST_REACH:
            raise ArgumentError(
                f"`Blur.reach` must be an int of 1 .. {MOST_REACH}; got {shown(self.reach)}. "
                "Three times the width, rounded up, cuts nothing off."
            )

    def draw(self, rng: Rng, batch: Batch, ctx: Context) -> Tensor:
        """Return the deviation of each row (B,), 0 for none."""
        places = rng.uniform("places", (images_of("Blur", batch).shape[0], 2))
        return torch.where(places[:, 0] < self.share, places[:, 1] * self.width, 0.0)

    def program(self, images: Tensor, draw: Tensor) -> Tensor:
        return step("blur", images, draw, float(self.reach))[:, None]

    def edit_pixels(self, pixels: Tensor, draw: Tensor) -> Tensor:
        return colors.blur(pixels, draw, self.reach)
