"""The command line: its usage, `explain`, and one line of reason for every mistake (bad inputs 98-100, 110)."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import poise.study  # noqa: F401  # now: one test gives up the right to read its files
from poise import L1, Decay, Dropout, Mixup, Recipe, __version__
from poise.cli import folder, main
from poise.core.errors import DataError, StudyError


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


# ---- what stands around the commands ----


def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)  # type: ignore[call-overload,no-any-return]


def test_help_needs_no_heavy_import_and_a_third_of_a_second() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run("-X", "importtime", "-m", "poise.cli", "--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0
    assert all(command in done.stdout for command in ("study", "predict", "explain"))
    modules = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "argparse" in modules
    assert not modules & {"torch", "numpy", "pandas", "sklearn", "rich", "yaml", "sqlite3"}
    # Of the processor, not of the clock: the machine may be busy.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.3


def test_the_package_imports_its_names_at_their_first_use() -> None:
    code = """
import sys, poise
assert "torch" not in sys.modules
assert poise.batch.Mixup is poise.Mixup is not None
assert not hasattr(poise, "nothing")
assert set(poise.__all__) <= set(dir(poise))
for name in poise.__all__:
    assert getattr(poise, name) is not None, name
from poise import *
assert L1 is poise.L1
"""
    done = run("-c", code)
    assert done.returncode == 0, done.stderr


def test_a_recipe_is_read_where_only_its_reader_was_imported() -> None:
    code = 'from poise.core.spec import from_json; print(from_json(\'{"format": 1, "parts": {"l1": {}}}\'))'
    done = run("-c", code)
    assert "L1(weight=" in done.stdout, done.stderr


def test_the_version_and_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"poise {__version__}\n"
    assert main(["study", "--help"]) == 0
    told = capsys.readouterr().out
    options = ("target", "budget", "out", "seed", "device", "groups", "time", "task", "encoding", "delimiter", "parts")
    assert all(f"--{option}" in told for option in (*options, "no-ablation", "quiet", "force"))


@pytest.mark.parametrize(
    "arguments",
    [[], ["fly"], ["study"], ["study", "iris", "--seed", "x"], ["study", "iris", "--search", "grid"], ["--vers"],
     ["study", "iris", "--budg", "1m"], ["predict", "x"], ["explain"], ["study", "iris", "--task", "magic"]],
    ids=" ".join,
)  # fmt: skip
def test_a_wrong_call_shows_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: poise")


def test_a_developer_sees_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POISE_DEBUG", "1")
    with pytest.raises(DataError, match="is no file"):
        main(["explain", "nothing.yaml"])


# ---- explain ----


def test_explain_prints_the_receipt_and_the_conflicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = Recipe(L1(1e-4), Decay(0.05), Decay(0.1, name="decay_2"), Mixup(0.4))
    (tmp_path / "r.yaml").write_text(recipe.to_yaml())
    assert main(["explain", str(tmp_path / "r.yaml")]) == 0
    out, err = capsys.readouterr()
    assert out == recipe.explain() + "\n"
    assert "warning: decay and decay_2 are the same regularizer twice" in out
    assert err == ""


def test_explain_reads_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.json").write_text('{"format": 1, "parts": {"dropout": {"p": 0.25}, "l1": {"weight": 1e-4}}}')
    assert main(["explain", str(tmp_path / "r.json")]) == 0
    assert capsys.readouterr().out == Recipe(Dropout(0.25), L1(1e-4)).explain() + "\n"


ALIASES = ", ".join(f"&a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10))
BAD_RECIPES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "must be a mapping with `format` and `parts`; got None"),
    "a newer format": (b"format: 2\nparts: {}", "`format` must be 1; got 2"),
    "an unknown part": (b"format: 1\nparts: {magic: {}}", "no regularizer is called 'magic'"),
    "a bad value": (b"format: 1\nparts: {dropout: {p: 1.5}}", "`Dropout.p` must be"),
    "binary": (bytes(range(128, 256)), "byte 0: no UTF-8 text"),
    "NUL": (b"format: 1\0", "not plain YAML"),
    "a pickle": (b"\x80\x04N.", "no UTF-8 text"),
    "a ZIP file": (b"PK\x03\x04\x00\x00", "not plain YAML"),
    "a tag": (b"!!python/object/apply:os.system ['touch canary']", "not plain YAML"),
    "a tag inside": (b"format: 1\nparts: {l1: {weight: !!python/name:os.system }}", "not plain YAML"),
    "too deep": (b"[" * 60_000, "nested too deep"),
    "too large": (b"#" * 2**17, "has more than 65536 bytes"),
    "a bomb": (f"format: 1\nparts: {{l1: {{where: [&a0 [x, x], {ALIASES}]}}}}".encode(), "at most 100000 values"),
    "a bomb of numbers": (f"format: 1\nparts: {{l1: {{weight: [&a0 [1], {ALIASES}]}}}}".encode(), "at most 100000"),
    "a list in itself": (b"format: 1\nparts: {l1: {where: &a [*a]}}", "at most 100000 values"),
}


@pytest.mark.parametrize("word", BAD_RECIPES)
def test_a_bad_recipe_is_one_line(
    word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data, message = BAD_RECIPES[word]
    Path("r.yaml").write_bytes(data)
    assert message in refused(["explain", "r.yaml"], capsys)
    assert os.listdir() == ["r.yaml"], "nothing may run"


@pytest.mark.parametrize("path", ["nothing.yaml", ".", os.devnull, "x" * 300, "", "a\x1b[2Jb"])
def test_a_recipe_that_is_no_file_is_one_line(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(["explain", path], capsys)
    assert "is no file" in told
    assert "\x1b" not in told


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(Recipe(L1(1e-4)).to_yaml())
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "poise.cli", "explain", str(tmp_path / "r.yaml")]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


# ---- the start of a study ----


MISTAKES: dict[str, tuple[list[str], str]] = {
    "no such table": (["nothing.csv"], "'nothing.csv' does not exist, nor is it one of the bundled tables"),
    "no target": (["t.csv"], "must name a column"),
    "no such column": (["t.csv", "--target", "lef"], "Did you mean 'left'?"),
    "no such group": (["t.csv", "--target", "left", "--groups", "g"], "no column 'g'"),
    "no such time": (["t.csv", "--target", "left", "--time", "t"], "no column 't'"),
    "a budget of words": (["t.csv", "--target", "left", "--budget", "long"], "must be a time or a count such as"),
    "a budget of 0": (["t.csv", "--target", "left", "--budget", "0s"], "must be a time or a count"),
    "a seed below 0": (["t.csv", "--target", "left", "--seed", "-1"], "`Study.seed` must be an int"),
    "an unknown part": (["t.csv", "--target", "left", "--parts", "l1,magic"], "must be among"),
    "a long delimiter": (["t.csv", "--target", "left", "--delimiter", "||"], "must be one character"),
    "an unknown encoding": (["t.csv", "--target", "left", "--encoding", "utf-99"], "utf-99"),
    "a task that does not fit": (["t.csv", "--target", "left", "--task", "regression"], "left"),
    "a folder without images": (["."], "has no image in a folder of its class"),
    "a column of images": (["there", "--target", "left"], "`Study.target` is for tables"),
}


@pytest.mark.parametrize("out", [[], ["--out", "new"], ["--out", "there"]], ids=["numbered", "new", "empty"])
@pytest.mark.parametrize("word", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(
    word: str, out: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("a,left\n" + "1,yes\n2,no\n3,no\n" * 20)
    Path("there").mkdir()
    arguments, message = MISTAKES[word]
    assert message in refused(["study", *arguments, "--quiet", *out], capsys)
    left = sorted(str(path) for path in Path().rglob("*"))
    assert left in (["t.csv", "there"], ["runs", "t.csv", "there"])


@pytest.fixture
def readonly() -> Iterator[Path]:
    """A folder that may be read only, also where the tests run as root."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o555)
        root = os.geteuid() == 0
        try:
            if root:
                os.setresuid(65534, 65534, 0)  # the real user too, which os.access asks for
            yield Path(name)
        finally:
            if root:
                os.setresuid(0, 0, 0)
            Path(name).chmod(0o755)


def test_a_folder_that_cannot_be_written_is_refused_at_the_start(
    readonly: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = refused(["study", "iris", "--out", str(readonly / "out")], capsys)
    assert "may not be written" in told
    monkeypatch.chdir(readonly)
    assert "the folder `runs` cannot be written here: Permission denied" in refused(["study", "iris"], capsys)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("t.csv", "must be a folder; .*t.csv' is a file"),
        ("x" * 300, "File name too long"),
        ("mine", "holds .'thesis.tex'."),
        ("t.csv/out", "Not a directory|is a file"),
        (os.devnull, "is a file"),
        ("", "must be a new or empty folder"),
    ],
    ids=["a file", "300 characters", "another's folder", "below a file", "a device", "no name"],
)
@pytest.mark.parametrize("force", [[], ["--force"]], ids=["", "force"])
def test_a_folder_that_is_not_ours_is_refused_at_the_start(
    out: str,
    message: str,
    force: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("a,b\n1,2\n")
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("mine")
    with pytest.MonkeyPatch.context() as debug:
        debug.setenv("POISE_DEBUG", "1")
        with pytest.raises(StudyError, match=message):
            main(["study", "iris", "--out", out, *force])
    refused(["study", "iris", "--out", out, *force], capsys)
    assert sorted(str(path) for path in Path().rglob("*")) == ["mine", "mine/thesis.tex", "t.csv"]


def test_a_full_disk_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"has \d+ free bytes; a study needs 1208925819614629174706176\. Free some"):
        folder.check_space(tmp_path / "not" / "yet", least=2**80)
    folder.check_space(tmp_path, least=0)
