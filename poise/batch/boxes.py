"""Boxes in images: where they lie, and how large one may be drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from poise.core.placed import placed
from poise.core.rng import Rng

__all__ = ["first_fitting", "inside_boxes"]

_ATTEMPTS = 10  # as torchvision's crops and erasings have it


def inside_boxes(boxes: Tensor, height: int, width: int) -> Tensor:
    """Return whether each pixel lies in its row's box, which may reach beyond the border.

    Shapes: boxes (B, 4): top, left, bottom and right in whole pixels, the last two exclusive; (B, height, width).

    >>> inside_boxes(torch.tensor([[-1, 1, 1, 9]]), height=2, width=3)
    tensor([[[False,  True,  True],
             [False, False, False]]])
    """
    top, left, bottom, right = boxes[..., None].unbind(1)
    i = torch.arange(height, device=boxes.device)
    j = torch.arange(width, device=boxes.device)
    return ((i >= top) & (i < bottom))[:, :, None] & ((j >= left) & (j < right))[:, None, :]


def first_fitting(
    rng: Rng, rows: int, smallest: Tensor | float, largest: Tensor | float, aspect: Tensor | float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sides of a random box for each row, as shares of the image's, and whether one of ten draws fits.

    The area is uniform in smallest .. largest of the image's, the ratio of the shares log-uniform in 1 / aspect ..
    aspect; the first draw with both sides in the image is taken. Shapes: (down, across, fits), each (B,).
    """
    area, ratio = rng.uniform("area", (rows, _ATTEMPTS)), 2 * rng.uniform("ratio", (rows, _ATTEMPTS)) - 1
    low, high = placed(smallest, area), placed(largest, area)
    root = torch.lerp(low.to(area), high.to(area), area).sqrt()
    skew = torch.exp(0.5 * ratio * placed(aspect, area).log())
    down, across = root / skew, root * skew
    fits = (down <= 1) & (across <= 1)
    first = fits.to(torch.int64).argmax(1, keepdim=True)
    return down.gather(1, first)[:, 0], across.gather(1, first)[:, 0], fits.any(1)
