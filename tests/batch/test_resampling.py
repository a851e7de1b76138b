"""Bilinear resampling against a slow loop over pixels in float64."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from poise.batch.resampling import affine, gather_pixels, identity_maps, resample

pytestmark = pytest.mark.usefixtures("seeded")

NUMPYS = {"zero": "constant", "edge": "edge", "reflect": "reflect", "symmetric": "symmetric"}
MARGIN = 12


def slow_resample(image: Tensor, across: Tensor, down: Tensor, padding: str) -> Tensor:
    """One image (C, H, W), one pixel at a time."""
    wide = np.pad(image.numpy(), ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)), mode=NUMPYS[padding])  # type: ignore[call-overload]
    found = np.empty((image.shape[0], *across.shape))
    for i in range(across.shape[0]):
        for j in range(across.shape[1]):
            x, y = float(across[i, j]), float(down[i, j])
            left, top = math.floor(x), math.floor(y)
            total = 0.0
            for row, share in ((top, top + 1 - y), (top + 1, y - top)):
                for column, part in ((left, left + 1 - x), (left + 1, x - left)):
                    total = total + share * part * wide[:, row + MARGIN, column + MARGIN]
            found[:, i, j] = total
    return torch.from_numpy(found)


@pytest.mark.parametrize("padding", NUMPYS)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_equals_the_slow_loop(padding: str, dtype: torch.dtype, bound: float) -> None:
    images = torch.rand(4, 2, 7, 5, dtype=torch.float64)
    across = 5 * torch.rand(4, 6, 3, dtype=torch.float64) * 2 - 3
    down = 7 * torch.rand(4, 6, 3, dtype=torch.float64) * 2 - 4
    found = resample(images.to(dtype), across.to(dtype), down.to(dtype), padding)
    for row in range(4):
        expected = slow_resample(images[row], across[row], down[row], padding)
        assert float((found[row].double() - expected).abs().max()) < bound


@pytest.mark.parametrize("padding", NUMPYS)
def test_whole_shifts_equal_the_gather(padding: str) -> None:
    images = torch.rand(3, 2, 6, 8, dtype=torch.float64)
    shift = torch.tensor([[2, -3], [0, 5], [-4, 1]])
    maps = identity_maps(3, images).clone()
    maps[:, :, 2] = shift.flip(-1).double()
    rows = torch.arange(6) + shift[:, :1]
    columns = torch.arange(8) + shift[:, 1:]
    torch.testing.assert_close(affine(images, maps, padding), gather_pixels(images, rows, columns, padding))


def test_the_identity_is_bit_for_bit_and_only_where_it_is_one() -> None:
    images = torch.randn(2, 3, 5, 9)
    maps = identity_maps(2, images).clone()
    maps[1, 0, 2] = 0.5
    moved = affine(images, maps, "edge")
    assert torch.equal(moved[0], images[0])
    assert not torch.equal(moved[1], images[1])


def test_half_precision_is_computed_in_single() -> None:
    images = torch.rand(2, 1, 6, 6).bfloat16()
    maps = identity_maps(2, torch.zeros(())) * 0.7
    expected = affine(images.float(), maps, "zero").bfloat16()
    assert torch.equal(affine(images, maps, "zero"), expected)
