"""`Classifier` and `Regressor` with a y of several columns: scikit-learn's conventions, holes, constant columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_linnerud, load_wine
from sklearn.metrics import accuracy_score, log_loss, r2_score
from sklearn.model_selection import KFold, cross_val_score

import poise
from poise.core.errors import ArgumentError, DataError
from poise.study import load_model
from poise.study.cohort import plan_for

SMALL: dict[str, Any] = {"budget": "2trials", "jobs": 1, "width": 32, "depth": 1, "parts": ("dropout", "patience")}


@pytest.fixture(autouse=True)
def whole_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits of full length, also in a session whose other tests have shortened them."""
    monkeypatch.setattr("poise.study.fit.plan_for", plan_for)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(160, 4))


@pytest.fixture(scope="module")
def numbers(rows: np.ndarray) -> np.ndarray:
    """Two amounts of very different size."""
    signal = rows @ np.array([[1.0, -2.0], [1.0, 0.0], [0.0, 1.0], [0.5, 0.0]])
    return np.asarray(signal * [1.0, 1000.0] + [0.0, 5e4])


def test_numbers_are_predicted_together_each_in_its_own_units(rows: np.ndarray, numbers: np.ndarray) -> None:
    model = poise.Regressor(**SMALL).fit(rows[:120], numbers[:120])
    found = model.predict(rows[120:])
    assert found.shape == (40, 2)
    assert found.dtype == np.float64
    assert (r2_score(numbers[120:], found, multioutput="raw_values") > 0.8).all()
    assert model.score(rows[120:], numbers[120:]) == pytest.approx(r2_score(numbers[120:], found))
    assert model.n_outputs_ == 2


def test_the_order_of_columns_is_that_of_y(rows: np.ndarray, numbers: np.ndarray) -> None:
    frame = pd.DataFrame(numbers, columns=["small", "large"])
    model = poise.Regressor(**SMALL).fit(rows, frame)
    assert model.model_ is not None
    assert [answer.target.name for answer in model.model_.answers] == ["small", "large"]
    assert model.predict(rows)[:, 1].mean() > 1e4 > abs(model.predict(rows)[:, 0].mean())


def test_classes_give_lists_as_scikit_learns_forests_do(rows: np.ndarray) -> None:
    labels = np.column_stack([np.where(rows[:, 0] > 0, "up", "down"), np.digitize(rows[:, 1], [-0.5, 0.5]).astype(str)])
    model = poise.Classifier(**SMALL).fit(rows, labels)
    assert [own.tolist() for own in model.classes_] == [["down", "up"], ["0", "1", "2"]]
    chances, found = model.predict_proba(rows), model.predict(rows)
    assert [own.shape for own in chances] == [(160, 2), (160, 3)]
    assert found.shape == labels.shape
    for place in range(2):
        np.testing.assert_allclose(chances[place].sum(1), 1.0)
        assert np.array_equal(found[:, place], model.classes_[place][chances[place].argmax(1)])
        assert accuracy_score(labels[:, place], found[:, place]) > 0.85


def test_classes_of_two_types_keep_them(rows: np.ndarray) -> None:
    frame = pd.DataFrame({"word": np.where(rows[:, 0] > 0, "up", "down"), "digit": (rows[:, 1] > 0).astype(int)})
    found = poise.Classifier(**SMALL).fit(rows, frame).predict(rows)
    assert {type(value) for value in found[:, 0]} == {str}
    assert set(found[:, 1]) == {0, 1}


def test_a_row_may_lack_labels_and_one_that_lacks_all_is_left_out(rows: np.ndarray, numbers: np.ndarray) -> None:
    holes = numbers.copy()
    holes[::3, 0], holes[1::4, 1] = np.nan, np.nan
    model = poise.Regressor(**SMALL).fit(rows, holes)
    assert (r2_score(numbers, model.predict(rows), multioutput="raw_values") > 0.7).all()
    bare = np.isnan(holes).all(1)
    assert bare.any()
    same = poise.Regressor(**SMALL).fit(rows[~bare], holes[~bare])
    assert np.array_equal(model.predict(rows), same.predict(rows))


def test_classes_may_be_missing_too(rows: np.ndarray) -> None:
    labels = pd.DataFrame({"a": rows[:, 0] > 0, "b": np.where(rows[:, 1] > 0, "yes", "no")}).astype(object)
    labels.loc[::3, "a"] = None
    labels.loc[1::5, "b"] = None
    chances = poise.Classifier(**SMALL, class_weight="balanced").fit(rows, labels).predict_proba(rows)
    assert log_loss(rows[:, 0] > 0, chances[0]) < 0.5
    assert log_loss(rows[:, 1] > 0, chances[1]) < 0.5


def test_a_column_without_any_label_is_named(rows: np.ndarray, numbers: np.ndarray) -> None:
    with pytest.raises(DataError, match="'y1' of y holds no label"):
        poise.Regressor(**SMALL).fit(rows, np.column_stack([numbers[:, 0], np.full(160, np.nan)]))


def test_a_column_that_is_always_the_same_is_predicted_so(rows: np.ndarray, numbers: np.ndarray) -> None:
    found = poise.Regressor(**SMALL).fit(rows, np.column_stack([np.full(160, 7.0), numbers[:, 0]])).predict(rows)
    assert (found[:, 0] == 7.0).all()
    assert r2_score(numbers[:, 0], found[:, 1]) > 0.8
    labels = np.column_stack([np.where(rows[:, 0] > 0, "up", "down"), np.full(160, "same")])
    model = poise.Classifier(**SMALL).fit(rows, labels)
    assert model.predict_proba(rows)[1].tolist() == [[1.0]] * 160
    assert set(model.predict(rows)[:, 1]) == {"same"}
    constant = poise.Regressor(**SMALL).fit(rows, np.tile([1.0, 2.0], (160, 1)))
    assert constant.model_ is None
    assert constant.predict(rows[:3]).tolist() == [[1.0, 2.0]] * 3


def test_a_row_of_weight_2_is_the_row_twice_to_the_last_bit(rows: np.ndarray, numbers: np.ndarray) -> None:
    holes = numbers.copy()
    holes[::5, 0] = np.nan
    counts = np.where(np.arange(160) % 4 == 0, 2, 1)
    weighted = poise.Regressor(**SMALL).fit(rows, holes, sample_weight=counts)
    twice = poise.Regressor(**SMALL).fit(np.repeat(rows, counts, 0), np.repeat(holes, counts, 0))
    assert np.array_equal(weighted.predict(rows), twice.predict(rows))


def test_class_weight_is_one_for_all_columns_or_a_list(rows: np.ndarray) -> None:
    labels = np.column_stack([rows[:, 0] > 1.0, rows[:, 1] > 0]).astype(int)
    plain = poise.Classifier(**SMALL).fit(rows, labels)
    own = poise.Classifier(**SMALL, class_weight=["balanced", None]).fit(rows, labels)
    assert own.model_ is not None
    assert own.model_.answers[0].decision_weights is not None
    assert own.model_.answers[1].decision_weights is None
    assert own.predict(rows)[:, 0].sum() >= plain.predict(rows)[:, 0].sum()
    with pytest.raises(ArgumentError, match="one entry for each of 2 targets; got 3"):
        poise.Classifier(**SMALL, class_weight=[None] * 3).fit(rows, labels)
    with pytest.raises(ArgumentError, match="one mapping a target"):
        poise.Classifier(**SMALL, class_weight={0: 1, 1: 2}).fit(rows, labels)


def test_a_list_of_rows_is_a_y_of_several_columns(rows: np.ndarray, numbers: np.ndarray) -> None:
    model = poise.Regressor(**SMALL)
    of_lists = clone(model).fit(rows.tolist(), numbers.tolist()).predict(rows)
    assert np.array_equal(of_lists, clone(model).fit(rows, numbers).predict(rows))


def test_linnerud_and_wine_fit_and_cross_validate() -> None:
    X, y = load_linnerud(return_X_y=True)
    assert poise.Regressor(**SMALL).fit(X, y).predict(X).shape == (20, 3)
    X, kind = load_wine(return_X_y=True)
    both = np.column_stack([kind == 0, kind == 1]).astype(int)
    folds = KFold(2, shuffle=True, random_state=0)
    assert cross_val_score(poise.Classifier(**SMALL), X, both, cv=folds).mean() > 0.85  # both labels right


def test_a_saved_model_answers_each_column(tmp_path: Path, rows: np.ndarray, numbers: np.ndarray) -> None:
    frame = pd.DataFrame(rows, columns=list("abcd"))
    model = poise.Regressor(**SMALL).fit(frame, pd.DataFrame(numbers, columns=["p", "q"]))
    model.save(str(tmp_path / "model"))
    found = load_model(tmp_path / "model").predict_frame(frame)
    assert list(found) == ["p prediction", "q prediction"]
    assert np.array_equal(found.to_numpy(), model.predict(frame))
