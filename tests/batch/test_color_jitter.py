"""Color jitter: each row against a loop over its own order, and the laws of strengths and orders."""

import itertools

import pytest
import torch

from poise.batch import ColorJitter, colors
from poise.core.context import Batch, Context
from poise.core.rng import Rng, key
from poise.testing.oracles import chi_square, kolmogorov

pytestmark = pytest.mark.usefixtures("seeded")

CTX = Context(0, Rng(key(0)))
EDITS = (colors.brightness, colors.contrast, colors.saturation, colors.hue)


def drawn(part: ColorJitter, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    return part.draw(CTX.rng, Batch(torch.zeros(rows, 3, 2, 2), torch.zeros(rows)), CTX)


@pytest.mark.parametrize("channels", [1, 3])
def test_each_row_equals_its_own_edits_in_its_own_order(channels: int) -> None:
    pixels = torch.rand(40, channels, 6, 7, dtype=torch.float64)
    part = ColorJitter(0.6, 0.6, 0.6, 0.3)
    strength, order = drawn(part, 40)
    edited = part.edit(pixels, (strength, order))
    for row in range(40):
        one = pixels[row : row + 1]
        for turn in order[row].tolist():
            one = EDITS[turn](one, strength[row : row + 1, turn])
        torch.testing.assert_close(edited[row], one[0], rtol=0, atol=1e-14)
    assert len({tuple(row) for row in order.tolist()}) > 15


def test_the_order_matters_so_that_the_loop_above_could_fail() -> None:
    pixels = torch.rand(1, 3, 4, 4)
    strength = torch.tensor([[1.6, 0.5, 1.5, 0.2]])
    found = {
        ColorJitter().edit(pixels, (strength, torch.tensor([order]))) for order in itertools.permutations(range(4))
    }
    assert len({round(float(one.sum()), 5) for one in found}) > 4


def test_factors_and_turns_are_uniform_and_a_wrong_law_is_caught() -> None:
    strength, _ = drawn(ColorJitter(0.4, 0.8, 2.0, 0.25), 4000)
    assert kolmogorov((strength[:, 0] - 0.6) / 0.8) > 1e-6
    assert kolmogorov((strength[:, 1] - 0.2) / 1.6) > 1e-6
    assert kolmogorov(strength[:, 2] / 3) > 1e-6  # from 0, not from 1 - 2
    assert kolmogorov((strength[:, 3] + 0.25) / 0.5) > 1e-6
    assert kolmogorov((strength[:, 0].log() - 0.6) / 0.8) < 1e-6
    assert kolmogorov((strength[:, 0].log() + 0.4) / 0.8) < 1e-6  # log-uniform


def test_every_order_is_as_likely_and_one_order_for_all_rows_is_caught() -> None:
    rows = 48_000
    _, order = drawn(ColorJitter(), rows)
    codes = (order * torch.tensor([64, 16, 4, 1])).sum(-1)
    _, counts = codes.unique(return_counts=True)
    assert len(counts) == 24
    assert chi_square(counts.tolist(), [rows / 24] * 24) > 1e-6
    assert chi_square([rows, *[0] * 23], [rows / 24] * 24) < 1e-6
