"""A study of images end to end: what is divided, what is searched, what is saved and read again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from poise.cli import main
from poise.core.errors import ArgumentError, CheckpointError, DataError
from poise.data.images import Images
from poise.data.pixels import PixelEncoder
from poise.study import Study, load_model
from poise.study.choices import IMAGE
from poise.study.image_network import ImageDesign, ImageNetwork
from poise.study.prepare_images import TEST_CAP, prepare_images
from poise.study.result import result_from_json
from poise.study.source_images import ImageSource
from poise.study.space import Space

DESIGN = ImageDesign(width=4, depth=2)


def stripes(count: int = 60, channels: int = 1, seed: int = 0, side: int = 10) -> Images:
    """Noisy pictures of standing and of lying stripes, in turn."""
    draw = np.random.default_rng(seed)
    pixels = draw.integers(0, 120, (count, channels, side, side), dtype=np.uint8)
    pixels[::2, :, :, ::3] += 120
    pixels[1::2, :, ::3, :] += 120
    labels = np.where(np.arange(count) % 2 == 0, "standing", "lying")
    return Images("stripes", pixels, labels, tuple(f"p{number}" for number in range(count)))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    out = tmp_path_factory.mktemp("study") / "out"
    study = Study(stripes(), budget="4trials", jobs=1, out=out, design=DESIGN, parts=["batch_norm", "flip", "crop"])
    study.run()
    return study, out


# ---- preparation ----


def test_the_encoder_is_the_mean_and_deviation_of_each_channel_over_255() -> None:
    pixels = stripes(channels=3).pixels
    encoder = PixelEncoder.fit(pixels)
    np.testing.assert_allclose(encoder.mean, (pixels / 255).mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(encoder.scale, (pixels / 255).std((0, 2, 3)), rtol=1e-12)
    np.testing.assert_array_equal(encoder.transform(pixels), pixels.astype(np.float32) / np.float32(255))
    assert PixelEncoder.from_state(*encoder.state()) == encoder
    with pytest.raises(DataError, match=r"must be uint8 of shape \(N, 3, 10, 10\)"):
        encoder.transform(pixels[:, :1])


def test_the_network_sees_standardised_channels() -> None:
    images = stripes(channels=3)
    encoder = PixelEncoder.fit(images.pixels)
    network = ImageNetwork(encoder, 2, DESIGN)
    seen: list[torch.Tensor] = []
    network.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network(torch.from_numpy(encoder.transform(images.pixels)))
    torch.testing.assert_close(seen[0].mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen[0].std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)


def test_parts_share_no_row_and_the_test_part_is_a_fifth_or_the_datas_own() -> None:
    images = stripes()
    ready = prepare_images(images, seed=0, class_weight=None, design=DESIGN, per_class=None)
    parts = ready.parts
    everything = np.concatenate([parts.train, parts.stop, parts.validation, parts.test])
    assert sorted(everything) == list(range(60))
    assert len(parts.test) == 12
    held = np.arange(60) >= 45
    own = prepare_images(
        dataclasses.replace(images, test=held), seed=0, class_weight=None, design=DESIGN, per_class=None
    )
    assert own.parts.test.tolist() == list(range(45, 60))
    assert own.problem.rows.inputs.shape == (45, 1, 10, 10)


def test_some_of_each_class_are_developed_on_and_the_test_part_stays() -> None:
    whole = prepare_images(stripes(), seed=0, class_weight=None, design=DESIGN, per_class=None)
    few = prepare_images(stripes(), seed=0, class_weight=None, design=DESIGN, per_class=8)
    labels = few.table.targets
    assert labels is not None
    assert labels.iloc[few.development].value_counts().tolist() == [8, 8]
    assert few.origin[few.parts.test].tolist() == whole.origin[whole.parts.test].tolist()
    # Nothing of the test rows is in what is fitted.
    assert few.encoder == PixelEncoder.fit(stripes().pixels[few.origin[few.development]])


def test_a_large_test_part_is_cut_and_said() -> None:
    count = 2 * TEST_CAP + 40
    pixels = np.zeros((count, 1, 8, 8), np.uint8)
    labels = np.array(["a", "b"] * (count // 2))
    images = Images("many", pixels, labels, ("x",) * count, np.arange(count) >= 40)
    ready = prepare_images(images, seed=0, class_weight=None, design=DESIGN, per_class=None)
    assert len(ready.parts.test) == TEST_CAP
    assert f"{TEST_CAP} of the {2 * TEST_CAP} test images" in ready.warnings[0]


def test_grey_pictures_have_no_colours_to_jitter() -> None:
    grey, colour = (ImageSource(stripes(channels=channels), None, DESIGN) for channels in (1, 3))
    assert "color_jitter" not in Space(choices=grey.choices).names
    assert set(Space(choices=colour.choices).names) == set(IMAGE.parts)
    with pytest.raises(ArgumentError, match=r"`Study.per_class` must be None or an int >= 4"):
        ImageSource(stripes(), None, DESIGN, per_class=3)


# ---- the study ----


def test_the_study_tells_stripes_apart_and_writes_its_folder(finished: tuple[Study, Path]) -> None:
    study, out = finished
    assert study.result is not None
    assert study.result.classes == ("lying", "standing")
    assert study.result.columns == {"image": "10 x 10, grey"}
    assert [arm.name for arm in study.result.arms] == [
        "unregularized network", "flips and crops alone", "poise network", "poise ensemble"]  # fmt: skip
    accuracy = next(s.value.value for s in study.result.arms[-1].scores if s.metric == "balanced_accuracy")
    assert accuracy > 0.9
    assert {"report.html", "recipe.yaml", "model", "predictions.csv", "result.json"} <= {p.name for p in out.iterdir()}
    assert result_from_json((out / "result.json").read_text()) == study.result
    predictions = pd.read_csv(out / "predictions.csv")
    assert len(predictions) == 12
    assert set(predictions["truth"]) == {"lying", "standing"}
    assert list(predictions.columns[:4]) == ["row", "image", "truth", "prediction"]
    assert predictions["image"].tolist() == [f"p{row}" for row in predictions["row"]]
    assert predictions["truth"].tolist() == stripes().labels[predictions["row"]].tolist()


def test_the_saved_model_predicts_what_the_study_did(finished: tuple[Study, Path]) -> None:
    study, out = finished
    model, images = load_model(out), stripes()
    found = model.predict_frame(images.pixels)
    assert study.model is not None
    pd.testing.assert_frame_equal(found, study.model.predict_frame(images.pixels))
    assert float((found["prediction"].to_numpy() == images.labels).mean()) > 0.9
    with pytest.raises(DataError, match="as those that were learned"):
        model.predict_frame(images.pixels[:, :, :9])


def test_a_changed_design_is_no_model(finished: tuple[Study, Path], tmp_path: Path) -> None:
    study, _ = finished
    assert study.model is not None
    wider = dataclasses.replace(study.model, design=ImageDesign(width=8, depth=2))
    wider.save(tmp_path / "model")
    with pytest.raises(CheckpointError, match="do not fit the network"):
        load_model(tmp_path / "model")


def test_equal_seeds_and_trials_give_equal_results() -> None:
    def run() -> Study:
        study = Study(stripes(40), budget="2trials", jobs=1, design=DESIGN, parts=["crop"], ablation=False)
        study.run()
        return study

    first, second = run(), run()
    assert first.recipe == second.recipe
    assert first.predictions is not None
    assert second.predictions is not None
    pd.testing.assert_frame_equal(first.predictions, second.predictions)


def test_arguments_of_tables_are_refused_with_images() -> None:
    for name in ("target", "groups", "time", "encoding", "delimiter"):
        with pytest.raises(ArgumentError, match=rf"`Study.{name}` is for (texts and )?tables"):
            Study(stripes(), **{name: "x"})  # type: ignore[arg-type]


def test_from_the_shell_a_folder_is_studied_and_new_pictures_predicted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images = stripes(48)
    for number, (pixels, label) in enumerate(zip(images.pixels, images.labels, strict=True)):
        path = tmp_path / "pictures" / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[0]).save(path)
    study = ["study", "pictures", "--budget", "2trials", "--parts", "crop", "--no-ablation", "--quiet", "--out", "out"]
    assert main([*study, "--no-cache"]) == 0
    said = capsys.readouterr().out
    assert "poise ensemble" in said
    assert "poise predict out NEW_PICTURES\n" in said
    assert main(["predict", "out", "pictures/lying"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "image,prediction,probability lying,probability standing"
    assert len(lines) == 25
    assert lines[1].startswith("1.png,")
    assert main(["predict", "out", "out"]) == 2
    assert "holds no image" in capsys.readouterr().err
