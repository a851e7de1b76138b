"""A search whose worker processes are killed: what was lost is done again, and what was found is kept."""

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from poise.core.errors import PoiseWarning
from poise.study.bracket import Candidate, bracket
from poise.study.clock import Clock, parse_budget
from poise.study.cohort import Plan
from poise.study.folds import Folds
from poise.study.prepare import Prepared
from poise.study.result import Trial
from poise.study.search import METHODS, Search
from poise.study.space import Space
from poise.study.workers import WorkersLostError

SPACE = Space(["dropout", "decay", "patience", "l1"])
PLAN = Plan(steps=16, batch=16, every=4, rungs=(4,))


def searched(ready: Prepared, folds: Folds, trials: int) -> Search:
    search = Search(ready.problem, SPACE, folds, PLAN, 0, jobs=2, widest=4, brackets=2)
    search.run(Clock(parse_budget(f"{trials}trials")), 0.7)
    return search


def killed(folder: Path, first: int, times: int, *given: Any) -> tuple[list[Trial], list[Candidate]]:
    """Stand for a bracket whose process is killed so many times, from number `first` on."""
    before = len(list(folder.iterdir()))
    if given[2][0].number >= first and before < times:
        (folder / str(before)).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return bracket(*given)


def test_a_search_whose_worker_is_killed_finds_the_same(
    ready: Prepared, folds: Folds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = searched(ready, folds, 16)
    monkeypatch.setitem(METHODS, "halving", partial(killed, tmp_path, 4, 1))
    with pytest.warns(PoiseWarning, match="a worker process was killed") as told:
        again = searched(ready, folds, 16)
    assert len(told) == 1
    assert again.trials == whole.trials


def test_a_search_whose_workers_are_killed_again_and_again_keeps_what_it_found(
    ready: Prepared, folds: Folds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "halving", partial(killed, tmp_path, 8, 99))
    with pytest.warns(PoiseWarning) as told:
        search = searched(ready, folds, 40)
    assert sorted(trial.number for trial in search.trials) == list(range(8))
    assert search.candidates
    assert str(told[0].message).endswith("begun again by 1 worker.")
    assert str(told[-1].message).endswith("The search ended with what it had found.")
    assert len(told) == 2


def test_a_search_that_found_nothing_before_its_workers_were_killed_says_so(
    ready: Prepared, folds: Folds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "halving", partial(killed, tmp_path, 0, 99))
    with pytest.warns(PoiseWarning, match="begun again"), pytest.raises(WorkersLostError, match="Free memory"):
        searched(ready, folds, 16)
