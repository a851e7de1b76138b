"""RandAugment: a few random operations on each image, all of one strength."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.batch.images import PixelTransform, images_of
from poise.batch.operations import OPERATIONS, STANDARD, Choice, choose, operate, program
from poise.core.context import Batch, Context
from poise.core.dial import dial
from poise.core.errors import ArgumentError, shown
from poise.core.placed import placed
from poise.core.rng import Rng

__all__ = ["RandAugment"]


@dataclass(frozen=True)
class RandAugment(PixelTransform):
    """Apply `count` operations to each image, each chosen from fourteen, all of one magnitude.

    x' = op_count(... op_1(x)), each uniform over identity, shear and translation along either axis, rotation,
    brightness, saturation, contrast, sharpness, posterize, solarize, autocontrast and equalize, under a random sign;
    each is applied with probability `share`. Two numbers replace a searched policy: try magnitudes first. Costs a
    resampling and eight colour edits of the batch for each of the `count`. Drawn for each row: by sample and epoch, or
    by place.

    Neutral: share = 0 (at magnitude 0 alone, autocontrast and equalize still act).
    Shapes: inputs (B, C, H, W), bytes or floats, C = 1 (saturation then does nothing) or 3; targets as they are.
    Units: magnitude is a share of each operation's range: shear 0.3, translation 0.45 of the side, rotation 30
        degrees, factors 0.1 .. 1.9, four bits, solarize down to 0; the paper's magnitude of 10 is 1. share is a
        probability. Pixels in [0, 1], or standardised by `mean` and `deviation`, numbers for each channel.
    Raises: ArgumentError if share or magnitude is outside [0, 1], count is not an int >= 1, mean and deviation do not
        fit, the inputs are no images of bytes or floats, have other channels, or lie outside [0, 1] (seen on a CPU
        only).
    Source: Cubuk, Zoph, Shlens and Le 2020, "RandAugment: practical automated data augmentation with a reduced
        search space", section 3.

    >>> inverted = Choice(torch.tensor([[OPERATIONS.index("solarize"), 0]]), torch.ones(1, 2))
    >>> RandAugment().edit(torch.tensor([[[[0.25, 1.0]]]]), inverted)
    tensor([[[[0.7500, 0.0000]]]])
    """

    rank: ClassVar[int] = 14
    formula: ClassVar[str] = "x' = op_count(... op_1(x)), op uniform over fourteen operations of one magnitude"
    cost: ClassVar[str] = "one resampling and eight colour edits of the batch for each operation"

    magnitude: float = dial(0.5, neutral=0.0, low=0.0, high=1.0, unit="share of the range", search=(0.1, 1.0))
    share: float = dial(1.0, neutral=0.0, low=0.0, high=1.0, unit="probability", search=(0.0, 1.0))
    count: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 1:
            raise ArgumentError(
                f"`RandAugment.count` must be an int >= 1; got {shown(self.count)}. It is the number of operations."
            )

    def draw(self, rng: Rng, batch: Batch, ctx: Context) -> Choice:
        """Return the operations and their signed magnitudes, (B, count) each; the identity where none is applied."""
        shape = (images_of("RandAugment", batch).shape[0], self.count)
        applied = rng.uniform("share", shape)
        magnitude = placed(self.magnitude, applied, torch.float32)
        drawn = choose(rng, shape, tuple(range(len(OPERATIONS))), magnitude)
        return drawn._replace(operation=torch.where(applied < self.share, drawn.operation, 0))

    def program(self, images: Tensor, draw: Choice) -> Tensor:
        turns = zip(draw.operation.unbind(1), draw.magnitude.unbind(1), strict=True)
        return torch.stack([program(images, Choice(*turn), STANDARD) for turn in turns], 1)

    def edit(self, images: Tensor, draw: Choice) -> Tensor:
        if images.dtype.itemsize == 2:  # rounded once, at the end
            return self.edit(images.float(), draw).to(images.dtype)
        # Turn by turn, because bytes are rounded after each.
        for turn in range(draw.operation.shape[1]):
            images = super().edit(images, Choice(*(one[:, turn : turn + 1] for one in draw)))
        return images

    def edit_pixels(self, pixels: Tensor, draw: Choice) -> Tensor:
        return operate(pixels, Choice(draw.operation[:, 0], draw.magnitude[:, 0]), STANDARD)
