"""`poise study` and `poise predict` end to end, on a table whose names are awkward (bad inputs 98-103)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import poise
from poise import Recipe
from poise.cli import main
from poise.study.model import load_model
from poise.study.result import result_from_json

OPTIONS = ["--budget", "3trials", "--no-ablation", "--parts", "dropout, patience,decay", "--quiet"]
FILES = ["model", "predictions.csv", "recipe.yaml", "record.sqlite", "report.html", "result.json"]


def table() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    x, city = generator.normal(size=(120, 2)), generator.choice(["Rome", "Oslo", "Nîmes"], 120)
    left = np.where(x[:, 0] + (city == "Rome") + generator.normal(size=120) / 2 > 0.5, "yes", "no")
    return pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "city": city, "constant": 1, "left": left})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that the command line ran; beside it is its table."""
    folder = tmp_path_factory.mktemp("study with spaces")
    table().to_csv(folder / "who left 😀.csv", index=False)
    data, out = str(folder / "who left 😀.csv"), str(folder / "out 😀 é")
    assert main(["study", data, "--target", "left", "--out", out, "--seed", "3", *OPTIONS]) == 0
    return folder / "out 😀 é"


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must fail, and return its one line on stderr."""
    capsys.readouterr()
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert err.startswith("error: ")
    assert len(err) < 1200
    return err


def test_a_study_writes_its_folder_and_says_where(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [name for name in sorted(os.listdir(finished)) if not name.startswith(".")] == FILES
    result = result_from_json((finished / "result.json").read_text())
    assert (result.target, result.seed, result.classes, result.contributions) == ("left", 3, ("no", "yes"), ())
    assert {trial.number for trial in result.trials} == {0, 1, 2}
    assert {part.split(".")[0] for part in result.trials[0].dials} == {"dropout", "patience", "decay", "lr"}
    assert Recipe.load(finished / "recipe.yaml") == Recipe.from_yaml(result.recipe_yaml)
    assert main(["explain", str(finished / "recipe.yaml")]) == 0
    assert "no conflicts found" in capsys.readouterr().out


def test_a_built_in_table_needs_no_target_and_folders_are_numbered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs/iris-1").mkdir(parents=True)
    Path("runs/iris-1/mine.txt").write_text("mine")
    arguments = ["study", "iris", "--budget", "3trials", "--no-ablation", "--parts", "patience"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert out.startswith("poise study of iris: target (3 classes)")
    assert out.endswith("  record.sqlite    every trial of the search\n")
    assert "Files in runs/iris-2:\n  report.html      the report, for a browser\n" in out
    assert "poise predict runs/iris-2 NEW.csv" in out
    assert err.startswith("poise study iris: budget 3 trials\n")
    assert sorted(os.listdir("runs")) == ["iris-1", "iris-2"]


def test_a_former_study_is_replaced_only_by_force_and_only_by_a_new_one(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    (out / ".model.0123abcd.new").mkdir()  # of a crash
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert "holds a study. Pass --force to replace it" in refused(["study", "iris", "--out", str(out)], capsys)
    assert "no such column" in refused(["study", "iris", "--target", "x", "--out", str(out), "--force"], capsys)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert main(["study", "wine", "--out", str(out), "--force", *OPTIONS]) == 0
    assert result_from_json((out / "result.json").read_text()).table == "wine"
    assert os.listdir(tmp_path) == ["out"]


def test_ctrl_c_before_a_result_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "poise.cli",
        "study",
        "digits",
        "--budget",
        "400trials",
        "--out",
        str(tmp_path / "out"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as study:
        assert study.stdout is not None
        assert study.stderr is not None
        lines = [next(study.stderr) for _ in range(2)]
        assert lines[0].startswith("poise study digits: budget 400 trials")
        study.send_signal(signal.SIGINT)
        told = study.stderr.read()
        assert study.wait(timeout=60) == 130, told
        assert told.endswith("interrupted before there was a result\n")
        assert "Traceback" not in told
        assert study.stdout.read() == ""
    assert os.listdir(tmp_path) == []


# ---- predict ----


def test_predictions_are_those_of_the_model(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = finished.parent / "who left 😀.csv"
    expected = load_model(finished).predict_frame(table()[["a", "b", "city"]])
    assert list(expected) == ["prediction", "probability no", "probability yes"]
    for model in (finished, finished / "model"):
        capsys.readouterr()
        assert main(["predict", str(model), str(data)]) == 0
        out, err = capsys.readouterr()
        (tmp_path / "stdout.csv").write_text(out)
        assert err == "note: 2 columns are not used: ['constant', 'left']\n"
    for name in ("a b 😀.csv", "p.jsonl", "p.parquet"):
        assert main(["predict", str(finished), str(data), "--out", str(tmp_path / name)]) == 0
        assert capsys.readouterr().out == ""
    for name, reader in (
        ("stdout.csv", pd.read_csv),
        ("a b 😀.csv", pd.read_csv),
        ("p.jsonl", lambda path: pd.read_json(path, lines=True)),
        ("p.parquet", pd.read_parquet),
    ):
        pd.testing.assert_frame_equal(reader(tmp_path / name), expected, rtol=1e-14, check_dtype=False, obj=name)
    assert len(os.listdir(tmp_path)) == 4, "no temporary file is left"


def test_marks_alone_are_missing_numbers(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for name, value in (("empty.csv", ""), ("marked.csv", "NA")):
        table().drop(columns=["left", "constant"]).assign(a=value).to_csv(tmp_path / name, index=False)
        capsys.readouterr()
        assert main(["predict", str(finished), str(tmp_path / name)]) == 0
        found.append(capsys.readouterr().out)
    assert found[0] == found[1]


def test_a_model_of_an_array_takes_the_columns_of_a_file_by_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = table()[["a", "b"]]
    model = poise.Regressor(budget="1trials", parts=(), width=8, depth=1).fit(frame.to_numpy(), frame["a"])
    model.save(str(tmp_path / "model"))
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert main(["predict", str(tmp_path / "model"), str(tmp_path / "t.csv"), "--out", str(tmp_path / "p.csv")]) == 0
    assert "fitted without feature names; taken by place" in capsys.readouterr().err
    np.testing.assert_allclose(pd.read_csv(tmp_path / "p.csv")["prediction"], model.predict(frame.to_numpy()))


def test_an_unseen_level_is_a_warning(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table().assign(city="Atlantis").to_csv(tmp_path / "t.csv", index=False)
    capsys.readouterr()
    assert main(["predict", str(finished), str(tmp_path / "t.csv"), "--out", str(tmp_path / "p.csv")]) == 0
    err = capsys.readouterr().err
    assert "\nwarning: " in err
    assert ".py" not in err
    assert "Atlantis" in err


@pytest.mark.parametrize(
    ("model", "data", "out", "message"),
    [
        ("nothing", "t.csv", [], "nothing' is no folder with a saved model"),
        (".", "t.csv", [], "manifest.json' cannot be read: No such file"),
        ("STUDY", "nothing.csv", [], "'nothing.csv' does not exist"),
        ("STUDY", "less.csv", [], "city"),
        ("STUDY", "t.csv", ["--out", "p.xlsx"], "`--out` must end in .csv, .jsonl, .parquet; got 'p.xlsx'"),
        ("STUDY", "t.csv", ["--out", "nowhere/p.csv"], "there is no folder 'nowhere'"),
        ("STUDY", "t.csv", ["--out", "t.csv"], "must be another file than DATA"),
        ("STUDY", "t.csv", ["--out", "folder.csv"], "is no plain file"),
        ("STUDY", "t.csv", ["--out", "x" * 300 + ".csv"], "File name too long"),
        ("STUDY", "t.csv", ["--delimiter", "||"], "must be one character"),
    ],
    ids=["model", "no model", "data", "column", "ending", "folder", "twice", "a folder", "300 characters", "delimiter"],
)
def test_a_mistake_in_predict_is_one_line(
    model: str,
    data: str,
    out: list[str],
    message: str,
    finished: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    table().drop(columns=["left", "constant"]).to_csv("t.csv", index=False)
    table().drop(columns=["left", "constant", "city"]).to_csv("less.csv", index=False)
    Path("folder.csv").mkdir()
    before = Path("t.csv").read_bytes()
    told = refused(["predict", model.replace("STUDY", str(finished)), data, *out], capsys)
    assert message in told
    assert Path("t.csv").read_bytes() == before
    assert sorted(os.listdir()) == ["folder.csv", "less.csv", "t.csv"]


def test_a_damaged_model_is_one_line_with_both_checksums(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished / "model", tmp_path / "model")
    weights = tmp_path / "model" / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-100] ^= 1
    weights.write_bytes(data)
    told = refused(["predict", str(tmp_path), str(finished.parent / "who left 😀.csv")], capsys)
    assert "weights.safetensors' must have sha256 " in told
