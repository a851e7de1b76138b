"""Two small studies that were really run, in one folder of runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from poise.study import Study
from poise.study.cohort import Plan
from poise.study.problem import Design
from poise.study.result import StudyResult


def run_small(out: Path, parts: list[str], seed: int = 0, budget: str = "4trials") -> StudyResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("poise.study.fit.plan_for", lambda rows, **_: Plan(24, min(rows, 16), 4))
        design = Design(width=16, depth=1)
        return Study("diabetes", budget=budget, out=out, jobs=1, seed=seed, parts=parts, design=design).run()


@pytest.fixture(scope="session")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the studies `one` and `deep/two`; nobody writes in it."""
    root = tmp_path_factory.mktemp("runs")
    run_small(root / "one", ["dropout", "decay", "l1", "patience"])
    run_small(root / "deep" / "two", ["dropout", "patience"])
    return root


@pytest.fixture
def runs(two: Path, tmp_path: Path) -> Path:
    """A copy of it, for tests that spoil it."""
    return Path(shutil.copytree(two, tmp_path / "runs"))
