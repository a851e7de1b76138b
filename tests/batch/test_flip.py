"""Flip: each row as it is or mirrored, to the bit."""

import pytest
import torch

from poise.batch import Flip
from poise.core.context import Batch, Context
from poise.core.rng import Rng, key
from poise.testing.oracles import chi_square

pytestmark = pytest.mark.usefixtures("seeded")


def test_every_row_is_one_of_the_four_mirror_images(run) -> None:  # type: ignore[no-untyped-def]
    images = torch.rand(64, 2, 5, 4)
    batch = Batch(images, torch.ones(64))
    part, ctx = Flip(0.5, 0.5), Context(0, Rng(key(0))).within("flip")
    across, down = part.draw(ctx.rng, batch, ctx)
    edited = part.apply(batch, (across, down), ctx).inputs
    for row in range(64):
        expected = images[row].tolist()
        if across[row]:
            expected = [[line[::-1] for line in channel] for channel in expected]
        if down[row]:
            expected = [channel[::-1] for channel in expected]
        assert torch.equal(edited[row], torch.tensor(expected))
    assert len({(bool(a), bool(d)) for a, d in zip(across, down, strict=True)}) == 4


def test_probability_one_mirrors_all_and_twice_is_the_identity(run) -> None:  # type: ignore[no-untyped-def]
    images = torch.rand(8, 3, 4, 6)
    once = run(Flip(1.0), images, torch.ones(8)).inputs
    assert torch.equal(once, images.flip(-1))
    assert torch.equal(run(Flip(1.0), once, torch.ones(8)).inputs, images)
    assert torch.equal(run(Flip(0.0, 1.0), images, torch.ones(8)).inputs, images.flip(-2))


def test_probabilities_are_rates_and_a_wrong_rate_is_caught() -> None:
    rows = 400_000
    batch = Batch(torch.zeros(rows, 1, 1, 1), torch.zeros(rows))
    ctx = Context(0, Rng(key(0)))
    across, down = Flip(0.3, 0.2).draw(ctx.rng, batch, ctx)
    both = [int((across & down).sum()), int((across & ~down).sum()), int((~across & down).sum())]
    counts = [*both, rows - sum(both)]
    assert chi_square(counts, [rows * p for p in (0.06, 0.24, 0.14, 0.56)]) > 1e-6  # independent
    assert chi_square(counts, [rows * p for p in (0.062, 0.248, 0.138, 0.552)]) < 1e-6
