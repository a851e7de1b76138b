"""Images read at other places: whole pixels by gathering, places between pixels by bilinear interpolation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from poise.batch.images import blanked, rows_where
from poise.core.errors import ArgumentError, shown
from poise.kernels.images import step

__all__ = ["PADDINGS", "affine", "check_padding", "gather_pixels", "identity_maps", "map_step", "resample"]

PADDINGS = ("zero", "edge", "reflect", "symmetric")
"""What stands beyond the border: 0, the border's pixel, or the image mirrored at the border's pixels (`reflect`, the
border's own pixel once) or at the border itself (`symmetric`, twice): NumPy's names."""

_GRID = {"zero": "zeros", "edge": "border", "reflect": "reflection", "symmetric": "reflection"}  # grid_sample's names


def check_padding(owner: str, padding: object) -> None:
    """Raise ArgumentError unless `padding` is one of `PADDINGS`."""
    if padding not in PADDINGS:
        raise ArgumentError(
            f"`{owner}.padding` must be one of {', '.join(PADDINGS)}; got {shown(padding)}. "
            '"zero" is the mean pixel of standardised images, and black otherwise.'
        )


def _source(places: Tensor, size: int, padding: str) -> Tensor:
    """Return the pixel that stands at each whole place along one side, a valid index."""
    if padding == "reflect":
        period = max(2 * (size - 1), 1)
        places = places % period
        places = torch.minimum(places, period - places)
    elif padding == "symmetric":
        places = places % (2 * size)
        places = torch.minimum(places, 2 * size - 1 - places)
    return places.clamp(0, size - 1)


def gather_pixels(images: Tensor, rows: Tensor, columns: Tensor, padding: str) -> Tensor:
    """Return images'[b, c, i, j] = images[b, c, rows[b, i], columns[b, j]], bit for bit.

    Shapes: images (B, C, H, W); rows (B, h) and columns (B, w) int64, which may lie beyond the border; (B, C, h, w).

    >>> gather_pixels(torch.tensor([[[[1.0, 2.0, 3.0]]]]), torch.tensor([[0]]), torch.tensor([[-1, 0, 1]]), "reflect")
    tensor([[[[2., 1., 2.]]]])
    """
    count, channels, height, width = images.shape
    # Whole rows by one index, which copies them as blocks; only columns are gathered pixel by pixel.
    planes = torch.arange(count * channels, device=images.device).reshape(count, channels, 1)
    down = planes * height + _source(rows, height, padding)[:, None]
    across = _source(columns, width, padding)[:, None, None].expand(-1, channels, rows.shape[1], -1)
    lines = images.reshape(-1, width).index_select(0, down.flatten())
    found = lines.reshape(count, channels, rows.shape[1], width).gather(3, across)
    if padding != "zero":
        return found
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    return blanked(~inside[:, None], found)


def resample(images: Tensor, across: Tensor, down: Tensor, padding: str) -> Tensor:
    """Return the images read at real places by bilinear interpolation; pixel k's centre is the place k.

    Shapes: images (B, C, H, W); across and down (B, h, w), places along W and along H; found (B, C, h, w).

    >>> row = torch.tensor([[[[1.0, 3.0]]]])
    >>> resample(row, torch.tensor([[[0.5, 1.0]]]), torch.tensor([[[0.0, 0.0]]]), "edge")
    tensor([[[[2., 3.]]]])
    """
    height, width = images.shape[-2:]
    centres = padding == "reflect"  # grid_sample's align_corners: -1 and 1 are the outer pixels' centres
    if centres:
        grid = [2 * across / max(width - 1, 1) - 1, 2 * down / max(height - 1, 1) - 1]
    else:
        grid = [(2 * across + 1) / width - 1, (2 * down + 1) / height - 1]
    wide = images if images.dtype.itemsize > 2 else images.float()
    places = torch.stack(grid, -1).to(wide.dtype)
    found = F.grid_sample(wide, places, mode="bilinear", padding_mode=_GRID[padding], align_corners=centres)
    return found.round().to(images.dtype) if images.dtype == torch.uint8 else found.to(images.dtype)


def map_step(images: Tensor, maps: Tensor, padding: str) -> Tensor:
    """Return the step (B, 8) of `poise.kernels.images` that does what `affine` does. Shapes: maps (B, 2, 3)."""
    return step("affine", images, *maps.flatten(1).unbind(-1), PADDINGS.index(padding))


def identity_maps(rows: int, like: Tensor) -> Tensor:
    """Return the map (B, 2, 3) that leaves every place where it is."""
    return torch.eye(2, 3, dtype=like.dtype, device=like.device).expand(rows, 2, 3)


def affine(images: Tensor, maps: Tensor, padding: str) -> Tensor:
    """Return images read at maps (x, y, 1), x and y in pixels from the centre; the identity is bit for bit that.

    A map leads from a place of the result to the place of the image that it shows: the inverse of the movement seen.

    Shapes: images (B, C, H, W), maps (B, 2, 3), which give (across, down); found (B, C, H, W).
    """
    height, width = images.shape[-2:]
    x = torch.arange(width, dtype=maps.dtype, device=maps.device) - (width - 1) / 2
    y = torch.arange(height, dtype=maps.dtype, device=maps.device)[:, None] - (height - 1) / 2
    entry = maps[..., None, None]
    across = entry[:, 0, 0] * x + entry[:, 0, 1] * y + entry[:, 0, 2] + (width - 1) / 2
    down = entry[:, 1, 0] * x + entry[:, 1, 1] * y + entry[:, 1, 2] + (height - 1) / 2
    moved = (maps != identity_maps(maps.shape[0], maps)).flatten(1).any(1)
    return rows_where(moved, resample(images, across, down, padding), images)
