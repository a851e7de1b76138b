"""A table made ready: nothing is learnt from test rows, and what cannot be used is left out and said."""

import re

import numpy as np
import pandas as pd
import pytest

from poise.core.errors import DataError
from poise.data import Table, Target
from poise.study.prepare import Prepared, prepare
from poise.study.table_network import Design


def made(frame: pd.DataFrame, column: str = "label", **rest: object) -> Prepared:
    features = frame.drop(columns=[name for name in ("label", "amount") if name in frame])
    table = Table("made", features, frame[[column]])
    options = {"seed": 0, "task": None, "groups": None, "time": None, "class_weight": "balanced", "design": Design()}
    return prepare(table, **(options | rest))  # type: ignore[arg-type]


def test_test_and_development_rows_share_none_and_cover_all(ready: Prepared) -> None:
    together = np.concatenate([ready.development, ready.parts.test])
    assert sorted(together) == list(range(90))
    assert len(ready.problem.rows) == len(ready.development)
    assert np.array_equal(ready.problem.rows.inputs.numpy(), ready.inputs[ready.development])


@pytest.mark.parametrize("column", ["label", "amount"])
def test_garbage_in_the_test_rows_leaves_the_problem_as_it_was_bit_for_bit(column: str, frame: pd.DataFrame) -> None:
    frame = frame.assign(same=1.0, number=1.0)
    clean, dirty = made(frame, column), frame.copy()
    test = clean.parts.test
    dirty.loc[test, ["a", "b"]] = 1e6
    dirty.loc[test, "c"] = np.nan
    dirty.loc[test, "kind"] = "never seen"
    dirty.loc[test, "same"] = np.arange(len(test))  # no longer constant, but for those who may look
    if column == "amount":  # the amounts themselves, too, as long as they are in the same order
        dirty.loc[test, "amount"] = frame.amount[test] + 1e-6 * frame.amount[test].rank()
    found = made(dirty, column)
    assert np.array_equal(found.parts.test, test)
    assert found.problem.rows.inputs.equal(clean.problem.rows.inputs)
    assert found.problem.rows.targets.equal(clean.problem.rows.targets)
    assert found.columns == clean.columns
    assert found.encoder.input_names == clean.encoder.input_names
    assert np.isfinite(found.inputs).all()


def test_the_scale_of_numbers_and_the_weights_of_classes_are_those_of_the_development_rows(
    ready: Prepared, numbers: Prepared
) -> None:
    assert numbers.table.target is not None
    own = numbers.table.target.to_numpy()[numbers.development]
    assert (numbers.targets[0].mean, numbers.targets[0].scale) == pytest.approx((own.mean(), own.std()), rel=1e-12)
    assert ready.table.target is not None
    oracle = Target.fit(ready.table.target.iloc[ready.development]).class_weights("balanced")
    assert ready.problem.heads[0].decision_weights is not None
    np.testing.assert_allclose(ready.problem.heads[0].decision_weights, oracle)


def test_no_class_weights_are_made_up(frame: pd.DataFrame) -> None:
    problem = made(frame, class_weight=None).problem
    assert problem.heads[0].class_weights is None
    assert problem.heads[0].decision_weights is None


def test_columns_of_groups_and_time_are_no_features_and_divide_the_rows(frame: pd.DataFrame) -> None:
    wide = frame.assign(who=np.arange(90) % 12, when=np.random.default_rng(0).permutation(90))
    by_group = made(wide.drop(columns="when"), groups="who")
    assert by_group.columns["who"] == "groups (no feature)"
    assert set(by_group.encoder.input_names) == {"a", "b", "c", "kind"}
    tested = set(wide.who.iloc[by_group.parts.test])
    assert not tested & set(wide.who.iloc[by_group.development])
    assert by_group.groups is not None
    assert len(np.unique(by_group.groups)) == 12 - len(tested)
    by_time = made(wide.drop(columns="who"), time="when")
    assert by_time.columns["when"] == "time (no feature)"
    assert not any("'when'" in told for told in by_time.warnings), "it is of use, though it numbers the rows"
    assert "when" not in by_time.encoder.input_names
    assert wide.when.iloc[by_time.parts.test].min() > wide.when.iloc[by_time.development].max()


def test_classes_of_whole_numbers_stay_whole_where_a_label_is_missing(frame: pd.DataFrame) -> None:
    holes = frame.assign(label=np.arange(90) % 2.0)
    holes.loc[[3, 50], "label"] = None
    found = made(holes)
    assert found.targets[0].labels.tolist() == [0, 1]
    assert found.targets[0].labels.dtype.kind == "i"
    assert found.table.target is not None
    assert found.table.target.astype(str).unique().tolist() == ["0", "1"]
    assert made(holes.assign(label=holes.label / 4)).targets[0].task == "regression"


def test_rows_without_a_target_are_left_out_with_a_note_and_keep_their_positions(frame: pd.DataFrame) -> None:
    holes = frame.copy()
    holes.loc[[3, 50], "label"] = None
    found = made(holes)
    assert len(found.table.frame) == 88
    assert found.warnings[0] == "2 rows without a target were left out."
    assert found.origin.tolist() == [n for n in range(90) if n not in (3, 50)]
    pd.testing.assert_series_equal(
        found.table.frame.a, frame.a.iloc[found.origin].reset_index(drop=True), check_names=False
    )


def test_columns_of_no_use_are_left_out(frame: pd.DataFrame) -> None:
    more = frame.assign(id=[f"row-{n}" for n in range(90)], same=1, void=np.nan)
    found = made(more)
    assert set(found.encoder.input_names) == {"a", "b", "c", "kind"}
    assert len(found.warnings) >= 3
    assert found.warnings[-1] == "3 columns left out, of no use to a model: ['id', 'same', 'void']."
    with pytest.raises(DataError, match="no usable column"):
        made(more[["id", "same", "void", "label"]])


def test_one_class_or_one_amount_is_refused(frame: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="one class"):
        made(frame.assign(label="yes"))
    with pytest.raises(DataError, match="one amount"):
        made(frame.assign(amount=2.5), "amount", task="regression")


def test_a_level_that_only_test_rows_have_is_told_of(frame: pd.DataFrame) -> None:
    odd = frame.copy()
    odd.loc[made(frame).parts.test[0], "kind"] = "odd"
    assert any("kind" in note for note in made(odd).warnings)


def test_a_class_that_only_test_rows_have_is_kept(frame: pd.DataFrame) -> None:
    for seed in range(30):
        rare = frame.copy()
        rare.loc[7, "label"] = "rare"
        found = made(rare, seed=seed)
        assert found.problem.heads[0].classes == 3
        weights = found.problem.heads[0].decision_weights
        assert weights is not None
        assert np.isfinite(weights).all()


@pytest.mark.parametrize(
    ("value", "options", "message"),
    [
        (np.inf, {}, "column 'a', row 80: inf is infinity"),
        ("word", {}, "column 'a', row 80: 'word' makes a column of float and str"),
        (None, {"groups": "a"}, "column 'a', row 80: the value is missing, but rows are divided by groups"),
        (None, {"time": "a"}, "column 'a', row 80: the value is missing, but rows are divided by time"),
    ],
)
def test_what_is_wrong_is_named_by_the_row_of_the_table(
    frame: pd.DataFrame, value: object, options: dict[str, str], message: str
) -> None:
    wrong = frame.astype({"a": object, "label": object})
    wrong.loc[80, "a"] = value
    wrong.loc[:9, "label"] = None  # left out, as rows without a label are
    with pytest.raises(DataError, match=re.escape(message)):
        made(wrong, **options)
