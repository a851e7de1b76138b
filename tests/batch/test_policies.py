"""RandAugment and TrivialAugment: one operation after another on each row, and the laws of what is chosen."""

import pytest
import torch

from poise.batch import RandAugment, TrivialAugment
from poise.batch.operations import OPERATIONS, STANDARD, WIDE, Choice, operate
from poise.core.context import Batch, Context
from poise.core.errors import ArgumentError
from poise.core.regularizer import Regularizer
from poise.core.rng import Rng, key
from poise.testing.oracles import chi_square

pytestmark = pytest.mark.usefixtures("seeded")

CTX = Context(0, Rng(key(0)))


def drawn(part: RandAugment | TrivialAugment, rows: int) -> Choice:
    return part.draw(CTX.rng, Batch(torch.zeros(rows, 3, 2, 2), torch.zeros(rows)), CTX)


def test_rand_augment_is_one_operation_after_another_row_by_row() -> None:
    pixels = torch.rand(50, 3, 18, 20, dtype=torch.float64)
    part = RandAugment(0.7, count=3)
    choice = drawn(part, 50)
    found = part.edit(pixels, choice)
    for row in range(50):
        one = pixels[row : row + 1]
        for turn in range(3):
            single = Choice(choice.operation[row : row + 1, turn], choice.magnitude[row : row + 1, turn])
            one = operate(one, single, STANDARD)
        torch.testing.assert_close(found[row], one[0], rtol=0, atol=1e-12)


def test_trivial_augment_is_one_operation_of_the_wide_ranges() -> None:
    pixels = torch.rand(50, 3, 18, 20, dtype=torch.float64)
    choice = drawn(TrivialAugment(), 50)
    found = TrivialAugment().edit(pixels, choice)
    torch.testing.assert_close(found, operate(pixels, choice, WIDE))
    assert not torch.allclose(found, operate(pixels, choice, STANDARD))


def test_rand_augment_chooses_uniformly_and_with_one_magnitude() -> None:
    rows = 70_000
    choice = drawn(RandAugment(0.6, count=2), rows)
    pairs = torch.bincount(choice.operation[:, 0] * 14 + choice.operation[:, 1], minlength=196).tolist()
    assert chi_square(pairs, [rows / 196] * 196) > 1e-6  # the two independent, and repeats allowed
    without_repeats = [0 if k % 15 == 0 else rows / 182 for k in range(196)]
    assert chi_square([int(n) for n in without_repeats], [rows / 196] * 196) < 1e-6
    assert choice.magnitude.abs().unique().tolist() == pytest.approx([0.6])


def test_trivial_augment_draws_one_of_31_strengths_and_a_wrong_law_is_caught() -> None:
    rows = 62_000
    levels = (drawn(TrivialAugment(), rows).magnitude.abs() * 30).round().long()
    counts = torch.bincount(levels, minlength=31).tolist()
    assert len(counts) == 31
    assert chi_square(counts, [rows / 31] * 31) > 1e-6
    rounded = torch.bincount((torch.rand(rows) * 30).round().long(), minlength=31).tolist()  # ends half as likely
    assert chi_square(rounded, [rows / 31] * 31) < 1e-6


@pytest.mark.parametrize("part", [RandAugment(share=0.3, count=1), TrivialAugment(0.3)])
def test_share_is_the_rate_of_operations_that_are_applied(part: Regularizer) -> None:
    rows = 100_000
    assert isinstance(part, (RandAugment, TrivialAugment))
    acting = int((drawn(part, rows).operation != OPERATIONS.index("identity")).sum())
    rate = 0.3 * 13 / 14  # the identity is one of the fourteen
    assert chi_square([acting, rows - acting], [rate * rows, (1 - rate) * rows]) > 1e-6
    assert chi_square([acting, rows - acting], [0.3 * rows, 0.7 * rows]) < 1e-6


@pytest.mark.parametrize("count", [0, -1, 1.5, True, "2"])
def test_a_count_that_is_no_number_of_operations_is_refused(count: object) -> None:
    with pytest.raises(ArgumentError, match=r"`RandAugment.count` must be an int >= 1; got"):
        RandAugment(count=count)  # type: ignore[arg-type]
