"""CutMix for tables: values and targets come from the two rows in the same realised share."""

import pytest
import torch
from torch import Tensor

from poise.batch import CutMix
from poise.core.context import Batch, Context
from poise.core.errors import ArgumentError
from poise.core.rng import Rng, key
from poise.testing import check_regularizer
from poise.testing.oracles import chi_square, kolmogorov

pytestmark = pytest.mark.usefixtures("seeded")

GROUPS = torch.tensor([0, 3, 3, 3, 1, 2, 2])  # four groups, their numbers in no order
ROWS, COLUMNS = 400, 7


def tagged(rows: int = ROWS, columns: int = COLUMNS) -> Tensor:
    """Inputs in which every value names its row."""
    return torch.arange(rows, dtype=torch.float64)[:, None].expand(rows, columns)


def test_battery() -> None:
    check_regularizer(CutMix(0.8, 0.7))


def test_targets_are_mixed_by_the_realised_share_of_groups(run, one_hot) -> None:  # type: ignore[no-untyped-def]
    number, weights = torch.arange(float(ROWS), dtype=torch.float64), torch.rand(ROWS, dtype=torch.float64)
    mixed = run(CutMix(), tagged(), number, weights, columns=GROUPS)
    own = number[:, None]
    firsts = mixed.inputs[:, [0, 1, 4, 5]]  # one column of each group
    other = torch.where(firsts != own, firsts, -1).amax(-1)
    share = (firsts != own).double().mean(-1)
    partner = torch.where(other >= 0, other, number)
    torch.testing.assert_close(mixed.targets, number + share * (partner - number), rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(
        mixed.weights, weights + share * (weights[partner.long()] - weights), rtol=1e-12, atol=1e-12
    )
    assert set(share.tolist()) == {0.0, 0.25, 0.5, 0.75, 1.0}


def test_one_hot_groups_are_taken_whole(run) -> None:  # type: ignore[no-untyped-def]
    x = torch.cat([torch.rand(ROWS, 1), torch.eye(3)[torch.arange(ROWS) % 3]], -1).double()
    mixed = run(CutMix(), x, torch.zeros(ROWS), columns=torch.tensor([0, 1, 1, 1]))
    assert bool((mixed.inputs[:, 1:].sum(-1) == 1).all())
    broken = run(CutMix(), x, torch.zeros(ROWS))  # without groups, categories break: the test can fail
    assert not bool((broken.inputs[:, 1:].sum(-1) == 1).all())


def test_each_row_has_its_own_columns(run) -> None:  # type: ignore[no-untyped-def]
    mixed = run(CutMix(), tagged(columns=12), torch.zeros(ROWS))
    patterns = {tuple(row) for row in (mixed.inputs != tagged(columns=12)).tolist()}
    assert len(patterns) > ROWS // 3


def test_the_planned_share_of_a_row_is_beta_and_a_wrong_law_is_caught() -> None:
    batch = Batch(torch.zeros(2000, 2000), torch.zeros(2000))
    _, taken = CutMix(alpha=1.0).draw(Rng(key(0)), batch, Context(0, Rng(key(0))))
    realised = taken.double().mean(-1)  # 2,000 columns: within 0.01 of the planned share, which is uniform
    assert kolmogorov(realised) > 1e-6
    assert kolmogorov(realised.square()) < 1e-6


def test_share_is_the_rate_of_mixed_rows_and_a_wrong_rate_is_caught() -> None:
    rows = 1_000_000
    batch = Batch(torch.zeros(rows, 1), torch.zeros(rows))
    _, taken = CutMix(share=0.6).draw(Rng(key(0)), batch, Context(0, Rng(key(0))))
    count = int(taken.sum())  # the one column is taken with the mean of the planned share, one half
    assert chi_square([count, rows - count], [0.3 * rows, 0.7 * rows]) > 1e-6
    assert chi_square([count, rows - count], [0.305 * rows, 0.695 * rows]) < 1e-6


@pytest.mark.parametrize("part", [CutMix(0.0), CutMix(alpha=0.0)])
def test_share_zero_and_alpha_zero_are_the_identity_to_the_bit(part: CutMix, run, one_hot) -> None:  # type: ignore[no-untyped-def]
    mixed = run(part, tagged(), one_hot(ROWS, 3))
    assert torch.equal(mixed.inputs, tagged())
    assert torch.equal(mixed.targets, one_hot(ROWS, 3))


def test_everything_taken_is_the_partner_to_the_bit() -> None:
    x, y = torch.rand(3, 7, dtype=torch.float64), torch.rand(3, dtype=torch.float64)
    partner = torch.tensor([2, 0, 1])
    ctx = Context(0, Rng(key(0)), columns=GROUPS)
    mixed = CutMix().apply(Batch(x, y), (partner, torch.ones(3, 7, dtype=torch.bool)), ctx)
    assert torch.equal(mixed.inputs, x[partner])
    assert torch.equal(mixed.targets, y[partner])


def test_one_row_is_left_as_it_is(run) -> None:  # type: ignore[no-untyped-def]
    x = torch.rand(1, 4)
    assert torch.equal(run(CutMix(), x, torch.ones(1)).inputs, x)


def test_sequences_and_wrong_groups_are_refused(run) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ArgumentError, match=r"`CutMix` must have a table .* or images .*; got shape \(2, 3, 8\)"):
        run(CutMix(), torch.rand(2, 3, 8), torch.ones(2))
    with pytest.raises(ArgumentError, match=r"each of the 7 input columns; got shape \(5,\)"):
        run(CutMix(), tagged(), torch.zeros(ROWS), columns=torch.arange(5))
