"""Mixup: the law of lambda, one lambda and one partner for inputs, targets and weights, and its limits."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from poise import Recipe
from poise.batch import Mixup
from poise.core.errors import ArgumentError
from poise.core.rng import Rng, key
from poise.testing import check_regularizer
from poise.testing.oracles import chi_square, kolmogorov

pytestmark = pytest.mark.usefixtures("seeded")

stats = pytest.importorskip("scipy.stats")

N = 1_000_000


def taken(part: Mixup, rows: int = N) -> Tensor:
    """The drawn 1 - lambda of each row."""
    from poise.core.context import Batch, Context

    batch = Batch(torch.zeros(rows, 1), torch.zeros(rows))
    return part.draw(Rng(key(1)), batch, Context(0, Rng(key(1))))[1]


def beta_p_value(values: Tensor, alpha: float) -> float:
    return kolmogorov(torch.from_numpy(stats.beta(alpha, alpha).cdf(values.numpy())))


@pytest.mark.parametrize("part", [Mixup(0.4, 0.7), Mixup(1.0, majority=True)])
def test_battery(part: Mixup) -> None:
    check_regularizer(part)


@pytest.mark.parametrize("alpha", [0.4, 1.0, 2.0])
def test_lambda_is_beta_and_a_wrong_alpha_is_caught(alpha: float) -> None:
    drawn = taken(Mixup(alpha))
    assert beta_p_value(drawn, alpha) > 1e-6
    assert beta_p_value(drawn, 1.05 * alpha) < 1e-6


def test_majority_is_the_folded_law_and_one_half_is_its_least() -> None:
    kept = 1 - taken(Mixup(0.5, majority=True))
    assert float(kept.min()) >= 0.5
    unfolded = torch.where(torch.arange(N) % 2 == 0, kept, 1 - kept)
    assert beta_p_value(unfolded, 0.5) > 1e-6


def test_share_is_the_rate_of_mixed_rows_and_a_wrong_rate_is_caught() -> None:
    mixed = int((taken(Mixup(1.0, 0.3)) > 0).sum())
    assert chi_square([mixed, N - mixed], [0.3 * N, 0.7 * N]) > 1e-6
    assert chi_square([mixed, N - mixed], [0.305 * N, 0.695 * N]) < 1e-6


def test_partners_are_uniform_and_a_fixed_shift_is_caught() -> None:
    from poise.core.context import Batch, Context

    batch, counts = Batch(torch.zeros(5, 1), torch.zeros(5)), torch.zeros(5, 5)
    for seed in range(4000):
        partner, _ = Mixup().draw(Rng(key(seed)), batch, Context(0, Rng(key(0))))
        assert sorted(partner.tolist()) == [0, 1, 2, 3, 4]
        counts[torch.arange(5), partner] += 1
    assert chi_square(counts[0].int().tolist(), [800.0] * 5) > 1e-6
    assert chi_square([0, 4000, 0, 0, 0], [800.0] * 5) < 1e-6


def test_inputs_targets_and_weights_are_mixed_by_the_same_lambda_and_partner(run, one_hot) -> None:  # type: ignore[no-untyped-def]
    rows = 7
    inputs = {"a": torch.arange(rows, dtype=torch.float64)[:, None], "b": torch.eye(rows, dtype=torch.float64)}
    number = torch.arange(rows, dtype=torch.float64)
    mixed = run(Mixup(1.0), inputs, number, number + 1)
    weights_of_rows = mixed.inputs["b"]  # row i: lambda at i, 1 - lambda at its partner
    expected = weights_of_rows @ number
    for mine, true in ((mixed.inputs["a"][:, 0], expected), (mixed.targets, expected), (mixed.weights, expected + 1)):
        torch.testing.assert_close(mine, true, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(weights_of_rows.sum(-1), torch.ones(rows, dtype=torch.float64))
    distribution = run(Mixup(1.0), inputs, one_hot(rows, 3))
    torch.testing.assert_close(distribution.targets, weights_of_rows @ one_hot(rows, 3), rtol=1e-12, atol=1e-12)


def test_each_row_has_its_own_lambda(run, one_hot) -> None:  # type: ignore[no-untyped-def]
    mixed = run(Mixup(1.0), torch.eye(64, dtype=torch.float64), one_hot(64, 2))
    assert len(set(mixed.inputs.amax(-1).tolist())) > 50


def test_with_one_lambda_for_all_rows_the_label_marginal_is_kept(one_hot) -> None:  # type: ignore[no-untyped-def]
    from poise.core.context import Batch, Context

    targets = one_hot(7, 3)
    partner = Rng(key(5)).permutation("p", 7)
    draw = (partner, torch.full((7,), 0.3, dtype=torch.float64))
    mixed = Mixup().apply(Batch(torch.zeros(7, 1), targets), draw, Context(0, Rng(key(0))))
    torch.testing.assert_close(mixed.targets.sum(0), targets.sum(0), rtol=1e-12, atol=1e-12)
    wrong = targets + 0.3 * (targets[partner.clamp(max=3)] - targets)  # a partner list that is no permutation
    assert not torch.allclose(wrong.sum(0), targets.sum(0))


@pytest.mark.parametrize("part", [Mixup(0.4, share=0.0), Mixup(0.0)])
def test_share_zero_and_alpha_zero_are_the_identity_to_the_bit(part: Mixup, run) -> None:  # type: ignore[no-untyped-def]
    x, y, w = torch.rand(9, 3, generator=torch.Generator().manual_seed(0)), torch.arange(9.0), torch.arange(9.0) / 7
    mixed = run(part, x, y, w)
    assert torch.equal(mixed.inputs, x)
    assert torch.equal(mixed.targets, y)
    assert torch.equal(mixed.weights, w)


@pytest.mark.parametrize("rows", [1, 3])
def test_one_row_is_left_as_it_is_and_odd_batches_are_fine(rows: int, run) -> None:  # type: ignore[no-untyped-def]
    x = torch.rand(rows, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    mixed = run(Mixup(1.0), x, torch.arange(float(rows)))
    assert mixed.inputs.shape == x.shape
    assert rows > 1 or torch.equal(mixed.inputs, x)


def test_a_small_alpha_stays_finite_and_mixes_hardly_at_all() -> None:
    drawn = taken(Mixup(1e-3), 10_000)
    assert bool(torch.isfinite(drawn).all())
    assert float(torch.minimum(drawn, 1 - drawn).mean()) < 1e-2


def test_integer_inputs_are_refused(run) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ArgumentError, match=r"must be floating-point tensors, or bytes; got torch\.int64"):
        run(Mixup(), torch.ones(3, 2, dtype=torch.int64), torch.zeros(3))


@pytest.mark.parametrize("wrong", [{"alpha": -0.1}, {"alpha": math.inf}, {"share": 1.5}, {"share": math.nan}])
def test_values_outside_their_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ArgumentError, match=rf"`Mixup\.{next(iter(wrong))}` must be"):
        Mixup(**wrong)


@pytest.mark.parametrize(
    ("inputs", "match"),
    [
        (torch.zeros(5, 3, 2), r"must have the rows first, as many each; got shape \(5, 3, 2\) for 3 rows of targets"),
        (torch.zeros(3, 2).numpy(), r"must be floating-point tensors, or bytes; got a ndarray"),
    ],
)
def test_what_has_other_rows_than_the_targets_or_is_no_tensor_is_refused(inputs: Any, match: str) -> None:
    run = Recipe(Mixup(1.0)).start(nn.Linear(2, 3), classes=3)
    with pytest.raises(ArgumentError, match=match):
        run.batch(inputs, torch.arange(3))
