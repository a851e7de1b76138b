"""Affine: images turned, moved, scaled and sheared at random, in one resampling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.batch.geometry import GeometricTransform
from poise.batch.images import images_of
from poise.batch.resampling import affine, check_padding, map_step
from poise.core.context import Batch, Context
from poise.core.dial import dial
from poise.core.placed import placed
from poise.core.rng import Rng

__all__ = ["Affine"]


@dataclass(frozen=True)
class Affine(GeometricTransform):
    """Turn, scale, shear and move each image about its centre, composed into one bilinear resampling.

    place' = R(angle) S(shear) factor place + shift: angle uniform in -rotation .. rotation, counterclockwise; shear
    angle uniform in -shear .. shear, rows moved sideways; factor log-uniform in 1 / (1 + scale) .. 1 + scale; shift
    uniform in -translation .. translation of each side. Use what the object may do in the world; `Affine(15.0, 0, 0,
    0)` is the random rotation. Costs one resampling. Drawn for each row: by sample and epoch, or by place.

    Neutral: rotation = 0, translation = 0, scale = 0 and shear = 0.
    Shapes: inputs (B, C, H, W), bytes or floats of any scale and any number of channels; targets as they are.
    Units: rotation and shear in degrees; translation is a share of the side, scale the largest relative enlargement.
    Raises: ArgumentError if rotation is outside [0, 180], shear outside [0, 90), translation outside [0, 1], scale not
        a finite number >= 0, padding not zero, edge, reflect or symmetric, or the inputs are no images of bytes or
        floats.
    Source: Simard, Steinkraus and Platt 2003, "Best practices for convolutional neural networks applied to visual
        document analysis", section 2.

    >>> quarter = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]])  # the top goes to the left
    >>> Affine().edit(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), quarter).round(decimals=5)
    tensor([[[[2., 4.],
              [1., 3.]]]])
    """

    rank: ClassVar[int] = 12
    formula: ClassVar[str] = "place' = R(angle) S(shear) factor place + shift, each drawn uniformly for each row"
    cost: ClassVar[str] = "one bilinear resampling of the batch"

    rotation: float = dial(15.0, neutral=0.0, low=0.0, high=180.0, unit="degrees", search=(0.0, 45.0))
    translation: float = dial(0.1, neutral=0.0, low=0.0, high=1.0, unit="share of the side", search=(0.0, 0.3))
    scale: float = dial(0.1, neutral=0.0, low=0.0, unit="relative enlargement", search=(0.0, 0.5))
    shear: float = dial(0.0, neutral=0.0, low=0.0, high=90.0, open_high=True, unit="degrees", search=(0.0, 20.0))
    padding: str = "zero"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_padding("Affine", self.padding)

    def draw(self, rng: Rng, batch: Batch, ctx: Context) -> Tensor:
        """Return for each row the map (B, 2, 3) from a place of the result to that of the image, from the centre."""
        rows, _, height, width = images_of("Affine", batch).shape
        signed = (2 * rng.uniform("places", (rows, 5)) - 1).unbind(-1)
        angle = signed[0] * self.rotation * (math.pi / 180)
        slope = (signed[1] * self.shear * (math.pi / 180)).tan()
        shrink = torch.exp(-signed[2] * torch.log1p(placed(self.scale, angle)))
        across, down = signed[3] * self.translation * width, signed[4] * self.translation * height
        cosine, sine = angle.cos(), angle.sin()
        # The inverses in inverse order: back from the shift, the rotation, the shear, the factor.
        top = [cosine - slope * sine, -sine - slope * cosine]
        linear = torch.stack([torch.stack([*top], -1), torch.stack([sine, cosine], -1)], -2) * shrink[:, None, None]
        offset = -(linear * torch.stack([across, down], -1)[:, None, :]).sum(-1, keepdim=True)
        return torch.cat([linear, offset], -1)

    def maps(self, images: Tensor, draw: Tensor) -> Tensor:
        return draw

    def border(self) -> str:
        return self.padding

    def program(self, images: Tensor, draw: Tensor) -> Tensor:
        return map_step(images, draw, self.padding)[:, None]

    def edit(self, images: Tensor, draw: Tensor) -> Tensor:
        return affine(images, draw, self.padding)
