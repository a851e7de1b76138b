"""Random resized crop: a random part of each image, enlarged to the whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.batch.boxes import first_fitting
from poise.batch.geometry import GeometricTransform
from poise.batch.images import images_of
from poise.batch.resampling import affine, map_step
from poise.core.context import Batch, Context
from poise.core.dial import dial
from poise.core.rng import Rng

__all__ = ["RandomResizedCrop"]


@dataclass(frozen=True)
class RandomResizedCrop(GeometricTransform):
    """Cut a box of random area, shape and place out of each image and enlarge it to the image's size.

    The box has the area a H W, a uniform in smallest .. 1, and sides in a ratio that is `aspect` away from the image's
    at most, log-uniform; ten draws, of which the first that fits is taken, else the whole image. The usual crop for
    large photographs; it changes an object's size, so keep `smallest` high where the object fills the image. The
    enlargement is bilinear, the box need not lie on whole pixels. Costs one resampling. Drawn for each row: by sample
    and epoch, or by place.

    Neutral: smallest = 1 and aspect = 1.
    Shapes: inputs (B, C, H, W), bytes or floats of any scale and any number of channels; targets as they are.
    Units: smallest is a share of the image's area, 0.08 in the paper; aspect is a ratio of sides, 4/3 in the paper.
    Raises: ArgumentError if smallest is outside (0, 1], aspect is not a finite number >= 1, or the inputs are no
        images of bytes or floats.
    Source: Szegedy et al. 2015, "Going deeper with convolutions", section 6.

    >>> left_half = torch.tensor([[[0.5, 0.0, -1.0], [0.0, 1.0, 0.0]]])
    >>> RandomResizedCrop().edit(torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]]), left_half)
    tensor([[[[1.0000, 1.2500, 1.7500, 2.2500]]]])
    """

    rank: ClassVar[int] = 11
    formula: ClassVar[str] = "x' = a box of area uniform in smallest .. 1 of x, enlarged to the size of x"
    cost: ClassVar[str] = "one bilinear resampling of the batch"

    smallest: float = dial(0.25, neutral=1.0, high=1.0, open_low=True, unit="share of the area", search=(0.08, 1.0))
    aspect: float = dial(4 / 3, neutral=1.0, low=1.0, unit="ratio of sides", search=(1.0, 2.0))

    def draw(self, rng: Rng, batch: Batch, ctx: Context) -> Tensor:
        """Return for each row the map (B, 2, 3) from a place of the result to that of the image, from the centre."""
        rows, _, height, width = images_of("RandomResizedCrop", batch).shape
        down, across, fits = first_fitting(rng, rows, self.smallest, 1.0, self.aspect)
        across, down = torch.where(fits, across, 1.0), torch.where(fits, down, 1.0)
        place = (rng.uniform("place", (rows, 2)) - 0.5).unbind(-1)
        # A box of a share s of a side has its centre within (1 - s) / 2 of the image's.
        offset = torch.stack([place[0] * (1 - across) * width, place[1] * (1 - down) * height], -1)
        return torch.cat([torch.diag_embed(torch.stack([across, down], -1)), offset[..., None]], -1)

    def maps(self, images: Tensor, draw: Tensor) -> Tensor:
        return draw

    def program(self, images: Tensor, draw: Tensor) -> Tensor:
        return map_step(images, draw, "edge")[:, None]

    def edit(self, images: Tensor, draw: Tensor) -> Tensor:
        return affine(images, draw, "edge")
