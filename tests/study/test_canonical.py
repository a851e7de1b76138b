"""Rows in canonical order: what is merged, what is not, and that neither order nor representation matters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise.study.canonical import canonical


def table(seed: int, rows: int = 40) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    return draw.normal(size=(rows, 3)).astype(np.float32), draw.normal(size=rows)


@given(st.integers(0, 10_000), st.lists(st.integers(0, 7), min_size=40, max_size=40))
def test_whole_weights_are_repetitions_in_any_order(seed: int, counts: list[int]) -> None:
    inputs, targets = table(seed)
    times = np.array(counts)
    times[:6] = np.maximum(times[:6], 1)
    again = np.random.default_rng(seed).permutation(np.repeat(np.arange(40), times))
    one, shares = canonical(inputs, targets, times.astype(float))
    two, same = canonical(inputs[again], targets[again])
    assert np.array_equal(inputs[one], inputs[again][two])
    assert np.array_equal(targets[one], targets[again][two])
    assert (shares is None and same is None) or np.array_equal(shares, same)  # type: ignore[arg-type]


def test_equal_rows_are_summed_and_weights_have_mean_one() -> None:
    inputs, targets = table(0, 10)
    rows = np.r_[np.arange(10), 3, 3]
    places, shares = canonical(inputs[rows], targets[rows])
    assert sorted(rows[places].tolist()) == list(range(10))
    assert shares is not None
    assert shares[rows[places] == 3] == pytest.approx(3 / 1.2)
    assert shares.mean() == pytest.approx(1.0)


def test_rows_that_differ_in_target_or_group_alone_stay_apart() -> None:
    inputs, targets = table(0, 30)
    twice = np.r_[np.arange(30), 7]
    other = np.r_[targets, 99.0]
    assert len(canonical(inputs[twice], other)[0]) == 31
    owners = np.r_[np.zeros(30), 1]
    assert len(canonical(inputs[twice], targets[twice], groups=owners)[0]) == 31
    assert len(canonical(inputs[twice], targets[twice])[0]) == 30


@pytest.mark.parametrize(
    ("inputs", "targets"),
    [
        (np.repeat(np.eye(5), 4, axis=0), np.repeat(np.arange(5), 4)),  # five different rows cannot be divided
        (np.repeat(np.eye(20), 9, axis=0), np.repeat(np.arange(20), 9)),  # each seen nine times
        (np.repeat(np.eye(20), 4, axis=0), np.tile([0, 0, 0, 1], 20)),  # equal inputs, three targets in four alike
    ],
    ids=["few", "often", "conflicts"],
)
def test_sightings_of_a_small_world_all_count(inputs: np.ndarray, targets: np.ndarray) -> None:
    places, shares = canonical(inputs.astype(np.float32), targets)
    assert sorted(places.tolist()) == list(range(len(inputs)))
    assert shares is None


def test_the_scale_of_weights_has_no_effect_and_equal_ones_are_none() -> None:
    inputs, targets = table(1)
    weights = np.random.default_rng(1).uniform(0.5, 2, 40)
    one, two = canonical(inputs, targets, weights)[1], canonical(inputs, targets, weights * 1e-12)[1]
    assert one is not None
    assert two is not None
    np.testing.assert_allclose(one, two, rtol=1e-14)
    assert canonical(inputs, targets, np.full(40, 3.0))[1] is None


def test_a_negative_zero_is_zero() -> None:
    inputs, targets = table(2, 12)
    inputs[0, 0] = 0.0
    other = inputs.copy()
    other[0, 0] = -0.0
    assert np.array_equal(canonical(inputs, targets)[0], canonical(other, targets)[0])


def test_the_order_tells_nothing_of_the_target() -> None:
    """Folds are cut from this order: sorted by a column or the target, they would differ in kind."""
    draw = np.random.default_rng(3)
    inputs = draw.normal(size=(20_000, 2)).astype(np.float32)
    places, _ = canonical(inputs, inputs[:, 0])
    ranks = np.arange(20_000)
    assert abs(np.corrcoef(ranks, inputs[places, 0])[0, 1]) < 5 / np.sqrt(20_000)
    wrong = np.argsort(inputs[:, 0])
    assert abs(np.corrcoef(ranks, inputs[wrong, 0])[0, 1]) > 0.9
