"""IDX files, as MNIST has them: read with their labels to learn from, without to predict of."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from poise.core.errors import DataError
from poise.data.images import read_images, read_pictures


def idx(path: Path, array: np.ndarray) -> None:
    body = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(body) if path.suffix == ".gz" else body)


@pytest.mark.parametrize("mark", ["-", "."])
def test_idx_files_with_their_test_part(tmp_path: Path, mark: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (16, 9, 7), dtype=np.uint8)
    labels = (np.arange(16) % 3).astype(np.uint8)
    idx(tmp_path / f"train-images{mark}idx3-ubyte.gz", images[:12])
    idx(tmp_path / f"train-labels{mark}idx1-ubyte.gz", labels[:12])
    idx(tmp_path / f"t10k-images{mark}idx3-ubyte", images[12:])
    idx(tmp_path / f"t10k-labels{mark}idx1-ubyte", labels[12:])
    found = read_images(tmp_path)
    assert np.array_equal(found.pixels[:, 0], images)
    assert found.labels.tolist() == [str(label) for label in labels]
    assert found.test is not None
    assert found.test.tolist() == [False] * 12 + [True] * 4


def test_idx_files_that_are_cut_off_or_alone_are_named(tmp_path: Path) -> None:
    idx(tmp_path / "train-images-idx3-ubyte", np.zeros((8, 9, 9), np.uint8))
    with pytest.raises(DataError, match="train-labels-idx1-ubyte' is missing"):
        read_images(tmp_path)
    idx(tmp_path / "train-labels-idx1-ubyte", np.arange(8, dtype=np.uint8) % 2)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="must hold 648 bytes by its head; got 316"):
        read_images(tmp_path)


def test_idx_files_to_predict_of_need_no_labels(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 9, 8), dtype=np.uint8)
    idx(tmp_path / "t10k-images-idx3-ubyte.gz", images[:3])
    alone, names = read_pictures(tmp_path / "t10k-images-idx3-ubyte.gz", channels=1, size=(9, 8))
    assert np.array_equal(alone[:, 0], images[:3])
    assert names[2] == "t10k-images-idx3-ubyte.gz[2]"
    idx(tmp_path / "train-images-idx3-ubyte", images[3:])
    both, names = read_pictures(tmp_path, channels=1, size=(9, 8))
    assert np.array_equal(both[:, 0], images)
    assert names[3] == "train-images-idx3-ubyte[0]"
    with pytest.raises(DataError, match=r"pictures must be \(1, 8, 8\); got \(1, 9, 8\)"):
        read_pictures(tmp_path, channels=1, size=(8, 8))
    idx(tmp_path / "train-images-idx3-ubyte", images[3:, 1:])
    with pytest.raises(DataError, match="must hold pictures of one shape"):
        read_pictures(tmp_path, channels=1, size=(9, 8))


def test_idx_labels_alone_are_no_pictures(tmp_path: Path) -> None:
    idx(tmp_path / "t10k-labels-idx1-ubyte", np.zeros(4, np.uint8))
    with pytest.raises(DataError, match="it has labels alone"):
        read_pictures(tmp_path / "t10k-labels-idx1-ubyte", channels=1, size=(9, 8))
