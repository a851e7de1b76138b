"""Read labelled images from wherever they are: a folder for each class, an .npz file, or IDX files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from poise.core.errors import ArgumentError, DataError, shown
from poise.data.image_arrays import idx_pictures, is_idx, npz_pictures, read_idx, read_npz
from poise.data.image_files import file_pictures, read_folder

__all__ = ["PIXEL_CAP", "Images", "holds_images", "read_images", "read_pictures"]

PIXEL_CAP = 100_000_000  # of one file, before it is decoded


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled pictures in one size.

    Shapes: pixels (N, C, H, W) uint8, C is 1 or 3; labels (N,) of text; `test` (N,) bool marks the rows that the data's
    maker holds out, or is None. `names` say where each picture came from, `skipped` which files could not be used.
    """

    name: str
    pixels: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    test: np.ndarray | None = None
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)


def holds_images(source: object) -> bool:
    """Whether a path names images rather than a table: a folder, an .npz file or an IDX file."""
    if not isinstance(source, str | Path):
        return False
    path = Path(source).expanduser()
    return path.is_dir() or (path.is_file() and (path.suffix == ".npz" or is_idx(path)))


def read_images(
    source: str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    bad: str = "skip",
    cache: str | Path | None = None,
    cap: int = PIXEL_CAP,
) -> Images:
    """Return the images of a folder or a file, with their labels.

    A folder has one folder for each class, with JPEG, PNG, WebP, BMP or GIF files at any depth; `train` and `test`
    folders of such folders keep that division. An .npz file has `images` and `labels` (or `x`, `y`; or `x_train`,
    `y_train`, `x_test`, `y_test`). A folder of IDX files, as MNIST has, or one of them, is read with its labels.

    `size`: the side, or (height, width), that pictures of other sizes are scaled and cropped to; None keeps the size
    they share, or takes 64. `bad`: "skip" files that cannot be decoded, and tell, or "refuse" them. `cache`: a folder
    that keeps decoded pictures for the next time. `cap`: pixels above which a file is not decoded.

    Raises: DataError naming the file, the class or the array; ArgumentError for an argument.
    """
    _check(size, bad, cap)
    path = Path(source).expanduser()
    if _holds_idx(path):
        found = read_idx(path)
    elif path.is_dir():
        found = read_folder(path, size=_pair(size), bad=bad, cache=None if cache is None else Path(cache), cap=cap)
    elif path.suffix == ".npz" and path.is_file():
        found = read_npz(path)
    else:
        raise DataError(
            f"{shown(str(path))} holds no images that can be read. Give a folder with a folder for each class, an .npz "
            "file with images and labels, or IDX files."
        )
    pixels, labels, names, test, skipped = found
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2:
        only = f" ({shown(str(classes[0]))})" if len(classes) else ""
        deeper = path.is_dir() and any(one.is_dir() for one in (path / str(classes[0])).glob("*"))
        raise DataError(
            f"{shown(str(path))} has {len(classes)} class{'' if len(classes) == 1 else 'es'} of images{only}; there is "
            "nothing to tell apart. Put the images of each class into a folder of their own"
            + (f"; if the classes are inside {shown(str(classes[0]))}, name that folder." if deeper else ".")
        )
    if test is not None and (unseen := sorted(set(labels[test]) - set(labels[~test]))):
        raise DataError(
            f"{shown(str(path))}: class {shown(str(unseen[0]))} is in the test part only, and nothing can learn it. "
            "Add training images, or leave the class out."
        )
    classes, counts = np.unique(labels if test is None else labels[~test], return_counts=True)
    if few := [str(name) for name, count in zip(classes, counts, strict=True) if count < 4]:
        raise DataError(
            f"{shown(str(path))}: class {shown(few[0])} has fewer than 4 images to learn from, and training, stopping, "
            "choosing and testing need one each. Add some, or leave the class out."
        )
    if size is not None and pixels.shape[2:] != _pair(size):
        raise ArgumentError(
            f"`read_images.size` must be the arrays' own {pixels.shape[2:]}, or None; got {shown(size)}. Only image "
            "files are scaled."
        )
    return Images(path.name, pixels, labels, names, test, skipped)


def read_pictures(
    source: str | Path, *, channels: int, size: tuple[int, int], cap: int = PIXEL_CAP
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return pictures without labels, (N, C, H, W) uint8 of the channels and the size asked for, and their names.

    `source`: an image file, a folder with image files at any depth, an .npz file with `images` (or `x`), an IDX file of
    images or a folder of such.
    Raises: DataError naming what cannot be read; nothing is skipped, so that each picture gets its prediction.
    """
    path = Path(source).expanduser()
    arrays = npz_pictures if path.suffix == ".npz" and path.is_file() else idx_pictures if _holds_idx(path) else None
    if arrays is not None:
        pixels, names = arrays(path)
        if pixels.shape[1:] != (channels, *size):
            raise DataError(f"{shown(str(path))}: pictures must be {(channels, *size)}; got {pixels.shape[1:]}.")
        return pixels, names
    return file_pictures(path, channels=channels, size=size, cap=cap)


def _holds_idx(path: Path) -> bool:
    return any(is_idx(file) for file in path.iterdir()) if path.is_dir() else path.is_file() and is_idx(path)


def _pair(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    return (size, size) if isinstance(size, int) else size


def _check(size: object, bad: str, cap: int) -> None:
    sides = size if isinstance(size, tuple) else (size, size)
    if size is not None and (
        len(sides) != 2
        or any(isinstance(side, bool) or not isinstance(side, int) or not 8 <= side <= 1024 for side in sides)
    ):
        raise ArgumentError(f"`read_images.size` must be None, an int in 8 .. 1024, or two; got {shown(size)}.")
    if bad not in ("skip", "refuse"):
        raise ArgumentError(f"`read_images.bad` must be 'skip' or 'refuse'; got {shown(bad)}.")
    if isinstance(cap, bool) or not isinstance(cap, int) or cap < 1:
        raise ArgumentError(f"`read_images.cap` must be an int >= 1, pixels; got {shown(cap)}.")
