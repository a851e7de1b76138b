"""Two small studies that were really run, in one folder of runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from poise.study import Study
from poise.study.cohort import Plan
from poise.study.table_network import Design


def run_small(out: Path, parts: list[str], seed: int = 0, budget: str = "4trials") -> Study:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("poise.study.fit.plan_for", lambda rows, **_: Plan(24, min(rows, 16), 4))
        design = Design(width=16, depth=1)
        study = Study("diabetes", budget=budget, out=out, jobs=1, seed=seed, parts=parts, design=design)
        study.run()
        return study


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The study that wrote the folder `one`."""
    return run_small(tmp_path_factory.mktemp("runs") / "one", ["dropout", "decay", "l1", "patience"])


@pytest.fixture(scope="session")
def two(study: Study) -> Path:
    """A folder with the studies `one` and `deep/two`; nobody writes in it."""
    assert study.out is not None
    root = study.out.parent
    run_small(root / "deep" / "two", ["dropout", "patience"])
    return root


@pytest.fixture
def runs(two: Path, tmp_path: Path) -> Path:
    """A copy of it, for tests that spoil it."""
    return Path(shutil.copytree(two, tmp_path / "runs"))
