"""Images that are arrays already: .npz files and IDX files (MNIST's format)."""

from __future__ import annotations

import gzip
import math
import re
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np

from poise.core.errors import DataError, PoiseWarning, shown

__all__ = ["Found", "idx_pictures", "is_idx", "npz_pictures", "read_idx", "read_npz"]

Found = tuple[np.ndarray, np.ndarray, tuple[str, ...], np.ndarray | None, tuple[str, ...]]
"""pixels (N, C, H, W) uint8, labels (N,) text, names, test (N,) bool or None, what was skipped."""

_PAIRS = (("images", "labels"), ("x", "y"), ("X", "y"), ("data", "labels"), ("data", "target"), ("images", "target"))
_PARTS = (("x_train", "y_train", "x_test", "y_test"), ("train_images", "train_labels", "test_images", "test_labels"))
_BYTE_CAP = 4 * 2**30  # of an array, unpacked


def read_npz(path: Path) -> Found:
    """Return the labelled images of an .npz file; nothing in it is ever unpickled."""
    arrays = _arrays(path)
    for x, y, x_test, y_test in _PARTS:
        if {x, y, x_test, y_test} <= set(arrays):
            if others := sorted(set(arrays) - {x, y, x_test, y_test}):
                warnings.warn(f"{shown(str(path))}: {', '.join(others)} are not read.", PoiseWarning, stacklevel=4)
            return _joined(_labelled(path, arrays, x, y), _labelled(path, arrays, x_test, y_test), (x, x_test))
    for x, y in _PAIRS:
        if x in arrays and y in arrays:
            pixels, labels = _labelled(path, arrays, x, y)
            return pixels, labels, _named(x, len(pixels)), None, ()
    raise DataError(
        f"{shown(str(path))} must hold arrays `images` and `labels` (or x and y; or x_train, y_train, x_test, y_test); "
        f"it has {shown(sorted(arrays))}. Rename them."
    )


def npz_pictures(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the images of an .npz file, with or without labels, and their names."""
    arrays = _arrays(path)
    for key in ("images", "x", "X", "data", "x_test", "test_images"):
        if key in arrays:
            pixels = _pixels(f"{path.name}: {key}", arrays[key])
            return pixels, _named(key, len(pixels))
    raise DataError(f"{shown(str(path))} must hold an array `images`; it has {shown(sorted(arrays))}. Rename it.")


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(item.file_size for item in archive.infolist())
        if size > _BYTE_CAP:
            raise DataError(f"{shown(str(path))} unpacks to {size} bytes; the cap is {_BYTE_CAP}. Divide it.")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        MemoryError,
    ) as error:  # an array's head may tell of more than any machine has
        raise DataError(
            f"{shown(str(path))} cannot be read as .npz ({shown(str(error), 120)}). Write it anew."
        ) from error


def _named(key: str, count: int) -> tuple[str, ...]:
    return tuple(f"{key}[{place}]" for place in range(count))


def _joined(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], keys: tuple[str, ...]) -> Found:
    if train[0].shape[1:] != test[0].shape[1:]:
        raise DataError(
            f"{keys[0]} and {keys[1]} must hold pictures of one shape; got {train[0].shape} and {test[0].shape}."
        )
    held = np.arange(len(train[0]) + len(test[0])) >= len(train[0])
    names = _named(keys[0], len(train[0])) + _named(keys[1], len(test[0]))
    return np.concatenate([train[0], test[0]]), np.concatenate([train[1], test[1]]), names, held, ()


def _labelled(path: Path, arrays: dict[str, np.ndarray], images: str, labels: str) -> tuple[np.ndarray, np.ndarray]:
    pixels = _pixels(f"{path.name}: {images}", arrays[images])
    names = _labels(f"{path.name}: {labels}", arrays[labels])
    if len(pixels) != len(names):
        raise DataError(f"{path.name}: {images} has {len(pixels)} pictures and {labels} {len(names)} labels.")
    return pixels, names


def _pixels(where: str, array: np.ndarray) -> np.ndarray:
    """Return (N, C, H, W) uint8 of (N, H, W), (N, H, W, C) or (N, C, H, W), uint8 or floats in [0, 1]."""
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[-1] in (1, 3) and array.shape[1] not in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1] not in (1, 3) or 0 in array.shape:
        raise DataError(
            f"{where} must have shape (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels; got {array.shape}."
        )
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            row = int(np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(1))[0])
            raise DataError(
                f"{where}: floats must be in [0, 1]; picture {row} has some that are not finite. Fill or drop it."
            )
        if array.min() < 0 or array.max() > 1:
            raise DataError(
                f"{where}: floats must be in [0, 1]; got {array.min():g} to {array.max():g}. Divide by 255."
            )
        return np.ascontiguousarray(np.rint(array * 255).astype(np.uint8))
    raise DataError(f"{where} must be uint8, or floats in [0, 1]; got {array.dtype}. Convert it.")


def _labels(where: str, array: np.ndarray) -> np.ndarray:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2 and array.dtype.kind in "biuf" and (array.sum(1) == 1).all() and np.isin(array, (0, 1)).all():
        array = array.argmax(1)  # one-hot
    if array.ndim != 1 or array.dtype.kind not in "biuUS":
        raise DataError(
            f"{where} must hold one label a picture, whole numbers or text; got {array.dtype} {array.shape}."
        )
    return array.astype(str)


# ---- IDX, the format of MNIST: magic 0 0 type dimensions, then the sizes, big-endian, then the bytes ----


def is_idx(path: Path) -> bool:
    """Whether a file's name is that of IDX images or labels."""
    return bool(re.search("[-.]idx[13]-ubyte", path.name))


def read_idx(path: Path) -> Found:
    """Return the images of a folder of IDX files, train and t10k if both are there, or of one file and its labels."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    found = {}
    for file in files:
        if "idx3-ubyte" in file.name:
            labels = file.with_name(file.name.replace("images", "labels").replace("idx3", "idx1"))
            if not labels.exists():
                raise DataError(f"{shown(str(file))} has no labels: {shown(labels.name)} is missing beside it.")
            part = "test" if file.name.startswith(("t10k", "test")) else "train"
            pixels, names = _idx(file, 3), _idx(labels, 1)
            if len(pixels) != len(names):
                raise DataError(
                    f"{shown(file.name)} has {len(pixels)} pictures and {shown(labels.name)} {len(names)} labels."
                )
            found[part] = (pixels[:, None], names.astype(str))
    if not found:
        raise DataError(f"{shown(str(path))} has labels but no images: *-images-idx3-ubyte is missing.")
    if len(found) == 2:
        return _joined(found["train"], found["test"], ("train", "test"))
    ((part, (pixels, names)),) = found.items()
    return pixels, names, _named(part, len(pixels)), None, ()


def idx_pictures(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the images of an IDX file, or of all of a folder, with or without labels, and their names."""
    files = [file for file in sorted(path.iterdir() if path.is_dir() else [path]) if "idx3-ubyte" in file.name]
    if not files:
        raise DataError(f"{shown(str(path))} must hold images, *-images-idx3-ubyte; it has labels alone.")
    found = [_idx(file, 3)[:, None] for file in files]
    if strange := [file.name for file, own in zip(files, found, strict=True) if own.shape[1:] != found[0].shape[1:]]:
        raise DataError(f"{shown(files[0].name)} and {shown(strange[0])} must hold pictures of one shape.")
    names = (_named(file.name, len(own)) for file, own in zip(files, found, strict=True))
    return np.concatenate(found), tuple(name for own in names for name in own)


def _idx(path: Path, dimensions: int) -> np.ndarray:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4 + 4 * dimensions)
            if len(head) < 4 + 4 * dimensions or head[:4] != bytes([0, 0, 8, dimensions]):
                raise DataError(
                    f"{shown(str(path))} is no IDX file of {dimensions} dimensions; it begins {head[:4].hex()}."
                )
            sizes = [int.from_bytes(head[4 + 4 * place : 8 + 4 * place], "big") for place in range(dimensions)]
            wanted = math.prod(sizes)
            if wanted > _BYTE_CAP:
                raise DataError(f"{shown(str(path))} tells of {wanted} bytes; the cap is {_BYTE_CAP}.")
            body = file.read(wanted + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{shown(str(path))} cannot be read ({shown(str(error), 120)}). Fetch it again.") from error
    if len(body) != wanted:
        raise DataError(f"{shown(str(path))} must hold {wanted} bytes by its head; got {len(body)}. It is cut off.")
    return np.frombuffer(body, np.uint8).reshape(sizes).copy()
