"""Pictures to try augmentations on: small scenes painted by code, or one of the user's own."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from poise.core.errors import ArgumentError, DataError, shown

__all__ = ["SCENES", "SIDE", "painted", "read_picture"]

SIDE = 48  # pixels of a side: enough to see a crop, and twelve of them are 80 kB
SCENES = ("house", "boat", "tree", "peak")
_FINER = 4  # painted this many times larger and averaged down, so that edges are smooth
_MOST_PIXELS = 25_000_000  # of a file: decoded it takes three bytes each

Colour = tuple[float, float, float]
Corners = tuple[tuple[float, float], ...]


class _Canvas:
    """A square to paint on; places are shares of the side, from the top left corner."""

    def __init__(self) -> None:
        side = SIDE * _FINER
        self.y, self.x = (np.mgrid[0:side, 0:side] + 0.5) / side
        self.pixels = np.zeros((side, side, 3))

    def fade(self, top: Colour, bottom: Colour, below: float = 0.0) -> None:
        """Fill everything below a height with a colour that changes downwards."""
        where = self.y >= below
        share = np.clip((self.y - below) / (1 - below), 0, 1)[..., None]
        self.pixels[where] = ((1 - share) * np.array(top) + share * np.array(bottom))[where]

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        self.pixels[(self.x - x) ** 2 + (self.y - y) ** 2 < radius**2] = colour

    def polygon(self, corners: Corners, colour: Colour) -> None:
        """Fill a polygon: a place is inside if a ray to the right crosses its outline an odd number of times."""
        inside = np.zeros(self.x.shape, dtype=bool)
        for (x0, y0), (x1, y1) in zip(corners, (*corners[1:], corners[0]), strict=True):
            if y0 != y1:
                crosses = (self.y >= min(y0, y1)) & (self.y < max(y0, y1))
                inside ^= crosses & (self.x < x0 + (self.y - y0) * (x1 - x0) / (y1 - y0))
        self.pixels[inside] = colour

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        self.polygon(((left, top), (right, top), (right, bottom), (left, bottom)), colour)


def _house(canvas: _Canvas) -> None:
    canvas.fade((0.45, 0.70, 0.95), (0.85, 0.93, 1.0))
    canvas.disc(0.17, 0.17, 0.10, (1.0, 0.83, 0.20))
    canvas.fade((0.45, 0.70, 0.30), (0.22, 0.48, 0.20), below=0.68)
    canvas.box(0.10, 0.50, 0.14, 0.74, (0.40, 0.27, 0.16))
    canvas.disc(0.12, 0.46, 0.10, (0.12, 0.42, 0.20))
    canvas.box(0.76, 0.22, 0.83, 0.42, (0.45, 0.25, 0.22))
    canvas.box(0.38, 0.46, 0.88, 0.82, (0.96, 0.90, 0.76))
    canvas.polygon(((0.31, 0.47), (0.63, 0.20), (0.95, 0.47)), (0.80, 0.22, 0.16))
    canvas.box(0.68, 0.58, 0.80, 0.82, (0.25, 0.33, 0.60))
    canvas.box(0.45, 0.55, 0.59, 0.68, (0.35, 0.62, 0.80))


def _boat(canvas: _Canvas) -> None:
    canvas.fade((0.98, 0.78, 0.55), (1.0, 0.93, 0.80))
    canvas.fade((0.12, 0.42, 0.62), (0.04, 0.20, 0.38), below=0.66)
    canvas.box(0.465, 0.12, 0.49, 0.70, (0.30, 0.20, 0.14))
    canvas.polygon(((0.50, 0.14), (0.85, 0.60), (0.50, 0.60)), (0.98, 0.98, 0.96))
    canvas.polygon(((0.45, 0.22), (0.22, 0.60), (0.45, 0.60)), (0.86, 0.30, 0.24))
    canvas.polygon(((0.14, 0.66), (0.88, 0.66), (0.74, 0.82), (0.26, 0.82)), (0.42, 0.24, 0.14))


def _tree(canvas: _Canvas) -> None:
    canvas.fade((0.72, 0.88, 0.98), (0.94, 0.98, 1.0))
    canvas.fade((0.80, 0.72, 0.40), (0.62, 0.52, 0.26), below=0.78)
    canvas.polygon(((0.44, 0.90), (0.48, 0.50), (0.56, 0.50), (0.62, 0.90)), (0.38, 0.25, 0.14))
    for x, y, radius in ((0.34, 0.42, 0.19), (0.66, 0.40, 0.21), (0.50, 0.26, 0.22)):
        canvas.disc(x, y, radius, (0.16, 0.50, 0.22))
    for x, y in ((0.30, 0.38), (0.62, 0.28), (0.72, 0.48), (0.47, 0.43)):
        canvas.disc(x, y, 0.035, (0.88, 0.20, 0.18))


def _peak(canvas: _Canvas) -> None:
    canvas.fade((0.07, 0.08, 0.22), (0.36, 0.30, 0.48))
    canvas.disc(0.78, 0.20, 0.10, (0.96, 0.95, 0.84))
    for x, y in ((0.12, 0.14), (0.30, 0.26), (0.52, 0.10), (0.60, 0.32), (0.92, 0.40)):
        canvas.disc(x, y, 0.014, (1.0, 1.0, 0.95))
    canvas.polygon(((0.42, 0.92), (0.78, 0.44), (1.2, 0.92)), (0.34, 0.34, 0.46))
    canvas.polygon(((-0.2, 0.92), (0.34, 0.26), (0.86, 0.92)), (0.26, 0.28, 0.38))
    canvas.polygon(
        ((0.22, 0.41), (0.34, 0.26), (0.46, 0.41), (0.39, 0.46), (0.33, 0.41), (0.27, 0.47)), (0.95, 0.96, 1.0)
    )
    canvas.fade((0.10, 0.20, 0.18), (0.05, 0.11, 0.10), below=0.88)


_PAINTERS = {"house": _house, "boat": _boat, "tree": _tree, "peak": _peak}


@lru_cache(maxsize=len(SCENES))
def _painted(scene: str) -> np.ndarray:
    canvas = _Canvas()
    _PAINTERS[scene](canvas)
    fine = canvas.pixels.reshape(SIDE, _FINER, SIDE, _FINER, 3).mean((1, 3))
    found: np.ndarray = fine.transpose(2, 0, 1).astype(np.float32)
    return found


def painted(scene: str = "house") -> Tensor:
    """Return one of the scenes, (3, 48, 48), pixels in [0, 1]. Raises ArgumentError for a scene that is not there."""
    if scene not in _PAINTERS:
        raise ArgumentError(f"`painted.scene` must be one of {', '.join(SCENES)}; got {shown(scene)}.")
    return torch.from_numpy(_painted(scene).copy())


def read_picture(path: str | Path) -> Tensor:
    """Return the middle square of a picture file, (3, 48, 48), pixels in [0, 1].

    Raises DataError if it is no picture, or has more than 25 million pixels.
    """
    from PIL import Image, ImageOps

    name = Path(path).name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
            file = Image.open(path)
        with file:
            if file.width * file.height > _MOST_PIXELS:
                raise DataError(
                    f"{shown(name)} has {file.width} x {file.height} pixels, more than {_MOST_PIXELS:,}. "
                    "Make it smaller."
                )
            square = ImageOps.fit(ImageOps.exif_transpose(file).convert("RGB"), (SIDE, SIDE))
    except FileNotFoundError:
        raise DataError(f"there is no picture {shown(str(path))}. Check the path.") from None
    except DataError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{shown(name)} cannot be read as a picture: {error}. Save it as PNG or JPEG.") from None
    pixels = np.asarray(square, dtype=np.float32) / 255
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())
