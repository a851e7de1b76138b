"""Cutout: the authors' loop, to the bit, and where its centres lie."""

import pytest
import torch

from poise.batch import Cutout
from poise.core.context import Batch, Context
from poise.core.rng import Rng, key
from poise.testing.oracles import chi_square

pytestmark = pytest.mark.usefixtures("seeded")

CTX = Context(0, Rng(key(0)))


@pytest.mark.parametrize(("height", "width", "side"), [(8, 8, 0.5), (9, 13, 0.4), (5, 4, 1.0)])
def test_equals_the_loop_of_the_authors(height: int, width: int, side: float) -> None:
    """Their mask has the length L for even L; here also for odd ones, where theirs has L - 1."""
    rows, length = 60, round(side * min(height, width))
    batch = Batch(torch.rand(rows, 3, height, width), torch.ones(rows))
    part = Cutout(side)
    edited = part.apply(batch, part.draw(CTX.rng, batch, CTX), CTX).inputs
    centres = CTX.rng.uniform("places", (rows, 3), torch.float64)
    for row in range(rows):
        expected = batch.inputs[row].clone()
        y, x = int(centres[row, 0] * height), int(centres[row, 1] * width)
        top, left = y - length // 2, x - length // 2
        expected[:, max(0, top) : max(0, top + length), max(0, left) : max(0, left + length)] = 0.0
        assert torch.equal(edited[row], expected)


def test_centres_are_uniform_over_all_pixels_and_squares_inside_only_are_caught() -> None:
    rows = 100_000
    batch = Batch(torch.zeros(rows, 1, 4, 4), torch.zeros(rows))
    cut = Cutout(0.5).draw(CTX.rng, batch, CTX)  # squares of 2, from one above and left of the centre
    areas = (cut[:, 2:].clamp(max=4) - cut[:, :2].clamp(min=0)).prod(1)
    corner, edge = int((areas == 1).sum()), int((areas == 2).sum())
    assert chi_square([corner, edge, rows - corner - edge], [rows / 16, 6 * rows / 16, 9 * rows / 16]) > 1e-6
    # A square that always lies inside, as random erasing has it, would never be cut off.
    assert chi_square([0, 0, rows], [rows / 16, 6 * rows / 16, 9 * rows / 16]) < 1e-6


def test_share_is_the_rate_of_rows_that_are_cut() -> None:
    rows = 100_000
    batch = Batch(torch.zeros(rows, 1, 2, 2), torch.zeros(rows))
    boxes = Cutout(0.5, 0.3).draw(CTX.rng, batch, CTX)  # of one pixel, never cut off
    cut = int((boxes[:, 2] > boxes[:, 0]).sum())
    assert chi_square([cut, rows - cut], [0.3 * rows, 0.7 * rows]) > 1e-6
    assert chi_square([cut, rows - cut], [0.31 * rows, 0.69 * rows]) < 1e-6
