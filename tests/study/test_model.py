"""The saved ensemble: the same bits after loading, closed forms for its probabilities, damage refused."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from poise.core.errors import CheckpointError, DataError, PoiseWarning
from poise.core.recipe import Recipe
from poise.study.answer import Answer
from poise.study.arms import Arms, train_arms
from poise.study.cohort import Plan
from poise.study.folds import Folds, make_folds
from poise.study.gap import model_of
from poise.study.model import StudyModel, load_model
from poise.study.prepare import Prepared
from poise.study.space import Space
from poise.study.store import load_folder, save_folder

SPACE = Space(["dropout", "batch_norm", "patience"])
# One arm with each network part on, one with neither: dials must come back, those of idle layers too.
ARMS = {
    "all": SPACE.config(0, ("dropout", "batch_norm")),
    "dropout": SPACE.config(1, ("dropout",)),
    "none": SPACE.config(2, ()),
}


def trained(ready: Prepared, folds: Folds, plan: Plan, arms: list[str]) -> Arms:
    own = {label: ARMS[label] for label in arms}
    return train_arms(ready.problem, SPACE.recipe, own, folds, plan, seeds=2, seed=0, jobs=1)


def model_from(ready: Prepared, arms: Arms, temperature: float = 1.3) -> StudyModel:
    shares = torch.linspace(1, 2, len(arms.stack))
    return model_of(ready, arms.stack, shares / shares.sum(), [temperature], Recipe(*SPACE.recipe.stage("network")))


@pytest.fixture(scope="module")
def model(ready: Prepared, folds: Folds, plan: Plan) -> StudyModel:
    return model_from(ready, trained(ready, folds, plan, list(ARMS)))


@pytest.fixture(scope="module")
def idle(ready: Prepared, folds: Folds, plan: Plan) -> StudyModel:
    """Of a population in which no member used the network parts."""
    return model_from(ready, trained(ready, folds, plan, ["none"]))


@pytest.fixture(scope="module")
def regressor(numbers: Prepared, plan: Plan) -> StudyModel:
    folds = make_folds(numbers.strata, task="regression", count=3, seed=0)
    return model_from(numbers, trained(numbers, folds, plan, list(ARMS)), 1.0)


def features(ready: Prepared) -> pd.DataFrame:
    return ready.table.frame[list(ready.encoder.input_names)]


@pytest.mark.parametrize("kind", ["model", "idle", "regressor"])
def test_a_loaded_model_predicts_the_same_bits(
    kind: str, ready: Prepared, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    own: StudyModel = request.getfixturevalue(kind)
    own.save(tmp_path / "model")
    back = load_model(tmp_path)
    for first, second in ((own, back), (own.single(1), back.single(1))):
        pd.testing.assert_frame_equal(
            first.predict_frame(features(ready)), second.predict_frame(features(ready)), check_exact=True
        )
    assert back.recipe == own.recipe
    assert back.design == own.design


def test_a_fresh_process_predicts_the_same_bits(model: StudyModel, ready: Prepared, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    features(ready).to_parquet(tmp_path / "rows.parquet")
    code = (
        "import sys, torch, pandas as pd; torch.set_num_threads(1)\n"
        "from poise.study.model import load_model\n"
        "rows = pd.read_parquet(sys.argv[1] + '/rows.parquet')\n"
        "load_model(sys.argv[1]).predict_frame(rows).to_parquet(sys.argv[1] + '/found.parquet')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=120)
    wanted = model.predict_frame(features(ready))
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "found.parquet"), wanted, check_exact=True)


def test_probabilities_are_the_members_weighted_mean_tempered_and_unweighted(
    model: StudyModel, ready: Prepared
) -> None:
    outputs = model.stack.outputs(torch.from_numpy(ready.inputs)).double()
    mean = (model.shares.double()[:, None, None] * torch.softmax(outputs, -1)).sum(0).numpy()
    tempered = mean ** (1 / 1.3)
    weights = model.answers[0].class_weights
    assert weights is not None
    oracle = tempered / tempered.sum(1, keepdims=True) / weights
    oracle /= oracle.sum(1, keepdims=True)
    np.testing.assert_allclose(model.probabilities(ready.inputs), oracle, rtol=1e-9)


def test_a_network_that_fits_the_reweighted_world_gives_the_classes_own_shares_back(
    model: StudyModel, ready: Prepared
) -> None:
    # Under weights w the best constant answer is p w / sum(p w): what must come out again is p.
    shares, weights = np.array([0.75, 0.25]), np.array([0.5, 3.0])
    fitted = shares * weights / (shares * weights).sum()
    stack = model.stack.select(torch.tensor([5]))
    for name, weight in stack.weights.items():
        weight.zero_()
        if name == "head.bias":
            weight.copy_(torch.from_numpy(np.log(fitted)).float()[None])
    answer = Answer(model.target, 1.0, weights)
    one = dataclasses.replace(model, stack=stack, shares=torch.ones(1), answers=(answer,))
    np.testing.assert_allclose(one.probabilities(ready.inputs[:3]), np.tile(shares, (3, 1)), rtol=1e-6)
    assert set(one.labels(ready.inputs)) == {"no"}
    decision = dataclasses.replace(answer, decision_weights=np.array([1.0, 3.1]))  # 0.25 x 3.1 > 0.75
    bold = dataclasses.replace(one, answers=(decision,))
    assert set(bold.labels(ready.inputs)) == {"yes"}
    np.testing.assert_array_equal(bold.probabilities(ready.inputs), one.probabilities(ready.inputs))


def test_a_frame_of_predictions_has_a_column_a_class_and_the_rows_own_index(model: StudyModel, ready: Prepared) -> None:
    rows = features(ready).iloc[[5, 2, 9]]
    found = model.predict_frame(rows)
    assert list(found) == ["prediction", "probability no", "probability yes"]
    assert list(found.index) == [5, 2, 9]
    np.testing.assert_allclose(found.iloc[:, 1:].sum(axis=1), 1.0)
    assert list(found.prediction) == list(model.labels(ready.inputs[[5, 2, 9]]))


def test_the_order_of_columns_and_the_rows_beside_a_row_do_not_matter(model: StudyModel, ready: Prepared) -> None:
    whole = model.predict_frame(features(ready))
    turned = model.predict_frame(features(ready)[list(reversed(ready.encoder.input_names))].iloc[::-1])
    pd.testing.assert_frame_equal(turned.sort_index(), whole, rtol=1e-6)
    with pytest.raises(DataError, match="missing"):
        model.predict_frame(features(ready).drop(columns="a"))


def test_numbers_are_the_weighted_mean_in_the_targets_units(regressor: StudyModel, numbers: Prepared) -> None:
    outputs = regressor.stack.outputs(torch.from_numpy(numbers.inputs)).double()[..., 0].numpy()
    oracle = (
        np.average(outputs, axis=0, weights=regressor.shares.numpy()) * numbers.targets[0].scale
        + numbers.targets[0].mean
    )
    np.testing.assert_allclose(regressor.values(numbers.inputs), oracle, rtol=1e-7)
    assert list(regressor.predict_frame(features(numbers))) == ["prediction"]


def test_one_member_is_a_model_of_its_own(model: StudyModel, ready: Prepared) -> None:
    one = model.single(4)
    assert one.shares.tolist() == [1.0]
    alone = model.stack.network(4)(torch.from_numpy(ready.inputs)).detach()
    torch.testing.assert_close(one.stack.outputs(torch.from_numpy(ready.inputs))[0], alone, atol=2e-6, rtol=2e-6)


def test_a_level_never_seen_is_predicted_with_a_warning(model: StudyModel, ready: Prepared) -> None:
    rows = features(ready).iloc[:2].assign(kind="never seen")
    with pytest.warns(PoiseWarning, match="kind"):
        found = model.predict_frame(rows)
    assert np.isfinite(found.iloc[:, 1:].to_numpy()).all()


@pytest.mark.parametrize("file", ["manifest.json", "weights.safetensors"])
def test_a_changed_byte_is_refused(file: str, model: StudyModel, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    path = tmp_path / "model" / file
    text = bytearray(path.read_bytes())
    text[len(text) // 2] ^= 1
    path.write_bytes(text)
    with pytest.raises(CheckpointError):
        load_model(tmp_path)


def test_an_honest_folder_of_something_else_is_refused(model: StudyModel, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    tensors, metadata = load_folder(tmp_path / "model")
    one = next(name for name in tensors if name.startswith("weight/"))
    dial = next(name for name in tensors if name.startswith("buffer/") and name.endswith("share"))
    wrong = {
        "kind": (tensors, metadata | {"kind": "another"}),
        "design": (tensors, metadata | {"design": metadata["design"] | {"width": 17}}),
        "field": (tensors, metadata | {"design": metadata["design"] | {"size": 1}}),
        "recipe": (tensors, metadata | {"recipe": {"format": 1, "parts": {}}}),
        "no answers": (tensors, {name: value for name, value in metadata.items() if name != "answers"}),
        "no target": (tensors, metadata | {"answers": []}),
        "no shares": ({name: value for name, value in tensors.items() if name != "shares"}, metadata),
        "shares": (tensors | {"shares": torch.ones(2)}, metadata),
        "members": (tensors | {one: tensors[one][:2]}, metadata),
        "no weight": ({name: value for name, value in tensors.items() if name != one}, metadata),
        "no dial": ({name: value for name, value in tensors.items() if name != dial}, metadata),
    }
    for name, (own, told) in wrong.items():
        save_folder(tmp_path / name, own, json.loads(json.dumps(told)))
        with pytest.raises(CheckpointError):
            StudyModel.load(tmp_path / name)
    with pytest.raises(CheckpointError):
        load_model(tmp_path / "nothing here")


def test_a_folder_of_the_time_of_one_target_still_loads(model: StudyModel, ready: Prepared, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    tensors, metadata = load_folder(tmp_path / "model")
    (answer,) = metadata.pop("answers")
    old = {name.removesuffix("/0"): tensor for name, tensor in tensors.items()}
    save_folder(tmp_path / "old", old, metadata | answer)
    back = load_model(tmp_path / "old")
    pd.testing.assert_frame_equal(
        back.predict_frame(features(ready)), model.predict_frame(features(ready)), check_exact=True
    )


def test_each_target_has_its_own_answer(both: Prepared) -> None:
    plan = Plan(16, 16, 4)
    folds = make_folds(both.strata, task="classification", count=3, seed=0)
    own = model_of(both, trained(both, folds, plan, ["none"]).stack, None, [2.0, 1.0])
    outputs = own.stack.outputs(torch.from_numpy(both.inputs)).double()
    mean = torch.softmax(outputs[..., :2], -1).mean(0) ** 0.5
    oracle = (mean / mean.sum(1, keepdim=True)).numpy() / own.answers[0].class_weights
    np.testing.assert_allclose(own.probabilities(both.inputs), oracle / oracle.sum(1, keepdims=True), rtol=1e-9)
    target = both.targets[1]
    numbers = outputs[..., 2].mean(0).numpy() * target.scale + target.mean
    np.testing.assert_allclose(own.values(both.inputs, 1), numbers, rtol=1e-9)
