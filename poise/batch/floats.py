"""Bytes become standardised floats, as the last thing before the network."""

from __future__ import annotations

import torch
from torch import Tensor

from poise.core.errors import ArgumentError, shown
from poise.core.placed import placed
from poise.kernels.images import serves, standardised

__all__ = ["to_floats"]


def to_floats(
    images: Tensor,
    mean: tuple[float, ...] = (0.0,),
    deviation: tuple[float, ...] = (1.0,),
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return (level / 255 - mean) / deviation of images of bytes, in one pass.

    Augment bytes, which are a quarter of the memory, and call this last. Shapes: images (B, C, H, W) uint8; mean and
    deviation hold a number for each channel, or one for all. Raises: ArgumentError for other images or numbers.

    >>> to_floats(torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8), mean=(0.5,), deviation=(0.25,))
    tensor([[[[-2.0000, -1.2000,  2.0000]]]])
    """
    if not isinstance(images, Tensor) or images.dim() != 4 or images.dtype != torch.uint8:
        got = f"{images.dtype}, {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
        raise ArgumentError(
            f"`to_floats.images` must be bytes (rows, channels, height, width); got {got}. "
            "Floats are standardised by (images - mean) / deviation."
        )
    channels = images.shape[1]
    if len(mean) not in (1, channels) or len(deviation) not in (1, channels) or not all(one > 0 for one in deviation):
        raise ArgumentError(
            f"`to_floats.mean` and `deviation` must have 1 or {channels} numbers, deviations > 0; got {shown(mean)} "
            f"and {shown(deviation)}. They are those of pixels in [0, 1]."
        )
    centre, width = (placed(given, images).expand(channels) for given in (mean, deviation))
    if serves(images):
        return standardised(images, 1 / (255 * width), -centre / width).to(dtype)
    return ((images.float() / 255 - centre[:, None, None]) / width[:, None, None]).to(dtype)
