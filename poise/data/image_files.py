"""Image files in folders, one folder for each class: found, decoded, brought to one size, kept for the next time."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import stat
import tempfile
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from poise.core.errors import DataError, PoiseWarning, shown
from poise.data.image_arrays import Found

__all__ = ["decode", "file_pictures", "read_folder"]

ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"}
# Whatever a file's name says: Pillow would run Ghostscript on one that begins as EPS does.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
TRAIN, TEST = ("train", "training"), ("test", "testing", "val", "valid", "validation")
USUAL_SIZE = 64  # of pictures that share none
_KEPT_FROM = 200  # files; fewer are decoded again as fast
_LISTED = 3  # skipped files that the warning names


def read_folder(path: Path, *, size: tuple[int, int] | None, bad: str, cache: Path | None, cap: int) -> Found:
    """Return the pictures of a folder of class folders, in the order of their paths; see `read_images`."""
    files, labels, held = _listed(path)
    if not files:
        raise DataError(
            f"{shown(str(path))} has no image in a folder of its class ({', '.join(sorted(ENDINGS))}). "
            "Make one folder for each class and put its images there (links are not followed); for a table, name the "
            "file."
        )
    if left := _left_out(path, held is not None):
        warnings.warn(f"{shown(str(path))}: {left}.", PoiseWarning, stacklevel=4)
    kept = None if cache is None or len(files) < _KEPT_FROM else cache / f"{_key(path, files, size, cap)}.npz"
    known = None if kept is None else _load(kept)
    if known is None:
        known = _decoded(path, files, size, cap)
        if kept is not None:
            _save(kept, *known)
    pixels, errors = known
    wrong = [place for place, error in enumerate(errors) if error]
    skipped = tuple(f"{_name(files[place], path)}: {errors[place]}" for place in wrong)
    if skipped and bad == "refuse":
        raise DataError(f"{shown(skipped[0], 200)}. Repair or remove it, or pass bad='skip' (--bad-images skip).")
    if len(skipped) == len(files):
        raise DataError(
            f"{shown(str(path))}: none of its {len(files)} images can be used; the first: {shown(skipped[0], 200)}."
        )
    if skipped:
        more = f" and {len(skipped) - _LISTED} more" if len(skipped) > _LISTED else ""
        warnings.warn(
            f"{len(skipped)} of {len(files)} images were skipped: {shown('; '.join(skipped[:_LISTED]), 300)}{more}.",
            PoiseWarning,
            stacklevel=4,
        )
    good = np.array([place for place in range(len(files)) if place not in set(wrong)])
    names = tuple(_name(files[place], path) for place in good)
    return pixels, np.array(labels)[good], names, None if held is None else held[good], skipped


def file_pictures(path: Path, *, channels: int, size: tuple[int, int], cap: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the pictures of a file or of a folder at any depth, of these channels and this size, and their names."""
    files = [path] if path.is_file() else [file for file in sorted(path.rglob("*")) if file.suffix.lower() in ENDINGS]
    if not files:
        raise DataError(f"{shown(str(path))} holds no image ({', '.join(sorted(ENDINGS))}). Check the path.")
    _require_pillow()
    found = []
    for file in files:
        try:
            image = _sized(decode(file, cap), size)
        except DataError as error:
            # Not cut where `shown` would cut a long path: the end is what tells the files apart.
            name = _name(file, path if path.is_dir() else path.parent)
            raise DataError(f"{shown(name, 200)}: {error}. Repair or remove it.") from error
        found.append(np.asarray(image.convert("L" if channels == 1 else "RGB")))
    pixels = np.stack(found).reshape(len(files), *size, channels).transpose(0, 3, 1, 2).copy()
    return pixels, tuple(_name(file, path if path.is_dir() else path.parent) for file in files)


def _listed(path: Path) -> tuple[list[Path], list[str], np.ndarray | None]:
    """Return the image files, their classes, and which of them a `test` folder holds."""
    own = _folders(path)
    parts = {folder.name.lower(): folder for folder in own}
    if own and set(parts) <= {*TRAIN, *TEST} and any(name in TRAIN for name in parts):
        held = next((name for name in TEST if name in parts), None)
        files: list[Path] = []
        labels: list[str] = []
        test: list[bool] = []
        for name, folder in parts.items():
            inner_files, inner_labels, _ = _classes(_folders(folder))
            files, labels, test = files + inner_files, labels + inner_labels, test + [name == held] * len(inner_files)
        return files, labels, np.array(test) if held else None
    return _classes(own)


def _folders(path: Path) -> list[Path]:
    return sorted(one for one in path.iterdir() if one.is_dir() and not one.is_symlink() and one.name[0] != ".")


def _left_out(path: Path, divided: bool) -> str:
    """Return what lies where a class folder should and is not read, or ""."""
    found = []
    for folder in _folders(path) if divided else [path]:
        inside = sorted(one for one in folder.iterdir() if one.name[0] != ".")
        if links := [one for one in inside if one.is_symlink() and one.is_dir()]:
            found.append(f"{_name(links[0], path)} is a link, which is not followed")
        if loose := [one for one in inside if one.suffix.lower() in ENDINGS and not one.is_dir()]:
            found.append(f"{_name(loose[0], path)} lies in no class folder and is left out, as {len(loose)} such files")
    return "; ".join(found)


def _name(file: Path, root: Path) -> str:
    """Return a file's path below `root` as text that any encoding takes: bytes that are no UTF-8 are written out."""
    return os.fsencode(file.relative_to(root)).decode("utf-8", "backslashreplace")


def _classes(folders: Sequence[Path]) -> tuple[list[Path], list[str], None]:
    files: list[Path] = []
    labels: list[str] = []
    for folder in folders:
        # Links are not followed: they could lead anywhere, and round in circles.
        inner = sorted(
            Path(root) / name for root, _, names in os.walk(folder) for name in names
            if Path(name).suffix.lower() in ENDINGS and not name.startswith(".")
        )  # fmt: skip
        files += inner
        labels += [_name(folder, folder.parent)] * len(inner)
    return files, labels, None


def decode(path: Path, cap: int) -> Any:
    """Return a file as an upright Pillow image in mode L or RGB.

    Raises: DataError that says what is wrong with the file, without its name.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError("not a regular file")  # a pipe would be waited for without end
        with Image.open(path, formats=_FORMATS) as image:
            width, height = image.size
            if width * height > cap:
                raise DataError(f"{width} x {height} pixels, above the cap of {cap}")
            image.load()
            upright = _upright(image)
            if upright.mode in ("I;16", "I;16B", "I"):
                return Image.fromarray((np.asarray(upright, dtype=np.int64) >> 8).clip(0, 255).astype(np.uint8))
            return upright.convert("L" if upright.mode in ("1", "L", "LA") else "RGB")
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"too many pixels ({shown(str(error), 80)})") from error
    except UnidentifiedImageError as error:
        raise DataError("not an image that can be read") from error
    except Exception as error:  # decoders raise OSError, ValueError, SyntaxError, struct.error, EOFError, ...
        raise DataError(f"cannot be decoded ({shown(str(error), 80)})") from error


def _upright(image: Any) -> Any:
    """Return the picture turned as its camera's note says; where the note is damaged, as it is."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001  # readers of the note raise SyntaxError, struct.error, KeyError, ...
        return image


def _sized(image: Any, size: tuple[int, int]) -> Any:
    """Return the picture scaled until it covers (height, width), its middle cut out."""
    from PIL import Image, ImageOps

    height, width = size
    return image if image.size == (width, height) else ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)


def _decoded(path: Path, files: list[Path], size: tuple[int, int] | None, cap: int) -> tuple[np.ndarray, list[str]]:
    """Return the pictures that can be used, (N, C, H, W), and of each file what is wrong with it, or ""."""
    _require_pillow()

    def one(file: Path) -> tuple[Any, tuple[int, int], str]:
        if file.is_symlink():
            return None, (0, 0), "a link, which is not followed"
        try:
            image = decode(file, cap)
        except DataError as error:
            return None, (0, 0), str(error)
        own = (image.size[1], image.size[0])
        # Of a large picture only the smaller one is kept in memory, even before the common size is known.
        return (image if max(own) <= 256 else _sized(image, size or (USUAL_SIZE, USUAL_SIZE))), own, ""

    with warnings.catch_warnings(), ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        # Pillow's bomb warning (the cap refuses) and those of odd metadata; not in the threads, for filters are global.
        warnings.simplefilter("ignore")
        found = list(pool.map(one, files))
    sizes = {own for image, own, _ in found if image is not None}
    if size is None:
        (only,) = sizes if len(sizes) == 1 else {(USUAL_SIZE, USUAL_SIZE)}
        size = only if max(only) <= 256 else (USUAL_SIZE, USUAL_SIZE)
    images = [_sized(image, size) for image, _, _ in found if image is not None]
    colour = any(image.mode == "RGB" for image in images)
    arrays = [np.asarray(image.convert("RGB" if colour else "L")) for image in images]
    channels = 3 if colour else 1
    pixels = np.stack(arrays) if arrays else np.zeros((0, *size), np.uint8)
    return pixels.reshape(len(arrays), *size, channels).transpose(0, 3, 1, 2).copy(), [error for _, _, error in found]


def _require_pillow() -> None:
    """Say once what is missing, before the threads would say it of every file."""
    if importlib.util.find_spec("PIL") is None:
        raise DataError("reading image files needs pillow. Install it: pip install 'poise[images]'")


# ---- the cache ----


def _key(path: Path, files: list[Path], size: tuple[int, int] | None, cap: int) -> str:
    """Return a hash of all that decoding depends on: each file's name, length and time, and the arguments."""
    facts = [[_name(file, path), (own := file.lstat()).st_size, own.st_mtime_ns] for file in files]
    return hashlib.sha256(json.dumps([str(path.absolute()), facts, size, cap, 1]).encode()).hexdigest()[:32]


def _load(kept: Path) -> tuple[np.ndarray, list[str]] | None:
    try:
        with np.load(kept, allow_pickle=False) as file:
            return file["pixels"], [str(error) for error in file["errors"]]
    except Exception:  # noqa: BLE001  # whatever is wrong with a cache, decoding again is right
        return None


def _save(kept: Path, pixels: np.ndarray, errors: list[str]) -> None:
    """Keep the pictures; a cache that cannot be written is none."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=kept.parent, suffix=".npz", delete=False) as file:
            np.savez(file, pixels=pixels, errors=np.array(errors, dtype=str))
        os.replace(file.name, kept)
    except OSError:
        return
