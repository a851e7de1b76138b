import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from poise.core.errors import ArgumentError, DataError, PoiseWarning
from poise.data import Split, split

RNG = np.random.default_rng(0)
CLASSES = np.repeat([0, 1, 2], [600, 300, 100])[RNG.permutation(1000)]


def parts(found: Split) -> tuple[np.ndarray, ...]:
    return found.train, found.stop, found.validation, found.test


def covers(found: Split, rows: int) -> bool:
    return np.concatenate(parts(found)).tolist() != [] and sorted(np.concatenate(parts(found))) == list(range(rows))


def test_classes_keep_their_shares() -> None:
    found = split(CLASSES, task="classification")
    assert [len(part) for part in parts(found)] == [500, 100, 200, 200]
    assert covers(found, 1000)
    for part in parts(found):
        np.testing.assert_allclose(np.bincount(CLASSES[part]) / len(part), [0.6, 0.3, 0.1], atol=0.006)


def test_a_shuffled_split_would_not_keep_the_shares() -> None:
    taken = np.random.default_rng(0).permutation(1000)[:100]
    assert np.abs(np.bincount(CLASSES[taken]) / 100 - [0.6, 0.3, 0.1]).max() > 0.006


def test_numbers_keep_their_deciles() -> None:
    values = RNG.lognormal(size=2000)
    found = split(values, task="regression")
    assert covers(found, 2000)
    for part in parts(found):
        assert ks_2samp(values[part], values).statistic < 0.03


def test_the_seed_decides_and_nothing_else() -> None:
    one, same, other = (split(CLASSES, task="classification", seed=seed) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(parts(one), parts(same), strict=True))
    assert not np.array_equal(one.test, other.test)
    assert np.array_equal(one.test, split(CLASSES, task="classification", seed=3, stop=0.0, validation=0.1).test)


def test_labels_may_be_text() -> None:
    words = np.array(["no", "yes", "perhaps"])[CLASSES]
    for one, other in zip(
        parts(split(words, task="classification")), parts(split(CLASSES, task="classification")), strict=True
    ):
        assert len(one) == len(other)


def test_shares_of_zero_give_empty_parts() -> None:
    found = split(CLASSES, task="classification", test=0.0, stop=0.0)
    assert [len(part) for part in parts(found)] == [800, 0, 200, 0]
    assert covers(found, 1000)


def test_a_class_that_one_part_leaves_a_single_row_of_is_pooled() -> None:
    labels = np.array([0] * 60 + [1] * 40 + [2] * 2)
    for seed in range(4):
        with pytest.warns(PoiseWarning, match="only 2 row"):
            found = split(labels, task="classification", seed=seed, test=0.2, validation=0.0, stop=0.12)
        assert len(found.train) == 70


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_no_group_is_in_two_parts(task: str) -> None:
    groups = RNG.integers(0, 60, 1000)
    found = split(CLASSES if task == "classification" else CLASSES * 0.5, task=task, groups=groups)
    assert covers(found, 1000)
    seen = [set(groups[part]) for part in parts(found)]
    assert sum(len(one) for one in seen) == len(set(groups))
    np.testing.assert_allclose([len(part) / 1000 for part in parts(found)], [0.5, 0.1, 0.2, 0.2], atol=0.06)
    if task == "classification":
        for part in parts(found):
            np.testing.assert_allclose(np.bincount(CLASSES[part]) / len(part), [0.6, 0.3, 0.1], atol=0.07)


def test_few_groups_still_give_four_parts() -> None:
    groups = np.repeat(["a", "b", "c", "d"], 10)
    with pytest.warns(PoiseWarning, match="drawn by group only"):
        found = split([0, 1] * 20, task="classification", groups=groups)
    assert [len(part) for part in parts(found)] == [10, 10, 10, 10]
    with pytest.raises(DataError, match="needs at least 4 groups, one a part; got 3"):
        split([0, 1] * 20, task="classification", groups=[0, 1, 2, 2] * 10)


def test_time_runs_from_train_to_test() -> None:
    times = pd.date_range("2020-01-01", periods=1000, freq="D").to_numpy()[RNG.permutation(1000)]
    forms = "%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y %H:%M"
    for given_times in (times, *(pd.Series(times).dt.strftime(form).tolist() for form in forms)):
        found = split(CLASSES, task="classification", time=given_times)
        assert [len(part) for part in parts(found)] == [500, 100, 200, 200]
        for earlier, later in zip(parts(found), parts(found)[1:], strict=False):
            assert times[earlier].max() < times[later].min()


def test_rows_of_one_instant_stay_together() -> None:
    times = np.repeat(np.arange(13), 10)
    found = split(np.zeros(130), task="classification", time=times)
    assert covers(found, 130)
    assert sum(len(set(times[part])) for part in parts(found)) == 13
    with pytest.raises(DataError, match="needs at least 4 different times, one a part; got 3"):
        split([0] * 30, task="classification", time=[0, 1, 2] * 10)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(0, 6), min_size=5, max_size=60),
    st.integers(0, 100),
    st.sampled_from(["classification", "regression"]),
)
def test_any_target_is_covered_once(values: list[int], seed: int, task: str) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = split(values, task=task, seed=seed)
    assert covers(found, len(values))
    assert all(len(part) for part in parts(found))
    assert len(told) <= 1
    assert all(issubclass(one.category, PoiseWarning) for one in told)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=8, max_size=60), st.integers(0, 9))
def test_any_groups_are_kept_whole(rows: list[tuple[int, int]], seed: int) -> None:
    values, groups = np.array(rows).T
    for keyword in ("groups", "time"):
        if len(set(groups)) < 4:
            with pytest.raises(DataError, match="needs at least 4"):
                split(values, task="classification", seed=seed, **{keyword: groups})
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PoiseWarning)
            found = split(values, task="classification", seed=seed, **{keyword: groups})
        assert covers(found, len(values))
        assert sum(len(set(groups[part])) for part in parts(found)) == len(set(groups))
        assert all(len(part) for part in parts(found))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"test": 1.0}, r"`split.test` must be a share in \[0, 1\); got 1.0"),
        ({"stop": -0.1}, r"`split.stop` must be a share"),
        ({"validation": True}, r"`split.validation` must be a share"),
        ({"test": 0.5, "validation": 0.4}, "the shares sum to 1"),
        ({"seed": -1}, "`split.seed` must be a whole number of 0 or more; got -1"),
        ({"task": "rank"}, "`split.task` must be one of"),
        ({"groups": [0] * 1000, "time": [0] * 1000}, "`groups` or `time`, not both"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        split(CLASSES, **{"task": "classification", **arguments})


@pytest.mark.parametrize("keyword", ["groups", "time"])
def test_groups_and_times_must_be_there_for_every_row(keyword: str) -> None:
    with pytest.raises(DataError, match=f"y has 1000 rows, {keyword} has 3 rows"):
        split(CLASSES, task="classification", **{keyword: [1, 2, 3]})
    with pytest.raises(DataError, match=f"{keyword}, row 1: the (group|time) is missing"):
        split(CLASSES, task="classification", **{keyword: [1.0, np.nan] * 500})


def test_a_time_unlike_the_others_is_named() -> None:
    days = pd.date_range("2020-01-01", periods=1000, freq="D").strftime("%d.%m.%Y").tolist()
    with pytest.raises(DataError, match=r"time, row 1: 'soon' is no date like the others \(%d.%m.%Y\)"):
        split(CLASSES, task="classification", time=[days[0], "soon", *days[2:]])
    with pytest.raises(DataError, match=r"time: no one date format fits '01.01.2020' and all others\. Pass"):
        split(CLASSES, task="classification", time=[*days[:-1], "2020-01-01"])
