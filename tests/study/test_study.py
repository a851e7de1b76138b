"""Whole studies on small tables: every file, the same numbers everywhere, nothing seen that is not to be seen."""

import dataclasses
import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from poise.core.errors import ArgumentError, DataError, PoiseWarning, StudyError
from poise.core.recipe import Recipe
from poise.data import read
from poise.study import Study
from poise.study.ablation import ArmsPlan
from poise.study.metrics import Predictions, measure
from poise.study.model import load_model
from poise.study.progress import Quiet
from poise.study.record import Record
from poise.study.result import StudyResult, result_from_json
from poise.study.source_table import TableSource
from poise.study.table_network import Design
from poise.study.workers import WorkersLostError, run_all

FILES = {"model", "predictions.csv", "recipe.yaml", "record.sqlite", "report.html", "result.json"}
PARTS = ["dropout", "decay", "patience", "batch_norm"]

pytestmark = pytest.mark.usefixtures("short")


def study(source: object, out: Path | None = None, **rest: Any) -> Study:
    options: dict[str, Any] = {"budget": "4trials", "jobs": 1, "parts": PARTS, "design": Design(width=16, depth=1)}
    return Study(source, out=out, **(options | rest))


@pytest.fixture(scope="module", params=["diabetes", "breast_cancer", "made"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, short: None) -> Study:
    """A regression, a classification, and a table with a category, rare levels and a hole in its target."""
    out, source, target = tmp_path_factory.mktemp("study") / "new" / "folder", request.param, None
    if source == "made":
        source, target = awkward(), "label"
    own = study(source, out, target=target)
    own.run()
    return own


def awkward() -> pd.DataFrame:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(draw.normal(size=(90, 3)), columns=["a", "b", "c"])
    frame["kind"] = draw.choice(["x", "y", "z"], 90)
    frame["label"] = np.where(frame.a + frame.b + draw.normal(size=90) * 0.5 > 0.8, "yes", "no")
    frame.loc[0, "label"] = None
    frame.loc[[40, 41], "kind"] = ["odd", "strange"]
    return frame


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}  # a lock, and the course


def result_of(run: Study) -> StudyResult:
    assert run.result is not None
    return run.result


def folder_of(run: Study) -> Path:
    assert run.out is not None
    return run.out


def test_every_file_is_there_and_no_other(run: Study) -> None:
    assert files_in(folder_of(run)) == FILES


def test_the_result_reads_back_equal(run: Study) -> None:
    text = (folder_of(run) / "result.json").read_text(encoding="utf-8")
    back = result_from_json(text)
    assert back == result_of(run)
    assert json.loads(text)["format"] == 1


def test_the_record_holds_every_trial_once(run: Study) -> None:
    with Record.open_readonly(folder_of(run) / "record.sqlite") as record:
        assert record.trials() == result_of(run).trials
    assert sorted(trial.number for trial in result_of(run).trials) == [0, 1, 2, 3]


def test_the_predictions_on_disk_are_those_of_the_model_on_disk(run: Study) -> None:
    model, found = load_model(folder_of(run)), pd.read_csv(folder_of(run) / "predictions.csv")
    rows = found.row.to_numpy()
    assert isinstance(run.source, TableSource)
    table = run.source.table
    frame = table.frame.iloc[rows][list(model.encoder.input_names)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PoiseWarning)  # of levels never seen
        again = model.predict_frame(frame).reset_index(drop=True)
    pd.testing.assert_frame_equal(found.drop(columns=["row", "truth"]), again, check_exact=True, check_dtype=False)
    assert table.target is not None
    assert found.truth.tolist() == table.target.iloc[rows].tolist()
    assert len(found) == result_of(run).rows["test"]


def test_the_ensembles_score_is_that_of_the_predictions_on_disk(run: Study) -> None:
    result, found = result_of(run), pd.read_csv(folder_of(run) / "predictions.csv")
    scores = {s.metric: s.value.value for arm in result.arms if arm.name == "poise ensemble" for s in arm.scores}
    if result.task == "regression":
        own = Predictions(found.truth.to_numpy(float), found.prediction.to_numpy())
    else:
        labels = [str(label) for label in result.classes]
        codes = [np.array([labels.index(str(v)) for v in found[name]]) for name in ("truth", "prediction")]
        own = Predictions(codes[0], codes[1], found[[f"probability {label}" for label in labels]].to_numpy())
    for metric, value in scores.items():
        assert measure(metric, own) == pytest.approx(value, rel=1e-5), metric


def test_the_recipe_on_disk_is_the_best_trials(run: Study) -> None:
    recipe = Recipe.load(folder_of(run) / "recipe.yaml")
    assert recipe == run.recipe
    best = min((t for t in result_of(run).trials if t.state == "finished"), key=lambda trial: trial.validation)
    for key, value in recipe.dials().items():
        assert value == best.dials[key]
    assert {c.part for c in result_of(run).contributions} == {part.name for part in recipe}


def test_the_report_has_the_finding_and_the_numbers(run: Study) -> None:
    page, result = (folder_of(run) / "report.html").read_text(encoding="utf-8"), result_of(run)
    assert f"{result.after[0].test.value:.4g}" in page
    for arm in result.arms:
        assert arm.name in page
    for part in result.contributions:
        assert part.part in page


def test_all_five_products_are_compared_with_finite_scores_inside_their_intervals(run: Study) -> None:
    result = result_of(run)
    assert [arm.name for arm in result.arms] == [
        "unregularized network", "tuned dropout", "gradient boosting", "poise network", "poise ensemble",
    ]  # fmt: skip
    for arm in result.arms:
        for score in arm.scores:
            assert math.isfinite(score.value.value)
            assert score.value.low <= score.value.value <= score.value.high
    assert not result.interrupted
    assert {gap.seeds for gap in (*result.before, *result.after)} == {5}


def test_rows_without_a_target_are_noted_and_their_numbers_are_kept(tmp_path: Path) -> None:
    own = study(awkward(), target="label", ablation=False)
    result = own.run()
    assert result.warnings[0] == "1 rows without a target were left out."
    assert own.predictions is not None
    assert 0 not in own.predictions.row.tolist()
    assert own.predictions.truth.tolist() == awkward().label.iloc[own.predictions.row].tolist()
    assert result.contributions == ()
    assert len(result.before) == 2


# ---- what must not be seen ----


def test_garbage_in_the_features_of_test_rows_changes_no_weight_no_score_and_no_recipe() -> None:
    clean = awkward().drop(index=[0, 40, 41]).reset_index(drop=True)
    first = study(clean, target="label", ablation=False)
    first.run()
    assert first.predictions is not None
    dirty = clean.copy()
    dirty.loc[first.predictions.row, ["a", "b", "c"]] = -1e7
    dirty.loc[first.predictions.row, "kind"] = "garbage"
    second = study(dirty, target="label", ablation=False)
    second.run()
    assert result_of(first).trials == result_of(second).trials
    assert first.recipe == second.recipe
    assert first.model is not None
    assert second.model is not None
    for name, weight in first.model.stack.weights.items():
        assert weight.equal(second.model.stack.weights[name]), name
    assert first.model.answers[0].temperature == second.model.answers[0].temperature
    assert result_of(first).after[0].train == result_of(second).after[0].train
    assert result_of(first).after[0].test != result_of(second).after[0].test


def test_a_permuted_target_gives_no_skill_on_test_rows() -> None:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(draw.normal(size=(600, 4)), columns=list("abcd"))
    frame["y"] = draw.permutation(frame.a + frame.b)
    result = study(frame, target="y", ablation=False).run()
    for arm in result.arms:
        r2 = next(score.value for score in arm.scores if score.metric == "r2")
        assert r2.value < 0.05, arm.name
    frame["y"] = frame.a + frame.b
    learnt = study(frame, target="y", ablation=False).run()
    assert learnt.arms[-1].scores[1].value.value > 0.3  # the same study does see what is there


@pytest.mark.parametrize("argument", ["groups", "time"])
def test_the_columns_of_groups_and_time_are_no_features(argument: str, frame: pd.DataFrame) -> None:
    extra = np.arange(90) % 15 if argument == "groups" else np.random.default_rng(0).permutation(90) / 7
    options: dict[str, Any] = {argument: "extra"}
    own = study(frame.drop(columns="amount").assign(extra=extra), target="label", ablation=False, **options)
    own.run()
    assert own.model is not None
    assert own.predictions is not None
    assert "extra" not in own.model.encoder.input_names
    tested = own.predictions.row.to_numpy()
    rest = np.setdiff1d(np.arange(90), tested)
    if argument == "groups":
        assert not set(extra[tested]) & set(extra[rest])
    else:
        assert extra[tested].min() > extra[rest].max()


# ---- again, and interrupted ----


def test_the_same_seed_gives_the_same_study_bit_for_bit_and_another_does_not(frame: pd.DataFrame) -> None:
    def once(seed: int) -> StudyResult:
        result = study(frame.drop(columns="amount"), target="label", seed=seed).run()
        arms = tuple(dataclasses.replace(arm, seconds=0.0) for arm in result.arms)
        return dataclasses.replace(result, seconds=0.0, arms=arms)

    first = once(0)
    assert first == once(0)
    assert first.trials != once(1).trials


class Interrupting(Quiet):
    """Presses Ctrl-C when a phase begins."""

    def __init__(self, phase: str) -> None:
        self.phase = phase

    def tell(self, message: str, best: float | None, share: float) -> None:
        if self.phase in message and (self.phase != "configurations" or best is not None):
            raise KeyboardInterrupt


@pytest.mark.parametrize("phase", ["configurations", "recipes", "for the ablation", "the baselines"])
def test_ctrl_c_in_any_phase_still_writes_the_folder_and_says_so(
    phase: str, frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ArmsPlan, "note", lambda plan, searched, cut: "the ablation was short")
    own = study(
        frame.drop(columns="amount"), tmp_path / "out", target="label", budget="13trials", progress=Interrupting(phase)
    )
    result = own.run()
    assert result.interrupted
    assert files_in(tmp_path / "out") == FILES
    assert result_from_json((tmp_path / "out" / "result.json").read_text(encoding="utf-8")) == result
    assert bool(result.before) == (phase == "the baselines")
    assert ("the ablation was short" in result.warnings) == bool(result.before)
    assert len(load_model(tmp_path / "out").stack) == result.ensemble_size


@pytest.mark.parametrize("phase", ["retraining", "ablation"])
def test_the_loss_of_the_last_worker_leaves_out_what_it_did_and_says_so(
    phase: str, frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = {"retraining": "poise.study.retraining.run_all", "ablation": "poise.study.arms.run_all"}[phase]

    def killed(function: Callable[..., Any], tasks: list[tuple[Any, ...]], jobs: int) -> list[Any]:
        if phase == "retraining" and len(tasks[0][2]) == 1:  # one network is trained in this process
            return run_all(function, tasks, jobs)
        raise WorkersLostError("a worker process was killed.")

    monkeypatch.setattr(lost, killed)
    own = study(frame.drop(columns="amount"), tmp_path / "out", target="label", budget="13trials")
    told = "One network is retrained" if phase == "retraining" else "Neither the gap nor the parts were measured"
    with pytest.warns(PoiseWarning, match=told):
        result = own.run()
    assert files_in(tmp_path / "out") == FILES
    assert not result.interrupted
    assert result.finding.startswith("The gap was not measured.") == (phase == "ablation")
    assert (result.ensemble_size == 1) == (phase == "retraining")
    assert any(told in note for note in result.warnings) == (phase == "ablation")


# ---- refusals ----


REFUSED: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "budget": ({"budget": "soon"}, ArgumentError),
    "seed": ({"seed": -1}, ArgumentError),
    "large seed": ({"seed": 2**32}, ArgumentError),
    "bool seed": ({"seed": True}, ArgumentError),
    "device": ({"device": "tpu"}, ArgumentError),
    "jobs": ({"jobs": -1}, ArgumentError),
    "task": ({"task": "ranking"}, ArgumentError),
    "class weight": ({"class_weight": "heavy"}, ArgumentError),
    "part": ({"parts": ["dropuot"]}, ArgumentError),
    "no target": ({"target": None}, ArgumentError),
    "unknown target": ({"target": "lable"}, DataError),
    "unknown groups": ({"groups": "who"}, DataError),
    "target as groups": ({"groups": "label"}, DataError),
    "unknown time": ({"time": "when"}, DataError),
    "groups and time": ({"groups": "kind", "time": "a"}, ArgumentError),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.usefixtures("rng_untouched")
def test_wrong_arguments_are_refused_before_anything_is_written(name: str, frame: pd.DataFrame, tmp_path: Path) -> None:
    arguments, kind = REFUSED[name]
    with pytest.raises(kind):
        study(frame, tmp_path / "deep" / "out", **({"target": "label"} | arguments))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame.assign(label="yes"),
        lambda frame: frame.assign(label=None),
        lambda frame: frame.head(3),
        lambda frame: frame[["label"]].assign(same=1),
    ],
    ids=["one class", "no target at all", "three rows", "no usable column"],
)
def test_a_table_that_cannot_be_used_leaves_nothing_behind(
    change: Callable[[pd.DataFrame], pd.DataFrame], frame: pd.DataFrame, tmp_path: Path
) -> None:
    with pytest.raises(DataError):
        study(change(frame.drop(columns="amount")), tmp_path / "out", target="label").run()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_files_a_file_and_a_folder_under_a_file_are_refused(frame: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("mine", encoding="utf-8")
    for out in (tmp_path, tmp_path / "note", tmp_path / "note" / "out", tmp_path / ("x" * 300)):
        with pytest.raises(StudyError, match=r"Study\.out"):
            study(frame, out, target="label")
    assert (tmp_path / "note").read_text(encoding="utf-8") == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_an_empty_folder_may_be_used_until_another_study_has_written_there(frame: pd.DataFrame, tmp_path: Path) -> None:
    late = study(frame.drop(columns="amount"), tmp_path, target="label", ablation=False)
    (tmp_path / "result.json").write_text("{}", encoding="utf-8")
    with pytest.raises(StudyError, match="has files"):
        late.run()


def test_bundled_tables_know_their_target() -> None:
    source = Study("iris").source
    assert isinstance(source, TableSource)
    assert source.table.target_name == read("iris").target_name == "target"
