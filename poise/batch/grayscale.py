"""Grayscale: images without their colour at random."""

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

__all__ = ["Grayscale"]


@dataclass(frozen=True)
class Grayscale(PixelTransform):
    """Replace the colours of each image by its luma, with probability `share`.

    x'_c = 0.299 r + 0.587 g + 0.114 b in every channel. For photographs in which shape tells more than colour; with
    ColorJitter the usual colour edit of contrastive learning. Costs one pass over the batch. Drawn for each row: by
    sample and epoch, or by place.

    Neutral: share = 0.
    Shapes: inputs (B, C, H, W), bytes or floats, C = 1 (nothing then changes) or 3; targets as they are.
    Units: share is a probability. Pixels are bytes, floats in [0, 1], or standardised by
        `mean` and `deviation`, numbers for each channel.
    Raises: ArgumentError if share is outside [0, 1], mean and deviation do not fit, the inputs are no
        images of bytes or floats, have other channels, or lie outside [0, 1] (seen on a CPU only).
    Source: Chen, Kornblith, Norouzi and Hinton 2020, "A simple framework for contrastive learning of visual
        representations", appendix A.

    >>> import torch
    >>> red = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    >>> Grayscale().edit(red, torch.tensor([True])).flatten()
    tensor([0.2990, 0.2990, 0.2990])
    """

    rank: ClassVar[int] = 13
    formula: ClassVar[str] = "x'_c = 0.299 r + 0.587 g + 0.114 b with probability share"
    cost: ClassVar[str] = "one pass over the batch"

    share: float = dial(0.2, neutral=0.0, low=0.0, high=1.0, unit="probability", search=(0.0, 0.5))

    def draw(self, rng: Rng, batch: Batch, ctx: Context) -> Tensor:
        """Return whether each row loses its colour (B,)."""
        rows = images_of("Grayscale", batch).shape[0]
        return rng.uniform("share", (rows,)) < self.share

    def program(self, images: Tensor, draw: Tensor) -> Tensor:
        return step("gray", images, where=draw)[:, None]

    def edit_pixels(self, pixels: Tensor, draw: Tensor) -> Tensor:
        return rows_where(draw, colors.gray(pixels).expand_as(pixels), pixels)
