"""`poise.Classifier` and `poise.Regressor` hold scikit-learn's contract, on real tables too."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.metrics import log_loss, r2_score
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.utils.estimator_checks import parametrize_with_checks

import poise
from poise.core.errors import ArgumentError, DataError, PoiseWarning
from poise.data import Target
from poise.study import load_model
from poise.study.cohort import plan_for
from poise.study.estimator_rows import class_weights_of


@pytest.fixture(autouse=True)
def whole_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits of full length, also in a session whose other tests have shortened them (`short` in conftest.py)."""
    monkeypatch.setattr("poise.study.fit.plan_for", plan_for)


SMALL: dict[str, Any] = {"budget": "1trials", "jobs": 1, "width": 8, "depth": 1, "parts": ("dropout", "patience")}


@pytest.mark.filterwarnings("default")  # the checks themselves warn of what they leave out
@parametrize_with_checks([poise.Classifier(**SMALL), poise.Regressor(**SMALL)])
def test_estimators_hold_scikit_learns_contract(estimator: Any, check: Any) -> None:
    check(estimator)


def test_item_10_one_class_gives_a_constant_predictor() -> None:
    model = poise.Classifier(**SMALL).fit(np.arange(12.0).reshape(-1, 1), ["only"] * 12)
    assert model.predict([[3.0], [50.0]]).tolist() == ["only", "only"]
    assert model.predict_proba([[3.0]]).tolist() == [[1.0]]


def test_item_11_a_class_of_one_row_keeps_its_column_of_probabilities() -> None:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(60, 3))
    labels = np.array(["a", "b"] * 29 + ["a", "rare"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", poise.PoiseWarning)  # a class too small to divide is said, not refused
        model = poise.Classifier(**SMALL).fit(rows, labels)
    assert model.classes_.tolist() == ["a", "b", "rare"]
    assert model.predict_proba(rows).shape == (60, 3)
    assert np.allclose(model.predict_proba(rows).sum(1), 1.0)


@pytest.mark.parametrize(
    ("item", "weights", "says"),
    [
        (40, np.zeros(30), "above zero"),
        (41, np.r_[-1.0, np.ones(29)], "sample_weight"),
        (42, np.ones(7), "30"),
    ],
    ids=["40", "41", "42"],
)
def test_bad_row_weights_are_refused(item: int, weights: np.ndarray, says: str) -> None:
    rows = np.random.default_rng(0).normal(size=(30, 2))
    with pytest.raises(DataError, match=says):
        poise.Regressor(**SMALL).fit(rows, rows[:, 0], sample_weight=weights)


@pytest.mark.parametrize(
    ("argument", "value"),
    [("budget", "soon"), ("seed", -1), ("parts", ("no such part",)), ("device", "tpu"), ("jobs", 0), ("width", 0)],
)
def test_a_wrong_argument_is_named_in_fit(argument: str, value: Any) -> None:
    rows = np.random.default_rng(0).normal(size=(30, 2))
    with pytest.raises(ArgumentError, match=argument):
        poise.Regressor(**{**SMALL, argument: value}).fit(rows, rows[:, 0])


def test_the_same_seed_gives_the_same_bits_and_global_generators_stay(rng_untouched: None) -> None:
    rows = np.linspace(-1, 1, 320).reshape(80, 4) ** 3
    target = rows @ np.array([1.0, -2.0, 0.5, 0.0])
    first, second = (poise.Regressor(**SMALL).fit(rows, target).predict(rows) for _ in range(2))
    assert (first == second).all()


def test_balanced_class_weights_move_the_decision_and_not_the_probabilities() -> None:
    generator = np.random.default_rng(1)
    rows = generator.normal(size=(600, 2))
    labels = (rows[:, 0] + generator.normal(size=600) > 1.6).astype(int)  # about an eighth
    options = {**SMALL, "budget": "4trials", "width": 16}
    plain = poise.Classifier(**options).fit(rows[:400], labels[:400])
    fair = poise.Classifier(**options, class_weight="balanced").fit(rows[:400], labels[:400])
    assert abs(fair.predict_proba(rows[400:])[:, 1].mean() - labels[:400].mean()) < 0.06
    assert fair.predict(rows[400:]).mean() > plain.predict(rows[400:]).mean() + 0.05


def test_it_clones_and_cross_validates() -> None:
    rows, target = load_diabetes(return_X_y=True)
    model = poise.Regressor(**{**SMALL, "budget": "2trials", "width": 32})
    assert clone(model).get_params() == model.get_params()
    assert cross_val_score(model, rows, target, cv=2, scoring="r2").mean() > 0.2


def test_a_column_that_is_empty_in_one_fold_is_left_out_there_and_told() -> None:
    rows, target = load_diabetes(return_X_y=True, as_frame=True)
    rare = rows.assign(rare=np.where(np.arange(len(rows)) < 3, 1.0, np.nan))
    model = poise.Regressor(**{**SMALL, "width": 32})
    plain = cross_val_score(model, rows, target, cv=2)
    with pytest.warns(PoiseWarning, match=r"column 'rare': all 221 values are missing"):
        scores = cross_val_score(model, rare, target, cv=2, error_score="raise")
    assert scores[0] == plain[0]
    assert scores[1] != plain[1]


def test_real_tables_beat_the_prior_by_a_margin() -> None:
    rows, target = load_breast_cancer(return_X_y=True)
    train, test, known, truth = train_test_split(rows, target, test_size=0.3, random_state=0, stratify=target)
    classifier = poise.Classifier(budget="4trials", jobs=1, width=32).fit(train, known)
    assert log_loss(truth, classifier.predict_proba(test)) < 0.3  # 0.66 is the prior's
    rows, target = load_diabetes(return_X_y=True)
    train, test, known, truth = train_test_split(rows, target, test_size=0.3, random_state=0)
    regressor = poise.Regressor(budget="4trials", jobs=1, width=32).fit(train, known)
    assert r2_score(truth, regressor.predict(test)) > 0.25


def test_a_saved_model_predicts_the_same_in_a_fresh_process(tmp_path: Path) -> None:
    rows, target = load_breast_cancer(return_X_y=True, as_frame=True)
    model = poise.Classifier(**SMALL).fit(rows, target)
    model.save(str(tmp_path / "model"))
    here = load_model(tmp_path / "model").predict_frame(rows.head(20))
    assert np.array_equal(here.iloc[:, 1:].to_numpy(), model.predict_proba(rows.head(20)))
    rows.head(20).to_csv(tmp_path / "new.csv", index=False)
    script = (
        "import sys; from poise.study import load_model; from poise.data import read; "
        "print(load_model(sys.argv[1]).predict_frame(read(sys.argv[2]).frame).iloc[:, 1].sum().hex())"
    )
    run = [sys.executable, "-c", script, str(tmp_path / "model"), str(tmp_path / "new.csv")]
    out = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert float.fromhex(out.strip()) == here.iloc[:, 1].sum()


def test_a_rare_class_of_whole_numbers_is_named_plainly() -> None:
    target = Target.fit([0, 0, 0, 1, 1])
    with pytest.warns(PoiseWarning, match="^class 1 has fewer than 3 rows"):
        class_weights_of(None, target, target.encode([0, 0, 0, 1, 1]), None)
