"""Color jitter: brightness, contrast, saturation and hue of images moved at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.batch import colors
from poise.batch.images import PixelTransform, images_of, rows_where
from poise.core.context import Batch, Context
from poise.core.dial import dial
from poise.core.errors import ArgumentError, shown
from poise.core.placed import placed
from poise.core.rng import Rng
from poise.kernels.images import step

__all__ = ["ColorJitter"]

Draw = tuple[Tensor, Tensor]

_EDITS = (colors.brightness, colors.contrast, colors.saturation, colors.hue)


@dataclass(frozen=True)
class ColorJitter(PixelTransform):
    """Multiply brightness, contrast and saturation of each image by random factors, and turn its hue at random.

    brightness: f x; contrast: m + f (x - m), m the image's mean luma; saturation: g + f (x - g), g the pixel's luma; f
    uniform in 1 - strength .. 1 + strength, not below 0; the hue in HSV moves by a uniform -hue .. hue of the circle.
    Each step is clamped to [0, 1]; the order of the four is drawn for each row. With space "yiq" they are one matrix a
    row, clamped once, and the hue is a rotation in YIQ: three times as fast, but other colours than HSV's. For
    photographs whose light varies; not where the colour is the class. Costs five passes over the batch; without the
    kernels sixteen edits of it, because every row has its own order. Drawn for each row: by sample and epoch, or by
    place.

    Neutral: brightness, contrast, saturation and hue = 0.
    Shapes: inputs (B, C, H, W), bytes or floats, C = 1 (saturation and hue then do nothing) or 3; targets as they are.
    Units: the first three are the largest relative change; hue is in turns, 0.5 reaches every hue. Pixels in [0, 1],
        or standardised by `mean` and `deviation`, numbers for each channel.
    Raises: ArgumentError if a strength is not a finite number >= 0, hue is outside [0, 0.5], space is neither hsv nor
        yiq, mean and deviation do not fit, the inputs are no images of bytes or floats, have other channels, or lie
        outside [0, 1] (seen on a CPU only).
    Source: Howard 2013, "Some improvements on deep convolutional neural network based image classification",
        section 2, for the first three; the factors are those of torchvision's ColorJitter.

    >>> draw = (torch.tensor([[2.0, 1.0, 1.0, 0.0]]), torch.tensor([[3, 2, 1, 0]]))
    >>> ColorJitter().edit(torch.tensor([[[[0.25, 0.75]]]]), draw)
    tensor([[[[0.5000, 1.0000]]]])
    """

    rank: ClassVar[int] = 13
    formula: ClassVar[str] = "x' = f x; m + f (x - m); g + f (x - g); hue + turns; in random order, f around 1"
    cost: ClassVar[str] = "five passes over the batch; sixteen edits of it without the kernels"

    brightness: float = dial(0.2, neutral=0.0, low=0.0, unit="relative change", search=(0.0, 0.8))
    contrast: float = dial(0.2, neutral=0.0, low=0.0, unit="relative change", search=(0.0, 0.8))
    saturation: float = dial(0.2, neutral=0.0, low=0.0, unit="relative change", search=(0.0, 0.8))
    hue: float = dial(0.05, neutral=0.0, low=0.0, high=0.5, unit="turns", search=(0.0, 0.2))
    space: str = "hsv"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.space not in ("hsv", "yiq"):
            raise ArgumentError(
                f'`ColorJitter.space` must be "hsv" or "yiq"; got {shown(self.space)}. '
                '"hsv" turns the hue exactly, "yiq" is linear and faster.'
            )

    def draw(self, rng: Rng, batch: Batch, ctx: Context) -> Draw:
        """Return the strengths (B, 4), three factors and the turns, and the order of the four edits (B, 4)."""
        rows = images_of("ColorJitter", batch).shape[0]
        drawn = rng.uniform("places", (rows, 8))
        places = drawn[:, :4].unbind(-1)

        def factor(place: Tensor, change: Tensor | float) -> Tensor:
            low = (1 - placed(change, place)).clamp(min=0).to(place)
            return low + place * (1 + change - low)

        factors = [
            factor(places[k], change) for k, change in enumerate((self.brightness, self.contrast, self.saturation))
        ]
        turns = (2 * places[3] - 1) * self.hue
        return torch.stack([*factors, turns], -1), torch.argsort(drawn[:, 4:], -1)

    def program(self, images: Tensor, draw: Draw) -> Tensor:
        strength, order = draw
        digits = placed([1.0, 10.0, 100.0, 1000.0], strength)  # the first edit is the last digit
        code = ((order + 1) * digits).sum(-1)
        return step("color", images, *strength.unbind(-1), code, float(self.space == "yiq"))[:, None]

    def edit_pixels(self, pixels: Tensor, draw: Draw) -> Tensor:
        strength, order = draw
        if self.space == "yiq":
            return colors.linear(pixels, strength, order)
        for turn in range(4):
            for k, edit in enumerate(_EDITS):  # a row has one edit a turn: the order here does not matter
                pixels = rows_where(order[:, turn] == k, edit(pixels, strength[:, k]), pixels)
        return pixels
