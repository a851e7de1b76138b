"""A study of a network of your own: what it may be, what is searched, that it learns digits, and that it comes back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from poise.cli import main
from poise.core.errors import ArgumentError, CheckpointError, DataError
from poise.core.recipe import Recipe
from poise.data import Target
from poise.study import IMAGE, Study, load_model
from poise.study.choices_own import own_choices
from poise.study.cohort import Plan
from poise.study.own_network import OwnDesign, OwnEncoder, check_network, check_step
from poise.study.problem import Problem
from poise.study.source import Arguments
from poise.study.source_own import Own, OwnSource
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows

X, Y = load_digits(return_X_y=True)
PICTURES = torch.tensor(X / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
TARGET = Target.fit(Y)


class Cnn(nn.Module):
    """With torch's own batch norm, whose running statistics each member must keep for itself."""

    def __init__(self, outputs: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(128, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).flatten(1))  # type: ignore[no-any-return]


class Reader(nn.Module):
    """Reads a picture's lines one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])  # type: ignore[no-any-return]


def dense(outputs: int = 10) -> nn.Module:
    return nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, outputs))


# ---- what it reads ----


@pytest.mark.parametrize(
    ("inputs", "kind", "numbers"),
    [
        (np.zeros((2, 3, 8, 8), np.uint8), "images", "bytes"),
        (np.zeros((2, 1, 8, 8), np.float64), "grey images", "floats"),
        (np.full((2, 1, 8, 8), -1.0), "other", "floats"),
        (np.zeros((2, 4, 8, 8), np.float32), "other", "floats"),
        (np.zeros((2, 5), np.float32), "vectors", "floats"),
        (np.zeros((2, 5), np.int64), "other", "whole"),
        (np.zeros((2, 5, 3), np.float32), "other", "floats"),
    ],
)
def test_inputs_tell_their_kind(inputs: np.ndarray, kind: str, numbers: str) -> None:
    encoder = OwnEncoder.fit(inputs)
    assert (encoder.inputs, encoder.numbers, encoder.shape) == (kind, numbers, inputs.shape[1:])
    assert OwnEncoder.from_state(*encoder.state()) == encoder
    encoded = encoder.transform(inputs)
    assert encoded.dtype == (np.int64 if numbers == "whole" else np.float32)
    with pytest.raises(DataError, match=r"as those that were learned"):
        encoder.transform(inputs[..., :-1])


def test_bytes_become_shares_of_255() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 1, 4, 4), dtype=np.uint8)
    np.testing.assert_array_equal(OwnEncoder.fit(pixels).transform(pixels), pixels.astype(np.float32) / np.float32(255))


def test_new_pictures_of_another_range_are_refused() -> None:
    pixels = np.random.default_rng(0).random((5, 1, 4, 4))
    encoder = OwnEncoder.fit(pixels)
    encoder.transform(1.01 * pixels)  # a resampling may overshoot a little
    assert encoder.transform(pixels[:0]).shape == (0, 1, 4, 4)
    for other in (255 * pixels, pixels - 0.5):
        with pytest.raises(DataError, match=r"must be floats in \[0, 1\], as those that were learned; got .* by 255"):
            encoder.transform(other)
    OwnEncoder.fit(pixels - 0.5).transform(255 * pixels)  # standardised pictures have no range


# ---- what is searched ----


def test_parts_without_a_place_in_the_network_are_not_searched() -> None:
    assert set(own_choices("images", dense()).parts) == set(IMAGE.parts)
    pictures = own_choices("grey images", Cnn())
    assert set(IMAGE.parts) - set(pictures.parts) == {"color_jitter", "batch_norm"}  # it has batch norm
    reader = own_choices("other", Reader())
    # An LSTM has no activation module to put dropout behind, and no hidden layer but itself.
    assert {"locked_dropout", "recurrent_drop_connect"} < set(reader.parts)
    assert not {"dropout", "hidden_noise", "batch_norm", "input_noise", "swap_noise", "mixup", "cut_mix"} & set(
        reader.parts
    )
    assert reader.rival.name == "tuned weight decay"
    assert {"input_noise", "mixup"} < set(own_choices("vectors", dense()).parts)
    for choices in (pictures, reader):
        searched = {key.split(".")[0] for key in choices.ranges}
        assert searched <= set(choices.parts)
        declared = Recipe(*choices.parts.values()).declared()
        assert set(declared) == set(choices.ranges) | set(choices.fixed)


# ---- what is refused, before any work ----


def test_a_network_that_does_not_fit_is_refused_with_its_shapes() -> None:
    shared = Cnn()
    encoder = OwnEncoder.fit(PICTURES.numpy())

    def refused(model: object, message: str) -> None:
        with pytest.raises(ArgumentError, match=message):
            check_network(model, encoder, PICTURES.numpy(), TARGET)

    refused(shared, r"must be a function that returns a new network")
    refused(lambda: shared, r"returned the same one twice")
    refused(lambda outputs: nn.Linear(64, outputs), r"must be a function of no arguments")
    refused(lambda: 3, r"must return an nn.Module; .* returned 3")
    refused(nn.Flatten, r"has no weights")
    refused(lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), r"has lazy layers.* call the network once")
    refused(lambda: nn.Sequential(nn.LazyBatchNorm2d(affine=False), Cnn()), r"has lazy layers")
    refused(lambda: Cnn(7), r"outputs \(4, 10\) for 10 classes; got \(4, 7\) from .* inputs \(4, 1, 8, 8\)")
    refused(dense, r"must read its inputs; dense for inputs \(4, 1, 8, 8\) torch.float32 raised RuntimeError")
    check_network(Cnn, encoder, PICTURES.numpy(), TARGET)


def test_a_study_takes_a_source_or_a_model_with_data() -> None:
    for arguments in ({}, {"model": Cnn}, {"data": (X, Y)}, {"source": "iris", "model": Cnn, "data": (X, Y)}):
        with pytest.raises(ArgumentError, match=r"`Study(.source)?` must be"):
            Study(**arguments)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"`Study.groups` is for tables; got 'a' with a network of your own"):
        Study(model=Cnn, data=(PICTURES, Y), groups="a")
    with pytest.raises(ArgumentError, match=r"got \(4, 10\) from Cnn"):
        Study(model=Cnn, data=(PICTURES, Y % 3))


# ---- members ----


def test_torchs_own_batch_norm_in_a_member_is_that_of_the_network_alone() -> None:
    rows = Rows(PICTURES[:48], nn.functional.one_hot(torch.tensor(Y[:48]), 10).float())

    def trained(members: list[int]) -> Population:
        population = Population(Cnn, Recipe(), CrossEntropy(), lr=[1e-2] * len(members), members=members)
        population.train(rows, 5, 16)
        return population

    both = trained([0, 1])
    for place, member in enumerate([0, 1]):
        alone = trained([member])
        for name in ("features.1.running_mean", "features.1.running_var"):
            torch.testing.assert_close(both.state.buffers[name][place], alone.state.buffers[name][0])
        torch.testing.assert_close(
            both.outputs(rows.inputs)[place], alone.outputs(rows.inputs)[0], atol=1e-5, rtol=1e-5
        )
    assert float(both.state.buffers["features.1.running_mean"].diff(dim=0).abs().max()) > 0.01


@pytest.mark.filterwarnings("error")
def test_a_network_that_vmap_cannot_map_is_found_out_once_and_said() -> None:
    lines = PICTURES[:40, 0]
    source = OwnSource.of(_own(Reader, lines, Y[:40]), _told())
    ready = source.prepare(0)
    assert isinstance(ready.problem.design, OwnDesign)
    assert ready.problem.design.looped
    assert [("torch.vmap cannot map 'lstm'" in note) for note in ready.warnings if "vmap" in note] == [True]
    problem: Problem = ready.problem
    Population(problem.builder(), Recipe(), problem.loss(), lr=[1e-3] * 2).train(problem.rows, 1, 8)  # no warning
    assert check_step(problem)[1] == ()


def _own(model: object, x: object, y: object) -> Own:
    return Own(model, (x, y))


def _told() -> Arguments:
    return Arguments()


# ---- whole studies ----


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    out = tmp_path_factory.mktemp("study") / "out"
    rows = np.arange(600)
    data = TensorDataset(PICTURES[rows], torch.tensor(Y[rows]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("poise.study.fit.plan_for", lambda rows, **_: Plan(100, min(rows, 64), 25))
        study = Study(model=Cnn, data=data, budget="2trials", jobs=1, out=out, parts=["cut_mix", "decay"])
        study.run()
    return study, out


def test_a_network_of_ones_own_learns_digits(finished: tuple[Study, Path]) -> None:
    study, out = finished
    result = study.result
    assert result is not None
    assert result.table == "TensorDataset"
    assert result.classes == tuple(map(str, range(10)))
    assert result.columns == {"x": "grey images, 1 x 8 x 8"}
    assert [arm.name for arm in result.arms] == [
        "unregularized network", "flips and crops alone", "poise network", "poise ensemble"]  # fmt: skip
    score = {s.metric: s.value.value for s in result.arms[-1].scores}
    assert score["balanced_accuracy"] > 0.8
    assert result.rows["test"] == 120
    assert {part.part for part in result.contributions} <= {"cut_mix", "decay"}
    assert (out / "report.html").stat().st_size > 10_000


def test_the_saved_folder_needs_the_function_that_builds_the_network(
    finished: tuple[Study, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = finished
    with pytest.raises(ArgumentError, match=r"must be the function that builds the network.*'Cnn'"):
        load_model(out)
    assert main(["predict", str(out), str(out)]) == 2
    assert "load_model(path, model=build)" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match=r"do not fit the network that `model` builds"):
        load_model(out, model=lambda: Cnn(9))
    model = load_model(out, model=Cnn)
    found = model.predict_frame(PICTURES[600:])
    assert study.model is not None
    pd.testing.assert_frame_equal(found, study.model.predict_frame(PICTURES[600:]))
    assert float((found["prediction"].to_numpy() == Y[600:]).mean()) > 0.8
    wanted = study.model.predict_frame(TensorDataset(PICTURES[600:610], torch.tensor(Y[600:610])))
    pd.testing.assert_frame_equal(found.iloc[:10], wanted)
    assert dataclasses.replace(model).design == model.design
    with pytest.raises(ArgumentError, match=r"`load_model.model` is for studies of your own network"):
        _table_model(out.parent, Cnn)


def _table_model(folder: Path, model: object) -> None:
    study = Study("iris", budget="1trials", parts=["patience"], ablation=False, out=folder / "iris")
    study.run()
    load_model(folder / "iris", model=model)  # type: ignore[arg-type]


def test_numbers_are_learned_in_their_own_units() -> None:
    x, y = load_diabetes(return_X_y=True)

    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("poise.study.fit.plan_for", lambda rows, **_: Plan(120, min(rows, 64), 20))
        study = Study(
            model=build, data=((x * 20)[:300], y[:300]), budget="2trials", parts=["mixup", "patience"], ablation=False
        )
        result = study.run()
    assert result.task == "regression"
    scores = {s.metric: s.value.value for s in result.arms[-1].scores}
    assert scores["r2"] > 0.3
    assert study.model is not None
    assert 100 < float(study.model.predict_frame(x * 20)["prediction"].mean()) < 200
