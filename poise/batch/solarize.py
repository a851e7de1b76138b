"""Solarize: bright pixels inverted at random."""

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

__all__ = ["Solarize"]


@dataclass(frozen=True)
class Solarize(PixelTransform):
    """Invert the pixels of each image from a threshold on, with probability `share`.

    x' = 1 - x where x >= threshold 256/255, else x: bytes from 256 threshold on, so that a threshold of 1 leaves white
    as it is. A strong edit of the policies and of contrastive learning; rarely alone. Costs one pass over the batch.
    Drawn for each row: by sample and epoch, or by place.

    Neutral: share = 0, or threshold = 1.
    Shapes: inputs (B, C, H, W), bytes or floats, C = 1 or 3; targets as they are.
    Units: share is a probability, threshold a share of the range. Pixels are bytes, floats in [0, 1], or standardised
        by `mean` and `deviation`, numbers for each channel.
    Raises: ArgumentError if share or threshold is outside [0, 1], mean and deviation do not fit, the inputs are no
        images of bytes or floats, have other channels, or lie outside [0, 1] (seen on a CPU only).
    Source: Cubuk, Zoph, Mane, Vasudevan and Le 2019, "AutoAugment: learning augmentation strategies from data".

    >>> Solarize().edit(torch.tensor([[[[0.25, 0.75]]]]), torch.tensor([True]))
    tensor([[[[0.2500, 0.2500]]]])
    """

    rank: ClassVar[int] = 13
    formula: ClassVar[str] = "x' = 1 - x where x >= threshold, with probability share"
    cost: ClassVar[str] = "one pass over the batch"

    share: float = dial(0.2, neutral=0.0, low=0.0, high=1.0, unit="probability", search=(0.0, 0.5))
    threshold: float = dial(0.5, neutral=1.0, low=0.0, high=1.0, unit="share of the range", search=(0.0, 1.0))

    def draw(self, rng: Rng, batch: Batch, ctx: Context) -> Tensor:
        """Return whether each row is solarized (B,)."""
        rows = images_of("Solarize", batch).shape[0]
        return rng.uniform("share", (rows,)) < self.share

    def program(self, images: Tensor, draw: Tensor) -> Tensor:
        return step("solarize", images, self._threshold(draw), where=draw)[:, None]

    def edit_pixels(self, pixels: Tensor, draw: Tensor) -> Tensor:
        return rows_where(draw, colors.solarize(pixels, self._threshold(draw)), pixels)

    def _threshold(self, draw: Tensor) -> Tensor:
        return placed(self.threshold, draw, torch.float32).expand_as(draw) * (256 / 255)
