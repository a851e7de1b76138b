"""Seed one silent defect at a time and see that the tests notice: `python tools/mutants.py [words of a name]`.

Each mutant of mutants.toml is one exact-text replacement in a copy of the project outside the working tree; the tests
named for it must fail there. Exit code 1 if one survives, if a test fails without any mutant, or if a mutant does not
fit the source any more.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CATALOGUE = Path(__file__).with_suffix(".toml")
COPIED = ("poise", "tests", "tools", "pyproject.toml")
PYTEST = ("-m", "pytest", "-q", "-ra", "--tb=line", "-p", "no:cacheprovider", "-p", "mutants_guard")
PROCESSES = 2
WIDTHS = (10, 6, 72, 34, 0)  # of the table's columns
SECONDS = 180  # for one mutant's tests; some defect may make them wait for ever
# A defect that stops the program is not silent: any test would notice it, so it proves nothing of this one.
SILENT = ("assert ", "AssertionError", "Failed: ")
# Imported by pytest before all else: an installed package must not be tested in place of the copy.
GUARD = """import pathlib, poise
if pathlib.Path(__file__).parent not in pathlib.Path(poise.__file__).parents:
    raise SystemExit(f"the tests would import {poise.__file__}, not the copy")
"""


class MutantError(Exception):
    """A mutant, or the tests without one, are not as they should be."""


@dataclass(frozen=True)
class Mutant:
    """One defect: `old`, which stands once in `file`, becomes `new`, and one of `tests` must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied(self, root: Path) -> str:
        """Return the file's text with the defect. Raises MutantError unless `old` stands there exactly once."""
        text = (root / self.file).read_text(encoding="utf-8")
        if (found := text.count(self.old)) != 1:
            raise MutantError(
                f"{self.name}: the text to replace must stand once in {self.file}; it does {found} times. "
                f"Give the mutant the text that stands there now, in {CATALOGUE.name}."
            )
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Outcome:
    """What the tests said of one mutant: killed or not, by which test or why not, and the time it took."""

    mutant: Mutant
    verdict: str
    said: str
    seconds: float


def catalogue() -> tuple[Mutant, ...]:
    """Return the seeded mutants."""
    listed = tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))["mutant"]
    return tuple(Mutant(**one | {"tests": tuple(one["tests"])}) for one in listed)


def pytest_in(copy: Path, tests: list[str], *options: str) -> tuple[int, str]:
    """Run tests of a copy on its own package; return pytest's exit code and its output."""
    # Wide, because pytest cuts its summary to the terminal; one thread, because two of these run side by side.
    own = {"PYTHONPATH": str(copy), "COLUMNS": "400", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, *PYTEST, *options, *tests],
            cwd=copy,
            env=os.environ | own,
            timeout=SECONDS * (1 if options else 4),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return -1, "ran out of time"
    return done.returncode, done.stdout


def copied(source: Path, target: Path) -> Path:
    """Copy the project with its compiled files, whose stamps stay right because times are copied too."""
    for name in COPIED:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name)
        elif (source / name).exists():
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name)
    (target / "mutants_guard.py").write_text(GUARD, encoding="utf-8")
    return target


def judged(base: Path, place: Path, mutant: Mutant) -> Outcome:
    """Run one mutant's tests in a copy of its own."""
    began = time.perf_counter()
    copy = copied(base, place)
    text = mutant.applied(copy)
    (copy / mutant.file).unlink()  # a new file, so that no compiled one can be taken for it
    (copy / mutant.file).write_text(text, encoding="utf-8")
    code, output = pytest_in(copy, list(mutant.tests), "-x")
    shutil.rmtree(copy)
    return Outcome(mutant, *verdict_of(code, output), time.perf_counter() - began)


def verdict_of(code: int, output: str) -> tuple[str, str]:
    """Return the verdict on a mutant from pytest's exit code and output, and the test that killed it, or why not."""
    if code == 0:
        return "SURVIVED", "all of its tests pass"
    failed = re.search(r"^(?:FAILED|ERROR) (.*?)(?: - (.*))?$", output, flags=re.MULTILINE)
    if code != 1 or failed is None:
        return "NOT RUN", output.strip().rpartition("\n")[2] or f"pytest's exit code is {code}"
    test, reason = failed[1], failed[2] or "no reason given"
    return ("killed", test) if reason.startswith(SILENT) else ("NOT SILENT", reason)


def check_without_mutants(base: Path, mutants: tuple[Mutant, ...]) -> None:
    """Raise MutantError unless all named tests pass, and none is skipped, on the untouched copy."""
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    code, output = pytest_in(base, tests)
    if code or re.search(r"^SKIPPED", output, flags=re.MULTILINE):
        raise MutantError(f"without a mutant the tests do not all pass:\n{output}")


def run(root: Path, mutants: tuple[Mutant, ...]) -> int:
    """Judge the mutants on copies of the project at `root`, print a table, and return the exit code."""
    began = time.perf_counter()
    for mutant in mutants:
        mutant.applied(root)
    with tempfile.TemporaryDirectory(prefix="poise-mutants-") as folder, ThreadPoolExecutor(PROCESSES) as pool:
        base = copied(root, Path(folder) / "base")
        check_without_mutants(base, mutants)
        print(f"without a mutant all tests pass ({time.perf_counter() - began:.0f} s)", flush=True)
        places = (Path(folder) / str(number) for number in range(len(mutants)))
        outcomes = []
        for outcome in pool.map(lambda pair: judged(base, *pair), zip(places, mutants, strict=True)):
            outcomes.append(outcome)
            row = (outcome.verdict, f"{outcome.seconds:.1f} s", outcome.mutant.name, outcome.mutant.file, outcome.said)
            print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, WIDTHS, strict=True)), flush=True)
    alive = [outcome.mutant.name for outcome in outcomes if outcome.verdict != "killed"]
    print(f"{len(outcomes) - len(alive)} of {len(outcomes)} mutants killed in {time.perf_counter() - began:.0f} s")
    return 1 if alive else 0


def main(words: list[str]) -> int:
    """Run the mutants whose name or file holds one of the words; all, if there are none."""
    chosen = tuple(m for m in catalogue() if not words or any(word in f"{m.name} {m.file}" for word in words))
    if not chosen:
        print(f"no mutant's name or file holds {' or '.join(map(repr, words))}", file=sys.stderr)
        return 1
    try:
        return run(ROOT, chosen)
    except MutantError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
