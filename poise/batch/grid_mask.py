"""GridMask: a grid of squares of each image blanked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.batch.images import ImageTransform, blanked, images_of
from poise.core.context import Batch, Context
from poise.core.dial import dial
from poise.core.errors import ArgumentError, shown
from poise.core.placed import placed
from poise.core.rng import Rng
from poise.kernels.images import step

__all__ = ["GridMask"]


@dataclass(frozen=True)
class GridMask(ImageTransform):
    """Set a regular grid of squares of each image to 0, with probability `share`.

    x'_ij = 0 where (i + a) mod d < l and (j + b) mod d < l; the period d is uniform over whole pixels between the two
    shares `period` of the shorter side, l = round(side d), and a, b are uniform over 0 .. d - 1. What is lost is spread
    over the whole image, so that an object is rarely hidden altogether, as one square of Cutout may hide it. Costs one
    pass over the batch. Drawn for each row: by sample and epoch, or by place.

    Neutral: share = 0, or side = 0.
    Shapes: inputs (B, C, H, W), bytes or floats of any scale and any number of channels; targets as they are.
    Units: share is a probability; side a share of the period, 1 - r of the paper, which blanks side^2 of the area;
        period holds the least and the largest share of the shorter side, (0.43, 1) for ImageNet in the paper.
    Raises: ArgumentError if share or side is outside [0, 1], period is no pair of ascending numbers in (0, 1], or the
        inputs are no images of bytes or floats.
    Source: Chen, Liu, Zhao and Jia 2020, "GridMask data augmentation", section 3; here without a rotation of the grid.

    >>> draw = torch.tensor([[2, 1, 0, 1]])  # period, side, and the two offsets
    >>> GridMask().edit(torch.ones(1, 1, 3, 4), draw)[0, 0]
    tensor([[1., 0., 1., 0.],
            [1., 1., 1., 1.],
            [1., 0., 1., 0.]])
    """

    rank: ClassVar[int] = 16
    formula: ClassVar[str] = "x'_ij = 0 where (i + a) mod d < side d and (j + b) mod d < side d, with probability share"
    cost: ClassVar[str] = "one pass over the batch"

    share: float = dial(0.5, neutral=0.0, low=0.0, high=1.0, unit="probability", search=(0.0, 1.0))
    side: float = dial(0.5, neutral=0.0, low=0.0, high=1.0, unit="share of the period", search=(0.0, 0.7))
    period: tuple[float, float] = (0.3, 0.6)

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.period
        numbers = isinstance(given, (tuple, list)) and all(
            isinstance(number, (int, float)) and not isinstance(number, bool) and 0 < number <= 1 for number in given
        )
        if not numbers or len(given) != 2 or given[0] > given[1]:
            raise ArgumentError(
                f"`GridMask.period` must be two ascending numbers in (0, 1]; got {shown(given)}. "
                "They are shares of the shorter side: (0.3, 0.6)."
            )
        object.__setattr__(self, "period", tuple(given))  # a file's list

    def draw(self, rng: Rng, batch: Batch, ctx: Context) -> Tensor:
        """Return the period, the side and the offsets down and across of each row (B, 4) int64; side 0 for none."""
        rows, _, height, width = images_of("GridMask", batch).shape
        places = rng.uniform("places", (rows, 4), torch.float64)
        low, high = (max(2, round(share * min(height, width))) for share in self.period)
        period = low + (places[:, 0] * (high - low + 1)).floor()
        side = (placed(self.side, places).to(places) * period).round()
        side = torch.where(places[:, 3] < self.share, side, 0.0)
        offsets = (places[:, 1:3] * period[:, None]).floor()
        return torch.cat([torch.stack([period, side], -1), offsets], -1).to(torch.int64)

    def program(self, images: Tensor, draw: Tensor) -> Tensor:
        return step("grid", images, *draw.unbind(-1))[:, None]

    def edit(self, images: Tensor, draw: Tensor) -> Tensor:
        period, side, down, across = (numbers[:, None] for numbers in draw.unbind(-1))
        rows = (torch.arange(images.shape[-2], device=draw.device) + down) % period < side
        columns = (torch.arange(images.shape[-1], device=draw.device) + across) % period < side
        blank = rows[:, None, :, None] & columns[:, None, None, :]
        return blanked(blank, images)
