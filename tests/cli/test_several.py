"""`poise study` with several targets, and `poise predict` with what it made."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from poise.cli import main
from poise.study.result import result_from_json

OPTIONS = ["--budget", "2trials", "--no-ablation", "--parts", "dropout,patience", "--quiet"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(90, 2))
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "left": np.where(x[:, 0] > 0, "yes", "no"), "size": x @ [1, 2]})
    frame.loc[::4, "size"] = np.nan
    frame.loc[1::5, "left"] = None
    path = tmp_path_factory.mktemp("several") / "table.csv"
    frame.to_csv(path, index=False)
    return path


def test_target_is_repeated_or_divided_by_a_comma_and_both_find_the_same(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ways = (["--target", "left", "--target", "size"], ["--target", "left,size"])
    results = []
    for place, way in enumerate(ways):
        out = tmp_path / f"out{place}"
        assert main(["study", str(table), *way, "--out", str(out), *OPTIONS]) == 0
        results.append(result_from_json((out / "result.json").read_text(encoding="utf-8")))
    assert results[0].trials == results[1].trials
    assert results[0].target == "left, size"
    text = capsys.readouterr().out
    assert "What learning each target alone costs" in text
    assert main(["predict", str(tmp_path / "out0"), str(table)]) == 0
    told, err = capsys.readouterr()
    assert told.splitlines()[0] == "left prediction,left probability no,left probability yes,size prediction"
    assert len(told.splitlines()) == 91
    assert "2 columns are not used" in err


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (["--target", "left", "--target", "left"], "once; got 'left' twice"),
        (["--target", "left,sise"], "Did you mean 'size'"),
    ],
)
def test_a_wrong_target_is_told_in_one_line_and_leaves_nothing(
    targets: list[str], says: str, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", str(table), *targets, "--out", str(tmp_path / "out"), *OPTIONS]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()
