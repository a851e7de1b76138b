"""Swap noise: the rate, the other row, whole groups, labels kept."""

import pytest
import torch
from torch import Tensor

from poise.batch import SwapNoise
from poise.core.context import Batch, Context
from poise.core.errors import ArgumentError
from poise.core.rng import Rng, key
from poise.testing import check_regularizer
from poise.testing.oracles import chi_square

pytestmark = pytest.mark.usefixtures("seeded")


def tagged(rows: int, columns: int) -> Tensor:
    """Inputs in which every value names its row."""
    return torch.arange(rows, dtype=torch.float64)[:, None].expand(rows, columns)


def test_battery() -> None:
    check_regularizer(SwapNoise(0.3))


def test_the_rate_of_replaced_values_is_p_and_a_wrong_rate_is_caught(run) -> None:  # type: ignore[no-untyped-def]
    x = tagged(1000, 1000)
    changed = int((run(SwapNoise(0.2), x, torch.zeros(1000)).inputs != x).sum())
    assert chi_square([changed, 1_000_000 - changed], [2e5, 8e5]) > 1e-6
    assert chi_square([changed, 1_000_000 - changed], [2.05e5, 7.95e5]) < 1e-6


def test_the_other_row_is_uniform_never_the_row_itself_and_a_neighbour_is_caught() -> None:
    batch = Batch(tagged(5, 200_000), torch.zeros(5))
    _, partner = SwapNoise().draw(Rng(key(0)), batch, Context(0, Rng(key(0))))
    counts = [torch.bincount(row, minlength=5).tolist() for row in partner]
    for row, count in enumerate(counts):
        assert count[row] == 0
        assert chi_square(count[:row] + count[row + 1 :], [50_000.0] * 4) > 1e-6
    assert chi_square([200_000, 0, 0, 0], [50_000.0] * 4) < 1e-6


def test_values_come_from_their_own_column_and_targets_and_weights_stay(run) -> None:  # type: ignore[no-untyped-def]
    x = torch.arange(50, dtype=torch.float64)[:, None] + 1000 * torch.arange(4)
    y, w = torch.arange(50.0), torch.ones(50)
    swapped = run(SwapNoise(0.5), x, y, w)
    assert torch.equal(swapped.inputs // 1000, x // 1000)
    assert swapped.targets is y
    assert swapped.weights is w


def test_one_hot_groups_are_replaced_whole(run) -> None:  # type: ignore[no-untyped-def]
    x = torch.cat([torch.rand(300, 1), torch.eye(3)[torch.arange(300) % 3]], -1)
    swapped = run(SwapNoise(0.5), x, torch.zeros(300), columns=torch.tensor([2, 0, 0, 0]))
    assert bool((swapped.inputs[:, 1:].sum(-1) == 1).all())
    assert not torch.equal(swapped.inputs[:, 1:], x[:, 1:])
    broken = run(SwapNoise(0.5), x, torch.zeros(300))
    assert not bool((broken.inputs[:, 1:].sum(-1) == 1).all())


def test_p_zero_is_the_identity_and_p_one_replaces_everything(run) -> None:  # type: ignore[no-untyped-def]
    x = tagged(20, 3)
    assert torch.equal(run(SwapNoise(0.0), x, torch.zeros(20)).inputs, x)
    assert not bool((run(SwapNoise(1.0), x, torch.zeros(20)).inputs == x).any())


@pytest.mark.parametrize("rows", [0, 1])
def test_one_row_and_none_are_left_as_they_are(rows: int, run) -> None:  # type: ignore[no-untyped-def]
    x = torch.rand(rows, 4)
    assert torch.equal(run(SwapNoise(1.0), x, torch.ones(rows)).inputs, x)


def test_integers_are_swapped_too(run) -> None:  # type: ignore[no-untyped-def]
    x = torch.arange(10)[:, None].expand(10, 2)
    assert run(SwapNoise(0.5), x, torch.zeros(10)).inputs.dtype == torch.int64


def test_images_are_refused(run) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ArgumentError, match="`SwapNoise` must have a table"):
        run(SwapNoise(), torch.rand(2, 3, 4), torch.ones(2))
