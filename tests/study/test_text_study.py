"""A study of a text end to end: what is divided, what is refused, what is saved and read again."""

from __future__ import annotations

import json
import math
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pandas as pd
import pytest

from poise.cli import main
from poise.core.errors import ArgumentError, CheckpointError, DataError
from poise.data.characters import UNKNOWN
from poise.data.text import Text
from poise.study import Study, load_model
from poise.study.choices_text import RECURRENT, TRANSFORMER
from poise.study.folds import make_folds
from poise.study.prepare_text import LEAST_WINDOWS, prepare_text
from poise.study.result import result_from_json
from poise.study.source_table import TableSource
from poise.study.source_text import TextSource
from poise.study.table_network import Design
from poise.study.text_network import TextDesign

PROSE = "\n".join(topics.values())
DESIGN = TextDesign(width=8, window=8)
SMALL = {"design": DESIGN, "parts": ["locked_dropout", "label_smoothing", "clip_norm", "ema", "patience"]}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    folder = tmp_path_factory.mktemp("text")
    path = folder / "prose.txt"
    path.write_text(PROSE[:480])
    study = Study(path, budget="2trials", jobs=1, out=folder / "out", ablation=False, **SMALL)
    study.run()
    return study, folder / "out"


# ---- preparation ----


def test_the_parts_are_stretches_of_the_text_one_after_another() -> None:
    ready = prepare_text(Text("prose", PROSE[:2_005]), seed=3, design=DESIGN)
    parts = [ready.parts.train, ready.parts.stop, ready.parts.validation, ready.parts.test]
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(250))
    written = ready.table.targets
    assert written is not None
    assert "".join(written["next character"]) == PROSE[:2_000]
    np.testing.assert_array_equal(ready.inputs[:, 1:], ready.encoder.windows(PROSE[:2_000]))  # type: ignore[attr-defined]


def test_the_search_divides_what_is_left_along_the_text_and_the_vocabulary_is_of_its_training_stretch() -> None:
    text = PROSE[:2_000]
    ready = prepare_text(Text("prose", text), seed=0, design=DESIGN)
    assert ready.time is not None
    folds = make_folds(ready.strata, task="classification", count=1, seed=5, time=ready.time)
    train, stop, validation = folds.train[0], folds.stop[0].nonzero()[:, 0], folds.validation[0].nonzero()[:, 0]
    assert [*train, *stop, *validation] == list(range(len(ready.development)))
    edge = (int(train.max()) + 1) * 8
    for foreign in ("€" * 50 + text[edge + 50 :], text[edge:]):
        other = prepare_text(Text("prose", text[:edge] + foreign), seed=0, design=DESIGN)
        assert other.encoder == ready.encoder
    marked = prepare_text(Text("prose", text[:edge] + "€" * 50 + text[edge + 50 :]), seed=0, design=DESIGN)
    assert int((marked.inputs == UNKNOWN).sum()) >= 50
    assert any("too rare in the training stretch to be known" in note for note in marked.warnings)


def test_a_text_that_is_too_short_is_refused_with_what_it_takes() -> None:
    with pytest.raises(DataError, match="has 319 characters; a study with windows of 8 needs 40 of them, 320 charact"):
        prepare_text(Text("short", PROSE[:319]), seed=0, design=DESIGN)
    assert len(prepare_text(Text("enough", PROSE[:320]), seed=0, design=DESIGN).inputs) == LEAST_WINDOWS


# ---- which files are texts ----


def test_a_text_file_is_a_table_if_a_target_or_a_delimiter_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    path.write_text("x,y\n" + "".join(f"{row},{'yes' if row % 2 else 'no'}\n" for row in range(120)))
    assert isinstance(Study(path, target="y").source, TableSource)
    assert isinstance(Study(path).source, TextSource)
    with pytest.raises(ArgumentError, match=r"`Study.target` must name a column"):
        Study(path, delimiter=",")


def test_arguments_of_other_data_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "prose.md"
    path.write_text(PROSE[:500])
    with pytest.raises(ArgumentError, match=r"`Study.groups` is for tables; got 'x' with a text. Leave it out"):
        Study(path, groups="x")
    with pytest.raises(ArgumentError, match=r"`Study.window` is for texts; got 8 with a table"):
        Study("iris", window=8)
    with pytest.raises(ArgumentError, match=r"`Study.design` must be a TextDesign for a text"):
        Study(path, design=Design())
    with pytest.raises(ArgumentError, match=r"`Study.window` must be left out where a design is given; got 9"):
        Study(path, design=DESIGN, window=9)
    with pytest.raises(ArgumentError, match=r"`TextDesign.network` must be one of lstm, gru, transformer; got 'cnn'"):
        Study(path, network="cnn")
    with pytest.raises(ArgumentError, match=r"are for files; give them to `read_text`"):
        Study(Text("x", PROSE), characters=300)


def test_the_network_and_the_window_choose_the_design_and_its_parts(tmp_path: Path) -> None:
    path = tmp_path / "prose.txt"
    path.write_text(PROSE[:500])
    study = Study(path, network="transformer", window=16, characters=400)
    assert isinstance(study.source, TextSource)
    assert study.source.design == TextDesign("transformer", window=16)
    assert study.source.choices is TRANSFORMER
    assert len(study.source.text) == 400
    assert Study(path).source.choices is RECURRENT


# ---- a study ----


def test_a_study_scores_a_text_in_nats_bits_perplexity_and_accuracy(finished: tuple[Study, Path]) -> None:
    study, out = finished
    result = study.result
    assert result is not None
    assert result.task == "text"
    assert result.rows == {"train": 32, "stop": 6, "validation": 10, "test": 12}
    assert [metric.name for metric in result.metrics] == ["cross_entropy", "bits", "perplexity", "accuracy"]
    scores = {arm.name: {score.metric: score.value.value for score in arm.scores} for arm in result.arms}
    assert list(scores) == [
        "unregularized network",
        "AWD-LSTM's parts, untuned",
        next(name for name in scores if name.endswith("-grams")),
        "poise network",
        "poise ensemble",
    ]
    for own in scores.values():
        assert own["bits"] == pytest.approx(own["cross_entropy"] / math.log(2))
        assert own["perplexity"] == pytest.approx(math.exp(own["cross_entropy"]))
        assert own["cross_entropy"] < math.log(40)  # better than a guess among all characters
    assert result.confusion == ()
    assert (
        [gap.metric for gap in result.before] == [gap.metric for gap in result.after] == list(scores["poise network"])
    )
    assert result_from_json((out / "result.json").read_text()) == result
    report = (out / "report.html").read_text()
    assert "480 characters" in report
    assert "bits/char" in report


def test_the_test_stretch_is_written_down_with_what_it_cost(finished: tuple[Study, Path]) -> None:
    study, out = finished
    assert study.model is not None
    found = pd.read_csv(out / "predictions.csv", keep_default_na=False)
    assert list(found) == ["row", "truth", "characters", "cross-entropy", "bits per character", "accuracy"]
    assert "".join(found["truth"]) == PROSE[48 * 8 : 60 * 8]
    again = study.model.predict_frame(PROSE[48 * 8 : 60 * 8])
    np.testing.assert_allclose(again["cross-entropy"], found["cross-entropy"], rtol=1e-5)
    ensemble = next(arm for arm in json.loads((out / "result.json").read_text())["arms"] if "ensemble" in arm["name"])
    assert ensemble["scores"][0]["value"]["value"] == pytest.approx(found["cross-entropy"].mean(), rel=1e-5)


def test_a_saved_model_reads_and_writes_as_before(finished: tuple[Study, Path]) -> None:
    study, out = finished
    assert study.model is not None
    model = load_model(out)
    assert model.design == DESIGN
    pd.testing.assert_frame_equal(model.predict_frame("the end"), study.model.predict_frame("the end"))
    assert model.sample("The ", 20, seed=4) == study.model.sample("The ", 20, seed=4)
    manifest = out / "model" / "manifest.json"
    whole = manifest.read_text()
    try:
        manifest.write_text(whole.replace('"lstm"', '"gru"'))
        with pytest.raises(CheckpointError):
            load_model(out)
    finally:
        manifest.write_text(whole)


def test_poise_predict_reads_another_text(
    finished: tuple[Study, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out = finished
    other = tmp_path / "other.txt"
    other.write_text("the statement is €xecuted")
    assert main(["predict", str(out), str(other), "--out", str(tmp_path / "found.csv")]) == 0
    said = capsys.readouterr()
    assert "characters are not in the vocabulary" in said.err
    assert "€" in said.err or "\\u20ac" in said.err
    found = pd.read_csv(tmp_path / "found.csv")
    assert list(found["start"]) == [0, 8, 16, 24]
    assert list(found["characters"]) == [8, 8, 8, 1]
    assert main(["predict", str(out), str(other), "--delimiter", ","]) == 2


def test_a_table_s_model_writes_no_text() -> None:
    study = Study("iris", budget="1trials", ablation=False, parts=["patience"], design=Design(width=8, depth=1))
    study.run()
    assert study.model is not None
    with pytest.raises(ArgumentError, match=r"`StudyModel.sample` is for texts; this is a table model"):
        study.model.sample()


def test_the_command_takes_any_ending_as_a_text_if_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "words.log"
    log.write_text(PROSE[:300])
    out = str(tmp_path / "out")
    assert main(["study", str(log), "--out", out]) == 2
    assert "ending '.log' is not known" in capsys.readouterr().err
    assert main(["study", str(log), "--text", "--window", "8", "--out", out]) == 2
    assert "the text has 300 characters; a study with windows of 8 needs" in capsys.readouterr().err
    assert main(["study", str(tmp_path / "no.txt"), "--text", "--out", out]) == 2
    assert "is no file" in capsys.readouterr().err
    assert not Path(out).exists()
