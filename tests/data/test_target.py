import json

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.preprocessing import LabelEncoder, StandardScaler
from sklearn.utils.class_weight import compute_class_weight

from poise.core.errors import ArgumentError, DataError
from poise.data import Target

LABELS = [
    ["b", "a", "b", "c"],
    np.array(["b", "a", "b"]),
    [True, False, True],
    np.array([3, 1, 3, 1], np.int32),
    np.array([0.0, 1.0, 1.0], np.float32),
    pd.Series(["b", "a", "b"], dtype="category"),
    pd.Series(pd.Categorical([5, 2, 5])),
    pd.array([1, 0, 1], "Int64"),
    pd.array([True, False], "boolean"),
    pl.Series(["x", "y", "x"]),
    pl.Series([1, 2, 1]),
]


@pytest.mark.parametrize("labels", LABELS, ids=lambda labels: str(getattr(labels, "dtype", labels)))
def test_classes_equal_sklearn(labels: object) -> None:
    plain = np.asarray(labels)
    theirs, target = LabelEncoder().fit(plain), Target.fit(labels)
    assert target.task == "classification"
    assert target.classes is not None
    assert target.classes.tolist() == theirs.classes_.tolist()
    codes = target.encode(labels)
    assert codes.dtype == np.int64
    assert np.array_equal(codes, theirs.transform(plain))
    assert target.decode(codes).tolist() == plain.tolist()
    again = Target.from_state(json.loads(json.dumps(target.state())))
    assert again.classes is not None
    assert again.classes.dtype == target.classes.dtype
    assert again.decode(codes).tolist() == plain.tolist()
    weights = compute_class_weight("balanced", classes=theirs.classes_, y=plain)
    np.testing.assert_allclose(again.class_weights("balanced"), weights, rtol=1e-15)


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.uint8, np.float32, bool])
def test_labels_keep_their_type(kind: type) -> None:
    target = Target.fit(np.array([0, 1, 1], kind))
    assert target.decode(np.array([0, 1])).dtype == kind


@pytest.mark.parametrize(
    ("values", "task", "reason"),
    [
        ([0.5, 1.5, 1.5], "regression", "the numbers have decimals"),
        ([0.0, 1.0, 1.0], "classification", "whole numbers with 2 different values"),
        ([*range(10)] * 2, "classification", "whole numbers with 10 different values"),
        ([*range(11)] * 5, "regression", "whole numbers with 11 different values"),
        ([0, 1, 2], "regression", "whole numbers with 3 different values"),
        (["1", "2", "3"], "classification", "the values are text"),
        (pd.Categorical([1, 2, 3, 4]), "classification", "the column is a category"),
        ([True, False], "classification", "the values are booleans"),
    ],
)
def test_the_rule(values: object, task: str, reason: str) -> None:
    target = Target.fit(values)
    assert (target.task, target.reason) == (task, reason)


def test_an_asked_task_wins() -> None:
    assert Target.fit([0, 1, 1], task="regression").task == "regression"
    assert Target.fit([*range(50)], task="classification").task == "classification"
    with pytest.raises(DataError, match="'a' is no number, but the task is regression"):
        Target.fit(["a", "b"], task="regression")


def test_numbers_equal_sklearn_standard_scaler() -> None:
    values = 1e6 + np.random.default_rng(0).normal(size=200)
    target, theirs = Target.fit(values), StandardScaler().fit(values[:, None])
    encoded = target.encode(values)
    assert encoded.dtype == np.float32
    np.testing.assert_allclose(encoded, theirs.transform(values[:, None])[:, 0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(target.decode(encoded), values, rtol=0, atol=1e-6)
    assert Target.from_state(json.loads(json.dumps(target.state()))).encode(values).tolist() == encoded.tolist()


def test_a_constant_amount_is_zero() -> None:
    target = Target.fit([0.1] * 10)
    assert np.abs(target.encode([0.1])).max() < 1e-6
    assert target.decode([0.0]).tolist() == pytest.approx([0.1])


def test_an_unknown_label_is_named() -> None:
    with pytest.raises(DataError, match=r"column 'left', row 1: 'maybe' is none of the 2 classes"):
        Target.fit(["no", "yes"], name="left").encode(["no", "maybe"])


def test_weights_by_label() -> None:
    target = Target.fit(["no", "yes", "no"])
    assert target.class_weights(None).tolist() == [1, 1]
    assert target.class_weights({"yes": 3}).tolist() == [1, 3]
    for scheme, message in (("even", 'must be "balanced"'), ({"so": 1}, "known classes; got 'so'")):
        with pytest.raises(ArgumentError, match=message):
            target.class_weights(scheme)
    with pytest.raises(ArgumentError, match="needs classes"):
        Target.fit([0.5, 1.5]).class_weights("balanced")


@pytest.mark.parametrize("codes", [[2], [-1], [0.5]])
def test_codes_outside_the_classes_are_refused(codes: list[float]) -> None:
    with pytest.raises(ArgumentError, match=r"takes codes 0 \.\. 1"):
        Target.fit(["a", "b"]).decode(codes)


def test_arguments_are_checked() -> None:
    with pytest.raises(ArgumentError, match=r"`Target.task` must be one of None, 'class.*; got 'rank'"):
        Target.fit([0, 1], task="rank")
    for nothing in (None, []):
        with pytest.raises(DataError, match=r"y is None|0 target values"):
            Target.fit(nothing)
