"""TrivialAugment: one random operation on each image, of random strength."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.batch.images import PixelTransform, images_of
from poise.batch.operations import OPERATIONS, WIDE, Choice, choose, operate, program
from poise.core.context import Batch, Context
from poise.core.dial import dial
from poise.core.rng import Rng

__all__ = ["TrivialAugment"]

_STRENGTHS = 31  # 0, 1/30 .. 1, as in the paper


@dataclass(frozen=True)
class TrivialAugment(PixelTransform):
    """Apply one operation to each image, chosen from fourteen, of a strength that is drawn too.

    x' = op(x; m), op uniform over the operations of RandAugment, m uniform over 0, 1/30 .. 1 of their wide ranges,
    under a random sign; with probability `share`, 1 in the paper. Nothing to tune, and as good as searched policies:
    the first policy to try. Costs a resampling and eight colour edits of the batch. Drawn for each row: by sample and
    epoch, or by place.

    Neutral: share = 0.
    Shapes: inputs (B, C, H, W), bytes or floats, C = 1 (saturation then does nothing) or 3; targets as they are.
    Units: share is a probability. The wide ranges are shear 0.99, translation one side, rotation 135 degrees, factors
        0.01 .. 1.99, six bits, solarize down to 0. Pixels in [0, 1], or standardised by `mean` and `deviation`,
        numbers for each channel.
    Raises: ArgumentError if share is outside [0, 1], mean and deviation do not fit, the inputs are no images of bytes
        or floats, have other channels, or lie outside [0, 1] (seen on a CPU only).
    Source: Müller and Hutter 2021, "TrivialAugment: tuning-free yet state-of-the-art data augmentation", algorithm 1,
        with the wide space; translation is 32 pixels there.

    >>> inverted = Choice(torch.tensor([OPERATIONS.index("solarize")]), torch.ones(1))
    >>> TrivialAugment().edit(torch.tensor([[[[0.25, 1.0]]]]), inverted)
    tensor([[[[0.7500, 0.0000]]]])
    """

    rank: ClassVar[int] = 14
    formula: ClassVar[str] = "x' = op(x; m), op uniform over fourteen operations, m uniform over 31 strengths"
    cost: ClassVar[str] = "one resampling and eight colour edits of the batch"

    share: float = dial(1.0, neutral=0.0, low=0.0, high=1.0, unit="probability", search=(0.0, 1.0))

    def draw(self, rng: Rng, batch: Batch, ctx: Context) -> Choice:
        """Return the operation and its signed magnitude (B,); the identity where none is applied."""
        shape = (images_of("TrivialAugment", batch).shape[0],)
        applied = rng.uniform("share", shape)
        strength = (rng.uniform("strength", shape) * _STRENGTHS).floor() / (_STRENGTHS - 1)
        drawn = choose(rng, shape, tuple(range(len(OPERATIONS))), strength)
        return drawn._replace(operation=torch.where(applied < self.share, drawn.operation, 0))

    def program(self, images: Tensor, draw: Choice) -> Tensor:
        return program(images, draw, WIDE)[:, None]

    def edit_pixels(self, pixels: Tensor, draw: Choice) -> Tensor:
        return operate(pixels, draw, WIDE)
