"""The labelled images that `images.py` and `dropout_paper.py` train on: how they are read, what is drawn of them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from poise.data.images import Images, read_images

__all__ = ["DATA", "SETTINGS", "USUAL", "Setting", "Whole", "load", "subset"]

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "images"
"""Where the sets lie, beside the project; nothing of them is part of it."""


@dataclass(frozen=True)
class Setting:
    """One comparison: `per_class` training images of each class, `epochs` passes over them, `trials` of the search."""

    data: str
    per_class: int
    epochs: int
    trials: int = 10
    batch: int = 64
    flip: bool = True  # a mirrored digit is another digit
    crop: float = 2.0  # pixels, of the arm with the usual augmentation alone
    width: int = 16


SETTINGS = {
    "fashion_100": Setting("fashion", 100, 30, batch=32),
    "mnist_100": Setting("mnist", 100, 20, batch=32, flip=False),
    "cifar_500": Setting("cifar", 500, 12, crop=4.0),
    # Added after the setting above was seen: with 12 epochs no arm had come near to fitting its training images.
    "cifar_500_longer": Setting("cifar", 500, 30, crop=4.0),
    "fashion_1000": Setting("fashion", 1000, 6),
    "fashion_50": Setting("fashion", 50, 40, batch=32),
    "fashion_500": Setting("fashion", 500, 10),
    "digits_20": Setting("digits", 20, 10, trials=4, batch=20, flip=False, crop=1.0, width=4),
}
"""By name; `digits_20` is scikit-learn's small set, for a check in seconds."""


USUAL = ("fashion_100", "mnist_100", "cifar_500", "cifar_500_longer", "fashion_1000")
"""The settings of a run that names none."""


@dataclass(frozen=True)
class Whole:
    """A set as its makers divide it. Shapes: pixels (N, C, H, W) uint8, labels (N,) int64 in 0 .. 9."""

    pixels: np.ndarray
    labels: np.ndarray
    test_pixels: np.ndarray
    test_labels: np.ndarray


def load(data: str, folder: Path = DATA) -> Whole:
    """Return a set by its name. Raises: FileNotFoundError or DataError if its files are absent."""
    if data == "digits":
        from sklearn.datasets import load_digits

        found = load_digits()
        pixels = np.minimum(found.images * 16, 255).astype(np.uint8)[:, None]
        labels = found.target.astype(np.int64)
        return Whole(pixels[:1200], labels[:1200], pixels[1200:], labels[1200:])
    if data == "cifar":
        return Whole(*_scans(folder / "cifar10_train_jpegscan.npz"), *_scans(folder / "cifar10_test_jpegscan.npz"))
    images = read_images(folder / {"fashion": "fashion-mnist", "mnist": "mnist.npz"}[data])
    labels, test = images.labels.astype(np.int64), images.test
    assert test is not None  # both sets bring a test part
    return Whole(images.pixels[~test], labels[~test], images.pixels[test], labels[test])


def subset(whole: Whole, per_class: int, seed: int) -> Images:
    """Return `per_class` training images of each class, drawn by the seed, and the whole test part."""
    order = np.random.default_rng(seed).permutation(len(whole.labels))
    drawn = np.concatenate([order[whole.labels[order] == label][:per_class] for label in np.unique(whole.labels)])
    labels = np.concatenate([whole.labels[drawn], whole.test_labels]).astype(str)
    return Images(
        "subset",
        np.concatenate([whole.pixels[drawn], whole.test_pixels]),
        labels,
        tuple(map(str, range(len(labels)))),
        np.arange(len(labels)) >= len(drawn),
    )


def _scans(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Decode JPEG scans that share one header."""
    from PIL import Image

    bundle = np.load(path)
    header, scan, offset = bundle["header"].tobytes(), bundle["scan"].tobytes(), bundle["offset"]
    pixels = np.stack(
        [
            np.asarray(Image.open(io.BytesIO(header + scan[start:stop] + b"\xff\xd9")).convert("RGB"))
            for start, stop in pairwise(offset)
        ]
    )
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), bundle["label"].astype(np.int64)
