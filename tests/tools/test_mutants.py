"""The seeded mutants fit the source, their tests exist, and the tool that runs them tells the dead from the living."""

import ast
from pathlib import Path

import pytest

import mutants

CATALOGUE = mutants.catalogue()
SOURCE = "def half(number):\n    return number / 2\n"
TEST = "from poise import half\n\n\ndef test_half():\n    assert half(4) == 2\n"
KILLED = mutants.Mutant("a third", "poise/__init__.py", "number / 2", "number / 3", ("tests/test_half.py::test_half",))


def functions(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if hasattr(node, "name")}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in (("poise/__init__.py", SOURCE), ("tests/test_half.py", TEST)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_there_are_enough_and_each_has_a_name_of_its_own() -> None:
    names = [mutant.name for mutant in CATALOGUE]
    assert len(set(names)) == len(names) >= 24


@pytest.mark.parametrize("mutant", CATALOGUE, ids=lambda mutant: mutant.name)
def test_its_text_stands_once_in_the_source_and_what_it_makes_of_it_is_python(mutant: mutants.Mutant) -> None:
    ast.parse(mutant.applied(mutants.ROOT))


@pytest.mark.parametrize("mutant", CATALOGUE, ids=lambda mutant: mutant.name)
def test_its_tests_exist(mutant: mutants.Mutant) -> None:
    assert mutant.tests
    for test in mutant.tests:
        file, _, function = test.partition("::")
        assert not function or function.partition("[")[0] in functions(mutants.ROOT / file), test


@pytest.mark.parametrize("old", ["number / 4", "number"])
def test_a_text_that_is_not_there_or_there_twice_is_refused_before_any_test_runs(old: str, project: Path) -> None:
    rotten = mutants.Mutant("rotten", "poise/__init__.py", old, "1", KILLED.tests)
    with pytest.raises(mutants.MutantError, match=r"rotten: the text to replace must stand once in poise/__init__\.py"):
        mutants.run(project, (KILLED, rotten))


def test_a_defect_that_a_test_notices_is_killed_and_the_source_stays(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mutants.run(project, (KILLED,)) == 0
    shown = capsys.readouterr().out
    assert "killed" in shown
    assert "tests/test_half.py::test_half" in shown
    assert (project / "poise/__init__.py").read_text(encoding="utf-8") == SOURCE


@pytest.mark.parametrize(
    ("new", "verdict"), [("number * 0.5", "SURVIVED"), ("unknown", "NOT SILENT"), ("number / 2)", "NOT RUN")]
)
def test_one_that_lives_or_stops_the_program_fails_the_run(
    new: str, verdict: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = mutants.Mutant("other", "poise/__init__.py", "number / 2", new, KILLED.tests)
    assert mutants.run(project, (KILLED, other)) == 1
    shown = capsys.readouterr().out
    assert verdict in shown
    assert "1 of 2 mutants killed" in shown


@pytest.mark.parametrize("wrong", ["half(4) == 3", "__import__('pytest').skip('not here')"])
def test_a_test_that_fails_or_is_skipped_without_a_mutant_proves_nothing(wrong: str, project: Path) -> None:
    (project / "tests/test_half.py").write_text(TEST.replace("half(4) == 2", wrong), encoding="utf-8")
    with pytest.raises(mutants.MutantError, match="without a mutant the tests do not all pass"):
        mutants.run(project, (KILLED,))


def test_a_name_that_no_mutant_has_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert mutants.main(["no such defect"]) == 1
    assert "no mutant's name or file holds 'no such defect'" in capsys.readouterr().err
