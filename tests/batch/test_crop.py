"""Crop: NumPy's padding and a slice, row by row, to the bit."""

import numpy as np
import pytest
import torch

from poise.batch import Crop
from poise.core.context import Batch, Context
from poise.core.errors import ArgumentError
from poise.core.rng import Rng, key
from poise.testing.oracles import chi_square

pytestmark = pytest.mark.usefixtures("seeded")

NUMPYS = {"zero": "constant", "edge": "edge", "reflect": "reflect", "symmetric": "symmetric"}


@pytest.mark.parametrize("padding", NUMPYS)
@pytest.mark.parametrize(("height", "width", "pixels"), [(7, 5, 3), (4, 9, 9), (1, 1, 2)])  # also beyond the image
def test_equals_numpys_pad_and_slice(padding: str, height: int, width: int, pixels: int) -> None:
    images = torch.rand(40, 3, height, width, dtype=torch.float64)
    part, ctx = Crop(float(pixels), padding), Context(0, Rng(key(0))).within("crop")
    batch = Batch(images, torch.ones(40))
    shifts = part.draw(ctx.rng, batch, ctx)
    edited = part.apply(batch, shifts, ctx).inputs
    for row, (down, across) in enumerate(shifts.tolist()):
        wide = np.pad(images[row].numpy(), ((0, 0), (pixels, pixels), (pixels, pixels)), mode=NUMPYS[padding])  # type: ignore[call-overload]
        top, left = down + pixels, across + pixels
        assert np.array_equal(edited[row].numpy(), wide[:, top : top + height, left : left + width])


def test_shifts_are_uniform_over_whole_pixels_and_a_wrong_law_is_caught() -> None:
    rows = 200_000
    batch, ctx = Batch(torch.zeros(rows, 1, 1, 1), torch.zeros(rows)), Context(0, Rng(key(0)))
    for pixels in (2.0, 2.9):
        shifts = Crop(pixels).draw(ctx.rng, batch, ctx)
        pairs = torch.bincount((shifts[:, 0] + 2) * 5 + shifts[:, 1] + 2, minlength=25).tolist()
        assert len(pairs) == 25  # nothing beyond two pixels
        assert chi_square(pairs, [rows / 25] * 25) > 1e-6
    rounded = (4 * torch.rand(rows, 2)).round().long()  # the usual mistake: both ends half as likely
    wrong = torch.bincount(rounded[:, 0] * 5 + rounded[:, 1], minlength=25).tolist()
    assert chi_square(wrong, [rows / 25] * 25) < 1e-6


def test_less_than_one_pixel_is_the_identity_to_the_bit(run) -> None:  # type: ignore[no-untyped-def]
    images = torch.randn(9, 3, 6, 5)
    assert torch.equal(run(Crop(0.9), images, torch.ones(9)).inputs, images)


def test_another_padding_is_refused() -> None:
    with pytest.raises(
        ArgumentError, match=r"`Crop.padding` must be one of zero, edge, reflect, symmetric; got 'wrap'"
    ):
        Crop(padding="wrap")
