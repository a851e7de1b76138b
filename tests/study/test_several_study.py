"""A whole study of several targets: its scores are those of its files, and each target alone is a fair rival."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_linnerud
from sklearn.metrics import balanced_accuracy_score, log_loss, r2_score, root_mean_squared_error

from poise.core.errors import ArgumentError, DataError, PoiseWarning
from poise.study import Study
from poise.study.model import load_model
from poise.study.report import summary
from poise.study.result import StudyResult, result_from_json
from poise.study.source_table import TableSource
from poise.study.table_network import Design

TABLE = Path(__file__).parents[3] / "shared" / "data" / "tables" / "horse_colic.parquet"

pytestmark = pytest.mark.usefixtures("short")


def study(source: object, target: list[str], out: Path | None = None, **rest: Any) -> Study:
    options: dict[str, Any] = {"budget": "3trials", "jobs": 1, "parts": ["dropout", "label_smoothing", "patience"]}
    return Study(source, target=target, out=out, design=Design(width=16, depth=1), **(options | rest))


@pytest.fixture(scope="module")
def run(holes: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory, short: None) -> Study:
    """Classes and a number, some of both missing."""
    own = study(holes, ["label", "amount"], tmp_path_factory.mktemp("several") / "out")
    own.run()
    return own


@pytest.fixture(scope="module")
def result(run: Study) -> StudyResult:
    assert run.result is not None
    return run.result


@pytest.fixture(scope="module")
def predictions(run: Study) -> pd.DataFrame:
    assert run.out is not None
    return pd.read_csv(run.out / "predictions.csv")


def ensemble(result: StudyResult) -> dict[str, float]:
    return {s.metric: s.value.value for arm in result.arms if arm.name == "poise ensemble" for s in arm.scores}


def test_predictions_stand_beside_the_truth_of_each_target(predictions: pd.DataFrame, holes: pd.DataFrame) -> None:
    kinds = ["label truth", "label prediction", "label probability no", "label probability yes"]
    assert list(predictions) == ["row", *kinds, "amount truth", "amount prediction"]
    for name in ("label", "amount"):
        wanted = holes[name].iloc[predictions.row].reset_index(drop=True)
        pd.testing.assert_series_equal(predictions[f"{name} truth"], wanted, check_names=False, check_dtype=False)


def test_scores_are_scikit_learns_on_the_rows_that_know_the_target(
    result: StudyResult, predictions: pd.DataFrame, run: Study
) -> None:
    scores, known = ensemble(result), predictions.dropna(subset="label truth")
    chances = known[["label probability no", "label probability yes"]].to_numpy()
    assert scores["log_loss/label"] == pytest.approx(log_loss(known["label truth"], chances), rel=1e-5)
    balanced = balanced_accuracy_score(known["label truth"], known["label prediction"])
    assert scores["balanced_accuracy/label"] == pytest.approx(balanced)
    known = predictions.dropna(subset="amount truth")
    truth, found = known["amount truth"], known["amount prediction"]
    assert scores["rmse/amount"] == pytest.approx(root_mean_squared_error(truth, found), rel=1e-5)
    assert scores["r2/amount"] == pytest.approx(r2_score(truth, found), rel=1e-4)
    assert run.model is not None
    scale = run.model.answers[1].target.scale
    mean = (scores["log_loss/label"] + (scores["rmse/amount"] / scale) ** 2) / 2
    assert scores["mean_loss"] == pytest.approx(mean, rel=1e-6)


def test_every_metric_has_a_gap_before_and_after_and_a_score_in_each_arm(result: StudyResult) -> None:
    names = [metric.name for metric in result.metrics]
    assert names == ["mean_loss", "log_loss/label", "balanced_accuracy/label", "rmse/amount", "r2/amount"]
    assert [metric.primary for metric in result.metrics] == [True, False, False, False, False]
    assert [gap.metric for gap in result.before] == [gap.metric for gap in result.after] == names
    for arm in result.arms:
        assert [score.metric for score in arm.scores] == names
        assert all(np.isfinite(score.value.value) for score in arm.scores)
    assert "gradient boosting" in {arm.name for arm in result.arms}


def test_the_result_names_the_targets_and_reads_back_equal(result: StudyResult, run: Study) -> None:
    assert (result.target, result.task, result.classes) == ("label, amount", "several targets", ())
    facts = [(own.name, own.task, own.classes) for own in result.targets]
    assert facts == [("label", "classification", ("no", "yes")), ("amount", "regression", ())]
    assert run.out is not None
    assert result_from_json((run.out / "result.json").read_text(encoding="utf-8")) == result


def test_a_result_written_before_there_were_several_targets_still_loads(result: StudyResult, run: Study) -> None:
    assert run.out is not None
    values = json.loads((run.out / "result.json").read_text(encoding="utf-8"))
    old = {name: value for name, value in values.items() if name not in ("targets", "together")}
    back = result_from_json(json.dumps(old))
    assert (back.targets, back.together) == ((), ())
    assert back.arms == result.arms


def test_the_model_on_disk_predicts_the_same(run: Study, predictions: pd.DataFrame) -> None:
    assert run.out is not None
    model = load_model(run.out)
    assert isinstance(run.source, TableSource)
    frame = run.source.table.frame.iloc[predictions.row][list(model.encoder.input_names)]
    again = model.predict_frame(frame).reset_index(drop=True)
    own = predictions.drop(columns=["row", "label truth", "amount truth"])
    pd.testing.assert_frame_equal(own, again, check_exact=True, check_dtype=False)


def test_each_target_is_compared_with_itself_alone_seed_by_seed(result: StudyResult) -> None:
    assert [(item.target, item.metric.name) for item in result.together] == [("label", "log_loss"), ("amount", "rmse")]
    for item in result.together:
        assert len(item.gain_seeds) == 5
        assert item.gain.value == pytest.approx(np.mean(item.gain_seeds))
        assert item.gain.value == pytest.approx(item.alone - item.together)


def test_the_report_and_the_terminal_tell_of_each_target(result: StudyResult, run: Study) -> None:
    assert run.out is not None
    page, text = (run.out / "report.html").read_text(encoding="utf-8"), summary(result)
    assert 'id="together"' in page
    assert "2 targets, learned by one network" in page
    assert "(2 targets)" in text
    for item in result.together:
        assert f"{item.target}: {item.metric.label}" in page
        assert f"{item.target}: {item.metric.label}" in text
        assert item.verdict in page
    assert max(map(len, text.splitlines())) <= 78


def test_the_report_of_one_target_has_no_word_of_several(tmp_path: Path, frame: pd.DataFrame) -> None:
    own = study(frame.drop(columns="amount"), ["label"], tmp_path / "out", ablation=False)
    result = own.run()
    assert (result.targets, result.together) == ((), ())
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "together" not in page.partition("</style>")[2].lower()
    assert "together" not in summary(result).lower()


def test_the_same_seed_finds_the_same_whatever_the_number_of_workers(holes: pd.DataFrame, result: StudyResult) -> None:
    again = study(holes, ["label", "amount"], jobs=2).run()
    assert again.trials == result.trials
    assert again.together == result.together


def test_a_target_named_twice_or_missing_is_refused_before_any_work(frame: pd.DataFrame) -> None:
    with pytest.raises(ArgumentError, match="each column once; got 'label' twice"):
        study(frame, ["label", "label"])
    with pytest.raises(DataError, match=r"column 'amuont': no such column .* Did you mean 'amount'"):
        study(frame, ["label", "amuont"])
    with pytest.raises(ArgumentError, match="list of texts"):
        study(frame, [])
    with pytest.raises(DataError, match="0 feature"):
        study(frame[["label", "amount"]], ["label", "amount"])


def test_a_task_can_be_given_by_target(frame: pd.DataFrame) -> None:
    table = frame.assign(stars=np.arange(len(frame)) % 3)
    found = study(table, ["label", "stars"], task={"stars": "regression"}, ablation=False).run()
    assert [own.task for own in found.targets] == ["classification", "regression"]
    with pytest.raises(ArgumentError, match=r"Study\.task"):
        study(table, ["label", "stars"], task={"stars": "ranking"})
    with pytest.raises(ArgumentError, match=r"Study\.task` must name targets.*got 'star'"):
        study(table, ["label", "stars"], task={"star": "regression"})


def test_scikit_learns_table_of_three_numbers() -> None:
    bunch = load_linnerud(as_frame=True)  # 20 rows: 3 exercises, 3 measures of the body
    run = study(bunch.frame, list(bunch.target.columns), ablation=False)
    result = run.run()
    assert result.target == "Weight, Waist, Pulse"
    assert run.predictions is not None
    for name in bunch.target:
        far = (run.predictions[f"{name} prediction"] - bunch.target[name].mean()).abs() / bunch.target[name].std()
        assert len(far) == 4
        assert (far < 4).all()  # in the target's own units, whose means are 179, 35 and 56


@pytest.mark.skipif(not TABLE.is_file(), reason=f"the shared tables are not at {TABLE.parent}")
def test_a_real_table_with_three_outcomes_and_many_holes() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PoiseWarning)  # of rare levels
        run = study(str(TABLE), ["target", "outcome", "packed_cell_volume"], budget="4trials", ablation=False)
        result = run.run()
    tasks = {own.name: (own.task, own.labels) for own in result.targets}
    assert tasks["outcome"][0] == "classification"
    assert tasks["packed_cell_volume"][0] == "regression"
    assert tasks["packed_cell_volume"][1] < tasks["target"][1] == 368
    assert ensemble(result)["mean_loss"] < 1.0


def test_a_target_that_a_fold_has_no_label_of_leaves_the_gap_of_the_others(frame: pd.DataFrame) -> None:
    rare = frame.copy()
    rare["amount"] = frame.amount.where(frame.index % 30 == 7)  # three labels, one of them in the test part
    own = study(rare, ["label", "amount"], seed=1)
    result = own.run()
    assert any("the gap in mean loss leaves out ['amount']" in note for note in result.warnings)
    for gaps in (result.before, result.after):
        mean, loss = gaps[:2]
        assert (mean.metric, loss.metric) == ("mean_loss", "log_loss/label")
        assert (mean.train, mean.test, mean.gap, mean.seeds) == (loss.train, loss.test, loss.gap, loss.seeds)
    assert "nan" not in result.finding
