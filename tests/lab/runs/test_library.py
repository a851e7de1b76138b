"""Runs are found, listed and read, whatever lies beside them; a broken one is said in words."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from poise.core.errors import ArgumentError
from poise.lab.runs import Library
from poise.study.result import result_from_json

ID = re.compile(r"^[a-z0-9]{8,32}$")
SCRIPTS = [
    "<script>alert(1)</script>",
    "a|b [x](javascript:alert(1))",
    "\u202eevil\x07",
    "=1+1",
    "'; DROP TABLE trials; --",
    "ü😀" * 30,
]


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def names(library: Library) -> set[str]:
    return {line.place for line in library.runs()}


def test_studies_are_found_at_any_depth_with_ids_that_tell_no_path(two: Path) -> None:
    lines = Library([two]).runs()
    assert {line.place for line in lines} == {"one", os.path.join("deep", "two")}
    assert all(ID.fullmatch(line.id) for line in lines)
    assert {line.id for line in lines} == {line.id for line in Library([str(two)]).runs()}, "ids outlive the process"


def test_the_list_says_what_the_result_says(two: Path) -> None:
    line = next(line for line in Library([two]).runs() if line.place == "one")
    result = result_from_json((two / "one" / "result.json").read_text())
    assert line.status == "finished"
    assert result.finding.startswith(line.finding.rstrip("…"))
    assert result.metrics[0].label in line.score


def test_a_study_or_a_log_can_be_named_itself(two: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("step,train_loss\n1,2\n")
    assert names(Library([two / "one", log])) == {"one", "log.csv"}


def test_a_place_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="there is no"):
        Library([tmp_path / "missing"])


def test_a_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"x")
    with pytest.raises(ArgumentError, match="must end in"):
        Library([tmp_path / "photo.png"])


def test_foreign_files_are_passed_over(runs: Path) -> None:
    (runs / "notes.csv").write_text("name,age\nx,3\n")
    (runs / "data.jsonl").write_text('{"text": "hello"}\n')
    (runs / "picture.json").write_text("[1, 2")
    (runs / ".hidden").mkdir()
    (runs / ".hidden" / "record.sqlite").touch()
    (runs / "empty").mkdir()
    assert names(Library([runs])) == {"one", os.path.join("deep", "two")}


def test_links_are_not_followed(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "one", tmp_path / "elsewhere")
    (runs / "linked").symlink_to(tmp_path / "elsewhere")
    (runs / "loop").symlink_to(runs)
    assert names(Library([runs])) == {"one", os.path.join("deep", "two")}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"format": 1}',
        '{"format": 1, "table": 3}',
        "[" * 100_000,
        '{"format": 1, "unknown": {}}',
    ],
)
def test_a_broken_result_is_listed_with_words(runs: Path, text: str) -> None:
    (runs / "one" / "result.json").write_text(text)
    line = next(line for line in Library([runs]).runs() if line.place == "one")
    assert line.status == "unreadable"
    assert "result.json is not as a study writes it" in line.finding
    assert str(runs) not in line.finding
    page = Library([runs]).page(line.id)
    assert page is not None
    assert (page.finding, page.notes) == ("", (line.finding,)), "said once, and nothing of how the study ended"


@pytest.mark.parametrize(
    ("field", "value"),
    [("trials", "many"), ("metrics", []), ("seconds", "long"), ("finding", None), ("rows", {"train": "x"})],
)
def test_a_result_of_other_types_is_broken_not_drawn(runs: Path, field: str, value: object) -> None:
    path = runs / "one" / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    assert next(line for line in Library([runs]).runs() if line.place == "one").status == "unreadable"


def test_a_foreign_database_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with sqlite3.connect(tmp_path / "x" / "record.sqlite") as connection:
        connection.execute("CREATE TABLE trials (a)")
    connection.close()
    line = Library([tmp_path]).runs()[0]
    assert line.status == "unreadable"
    assert "no study's record" in line.finding


def test_reading_writes_nothing(two: Path) -> None:
    def seen() -> dict[str, tuple[int, int]]:
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in two.rglob("*") if path.is_file()}

    before = seen()
    library = Library([two])
    for line in library.runs():
        page = library.page(line.id)
        assert page is not None
        for name in page.figures:
            figure = library.figure(name, [line.id])
            figure.compute(figure.start())
    assert seen() == before


def test_a_run_is_read_once_a_second_and_only_when_it_has_changed(runs: Path) -> None:
    clock = Clock()
    library = Library([runs], clock=clock)
    run = next(line.id for line in library.runs() if line.place == "one")
    first = library.record(run)
    path = runs / "one" / "result.json"
    path.write_text(path.read_text().replace('"diabetes"', '"other"'))
    clock.now = 0.9
    assert library.record(run) is first, "read twice within a second"
    clock.now = 1.1
    again = library.record(run)
    assert again is not None
    assert again.result is not None
    assert again.result.table == "other"
    clock.now = 3.0
    assert library.record(run) is again, "read anew though nothing has changed"


def test_a_new_run_shows_up(runs: Path) -> None:
    clock = Clock()
    library = Library([runs], clock=clock)
    assert len(library.runs()) == 2
    (runs / "late.jsonl").write_text('{"step": 1, "val_loss": 2}\n')
    clock.now = 1.5
    assert len(library.runs()) == 3


@pytest.mark.parametrize("run", ["", "../one", "0" * 16, "x" * 100, "one"])
def test_an_id_that_is_none_of_ours_has_no_page(two: Path, run: str) -> None:
    library = Library([two])
    assert library.page(run) is None
    with pytest.raises(ArgumentError, match="not here"):
        library.figure("run-loss", [run])


@pytest.mark.parametrize("name", SCRIPTS)
def test_names_are_data(runs: Path, name: str) -> None:
    safe = name.replace("/", "_")[:60]
    (runs / "one").rename(runs / safe)
    path = runs / safe / "result.json"
    result = json.loads(path.read_text())
    result["table"] = result["target"] = result["finding"] = name
    result["contributions"] = [one | {"part": name} for one in result["contributions"]]
    path.write_text(json.dumps(result))
    library = Library([runs])
    line = next(line for line in library.runs() if line.kind == "study" and line.place != os.path.join("deep", "two"))
    page = library.page(line.id)
    assert page is not None
    assert not any(letter in line.name + line.finding for letter in "\x07\u202e"), "control characters reach the page"
    for figure_name in page.figures:
        figure = library.figure(figure_name, [line.id])
        state = figure.start()
        json.dumps(figure.message(state, figure.compute(state)), allow_nan=False)


def test_the_page_of_a_study_has_its_figures_recipe_and_code(two: Path) -> None:
    library = Library([two])
    line = next(line for line in library.runs() if line.place == "one")
    page = library.page(line.id)
    assert page is not None
    assert {"run-loss", "run-gap", "run-ablation", "run-weights", "run-population", "run-arms"} <= set(page.figures)
    assert page.recipe == (two / "one" / "recipe.yaml").read_text()
    spaces: dict[str, object] = {"new_rows": None}
    exec(page.code, spaces)  # the code to use it again runs
    assert len(spaces["recipe"].parts) >= 0  # type: ignore[attr-defined]


def test_two_studies_are_compared_where_they_can_be(two: Path) -> None:
    library = Library([two])
    first, second = (line.id for line in library.runs())
    page = library.comparison(first, second)
    assert page is not None
    assert page.figures == ("compare-loss", "compare-scores", "compare-recipes")
    assert any("same test rows" in note for note in page.notes)
    assert library.comparison(first, "0" * 16) is None


def test_too_much_is_cut_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poise.lab.runs.library.MOST", 30)
    for number in range(60):
        (tmp_path / f"log-{number:02}.csv").write_text("step,val_loss\n1,2\n")
    library = Library([tmp_path])
    assert len(library.runs()) == 30
    assert "30" in library.cut
