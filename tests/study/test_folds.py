"""How rows are divided: nothing shared, nothing lost, groups whole, time in order."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise.core.errors import DataError
from poise.study.folds import Folds, make_folds

DRAW = np.random.default_rng(0)


def parts(folds: Folds) -> list[tuple[set[int], set[int], set[int]]]:
    return [
        (
            set(folds.train[fold].tolist()),
            set(np.flatnonzero(folds.stop[fold].numpy()).tolist()),
            set(np.flatnonzero(folds.validation[fold].numpy()).tolist()),
        )
        for fold in range(len(folds))
    ]


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("count", [1, 3, 5])
def test_parts_share_no_row_and_every_row_is_held_out_once(task: str, count: int) -> None:
    targets = DRAW.integers(0, 3, 83) if task == "classification" else DRAW.normal(size=83)
    folds = make_folds(targets, task=task, count=count, seed=1)  # type: ignore[arg-type]
    assert len(folds) == count
    lost = 0
    for train, stop, validation in parts(folds):
        assert train.isdisjoint(stop | validation)
        assert stop.isdisjoint(validation)
        assert min(len(train), len(stop), len(validation)) > 0
        lost = max(lost, 83 - len(train | stop | validation))
    assert lost <= (2 if count > 1 else 0)  # trimmed to one length
    if count > 1:
        assert folds.validation.sum(0).tolist() == [1.0] * 83


@pytest.mark.parametrize("count", [1, 3])
def test_classes_keep_their_shares_in_every_part(count: int) -> None:
    targets = np.repeat([0, 1, 2], [150, 60, 30])
    for part in (p for fold in parts(make_folds(targets, task="classification", count=count, seed=0)) for p in fold):
        shares = np.bincount(targets[list(part)], minlength=3) / len(part)
        np.testing.assert_allclose(shares, [0.625, 0.25, 0.125], atol=0.03)


@pytest.mark.parametrize("groups", [None, np.arange(300) // 2])
def test_a_class_too_small_to_divide_costs_the_others_nothing(groups: np.ndarray | None) -> None:
    targets = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [280, 18, 2]))
    folds = make_folds(targets, task="classification", count=3, seed=0, groups=groups)
    found = [int((targets[list(validation)] == 1).sum()) for _, _, validation in parts(folds)]
    assert found == [6, 6, 6]


def test_two_groups_are_too_few_to_train_to_stop_and_to_choose_by() -> None:
    for count in (1, 3):
        with pytest.raises(DataError, match=r"2 group\(s\) cannot be divided: a search needs 3"):
            make_folds(np.arange(40) % 2, task="classification", count=count, seed=0, groups=np.arange(40) // 20)


def test_a_numeric_target_keeps_its_spread_in_every_fold() -> None:
    targets = np.random.default_rng(0).normal(size=300)
    folds = parts(make_folds(targets, task="regression", count=3, seed=0))
    middles = [np.median(targets[list(fold[2])]) for fold in folds]
    free = [np.median(targets[i::3]) for i in range(3)]  # the wrong way: no strata
    assert np.ptp(middles) < np.ptp(free)


@given(
    st.integers(3, 12),
    st.sampled_from([1, 3, 4, 5]),
    st.integers(0, 1000),
    st.sampled_from(["classification", "regression"]),
)
def test_a_group_is_in_one_part_only_and_no_part_is_empty(groups: int, count: int, seed: int, task: str) -> None:
    draw = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(groups), draw.integers(0, groups, 60)])
    targets = draw.integers(0, 2, len(labels)) if task == "classification" else draw.normal(size=len(labels))
    folds = make_folds(targets, task=task, count=count, seed=seed, groups=labels)  # type: ignore[arg-type]
    assert 1 <= len(folds) <= min(count, groups)
    assert bool((folds.validation.sum(0) <= 1).all())
    for found in parts(folds):
        owners = [set(labels[list(part)].tolist()) for part in found]
        assert owners[0].isdisjoint(owners[1] | owners[2])
        assert owners[1].isdisjoint(owners[2])
        assert all(found)


def test_a_group_that_is_most_of_the_table_is_never_held_out() -> None:
    labels = np.repeat(np.arange(5), [200, 10, 10, 10, 10])
    folds = make_folds(np.arange(240) % 2, task="classification", count=3, seed=0, groups=labels)
    assert folds.train.shape[1] > 150  # all folds would have been trimmed to the 30 rows or so that are left
    assert not bool(folds.validation[:, :200].any())


def test_along_time_training_is_earliest_and_validation_latest() -> None:
    time = DRAW.permutation(100)
    folds = make_folds(DRAW.normal(size=100), task="regression", count=3, seed=0, time=time)
    assert len(folds) == 1
    train, stop, validation = (time[list(part)] for part in parts(folds)[0])
    assert train.max() < stop.min()
    assert stop.max() < validation.min()


def test_the_seed_decides_and_the_same_seed_repeats() -> None:
    targets = DRAW.integers(0, 2, 60)
    one, again, other = (make_folds(targets, task="classification", count=3, seed=s) for s in (0, 0, 1))
    assert one.train.equal(again.train)
    assert one.validation.equal(again.validation)
    assert not one.validation.equal(other.validation)


def test_a_class_of_one_row_is_no_error_and_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folds = make_folds(np.array([0] * 20 + [1] * 20 + [2]), task="classification", count=3, seed=0)
    assert folds.validation.sum(0).tolist() == [1.0] * 41


@pytest.mark.parametrize(("rows", "groups"), [(2, None), (5, None), (40, 1), (40, 2)])
def test_too_few_rows_or_groups_are_a_data_error(rows: int, groups: int | None) -> None:
    labels = None if groups is None else np.arange(rows) % groups
    with pytest.raises(DataError):
        make_folds(np.arange(rows) % 2, task="classification", count=3, seed=0, groups=labels)
