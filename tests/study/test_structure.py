"""The structure of a study's networks: which alternatives there are, and that a look finds the one that fits."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import torch

from poise.models.tabular import ColumnPlan
from poise.study.bracket import Candidate, bracket
from poise.study.clock import Clock, parse_budget
from poise.study.cohort import Plan
from poise.study.ensemble import Library
from poise.study.fit import Settings, fit
from poise.study.folds import make_folds
from poise.study.prepare import Prepared
from poise.study.problem import Problem
from poise.study.result import Trial
from poise.study.space import Config, Space
from poise.study.structure import LOOKED_AT, Structures, Trainings
from poise.study.table_network import MANY, Design
from tests.study.conftest import made_ready

SPACE = Space(["dropout", "decay", "patience"], classification=False)
PLAN = Plan(480, 32, 20, (60, 120, 240))


def numeric(columns: int) -> ColumnPlan:
    return ColumnPlan(tuple(range(columns)), ("numeric",) * columns)


def shaped(target: np.ndarray, x: np.ndarray) -> Prepared:
    """A table of a column `x`, one that tells nothing, and a number to predict."""
    other = np.random.default_rng(1).normal(size=len(x))
    frame = pd.DataFrame({"x": x, "other": other, "amount": target, "label": "none"})
    return made_ready(frame, "amount", class_weight=None, design=Design(width=24, depth=2))


def looked(ready: Prepared, plan: Plan = PLAN) -> Structures:
    folds = make_folds(ready.strata, task="regression", count=1, seed=0)
    return Structures(ready.problem, SPACE, folds, plan, 0)


@pytest.fixture(scope="module")
def waves() -> Prepared:
    """The target is a wave of one column, of a length of less than two of the usual eight bins."""
    draw = np.random.default_rng(0)
    x = draw.uniform(size=700)
    return shaped(np.sin(2 * np.pi * 9 * x) + 0.1 * draw.normal(size=700), x)


@pytest.mark.parametrize(
    ("columns", "rows", "fine"), [(3, 700, 32), (57, 4_000, 17), (120, 4_000, 8), (600, 4_000, None)]
)
def test_of_few_rows_alternatives_are_no_bins_and_finer_ones_where_there_is_room(
    columns: int, rows: int, fine: int | None
) -> None:
    found = Design().alternatives(numeric(columns), rows)
    assert found[0] == Design(embedding="none")
    assert [one.bins for one in found[1:]] == ([] if fine is None else [fine])


@pytest.mark.parametrize(("columns", "fine"), [(3, 256), (20, 204), (57, 68), (600, 6), (4_000, None)])
def test_of_many_rows_the_alternative_is_finer_bins(columns: int, fine: int | None) -> None:
    own = Design().settled(numeric(columns), MANY)
    finer = dataclasses.replace(own, embedding="piecewise", bins=fine)
    assert own.alternatives(numeric(columns), MANY) == (() if fine is None else (finer,))


@pytest.mark.parametrize(("columns", "units"), [(1, 16), (32, 16), (33, 0), (600, 0)])
def test_each_column_has_a_layer_of_its_own_where_there_are_not_too_many(columns: int, units: int) -> None:
    for rows in (700, MANY):
        own = Design().settled(numeric(columns), rows)
        assert own == Design(numeric_size=units)
        alone = [one for one in own.alternatives(numeric(columns), rows) if one.embedding == "piecewise"]
        wide = Design().edges(numeric(columns), torch.rand(rows, columns))
        assert wide is not None
        plain = Design(embedding="piecewise", bins=wide.shape[1] - 1)
        assert (plain in alone) is (bool(units) and rows < MANY)
    for told in (Design(embedding="piecewise"), Design(bins=9), Design(embedding="none")):
        assert told.settled(numeric(columns), 700) is told
    words = ColumnPlan((0, 0), ("category",))
    assert Design().settled(words, 700) == Design()


def test_what_is_told_is_left_alone_and_categories_have_no_bins() -> None:
    for embedding in ("piecewise", "periodic", "none"):
        assert Design(embedding=embedding).alternatives(numeric(3), 700) == ()
    assert Design(bins=12).alternatives(numeric(3), 700) == ()
    assert Design().alternatives(ColumnPlan((0, 0), ("category",)), 700) == ()


def test_bins_that_are_told_are_the_bins() -> None:
    edges = Design(bins=20).edges(numeric(3), torch.rand(100, 3))
    assert edges is not None
    assert edges.shape == (3, 21)
    assert Design(embedding="none").edges(numeric(3), torch.rand(100, 3)) is None


def test_a_target_that_waves_faster_than_the_bins_gets_finer_ones(waves: Prepared) -> None:
    problem, said, found = looked(waves).best(jobs=1)
    assert problem.design == dataclasses.replace(waves.problem.design, embedding="piecewise", bins=32)
    assert said.startswith("Numbers enter the network through 32 bins a column. On held-out rows")
    # What it trained of that structure is what a bracket of the search would have trained.
    configs = SPACE.portfolio(0)[:LOOKED_AT]
    folds = make_folds(waves.strata, task="regression", count=1, seed=0)
    plan = dataclasses.replace(PLAN if found.longest else PLAN.cut(0.25), rungs=())
    trials, candidates = bracket(problem, SPACE, configs, folds, plan, 0)
    assert list(found.trials) == trials
    assert [one.outputs.nan_to_num().tolist() for one in found.candidates] == [
        one.outputs.nan_to_num().tolist() for one in candidates
    ]
    # What the look found holds for the whole training, with other seeds.
    losses = []
    for one in (waves.problem, problem):
        library = Library(one, bracket(one, SPACE, configs, folds, dataclasses.replace(PLAN, rungs=()), 7)[1])
        losses.append(float(library.loss(library.answers.mean(0)[None], torch.arange(len(library)))[0]))
    assert losses[1] < 0.8 * losses[0]


@pytest.mark.parametrize(("own", "changed"), [((0.1, 0.9), False), ((0.9, 0.9), True), ((0.9, 0.1), False)])
def test_a_structure_counts_by_the_length_that_suits_it(
    own: tuple[float, float], changed: bool, waves: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Errors after a quarter and at the end; a network without bins has 0.5 at both, one with finer bins 0.7.
    other = {"none": 0.5, "piecewise": 0.7}

    def trained(
        problem: Problem, space: Space, configs: list[Config], folds: object, plan: Plan, seed: int
    ) -> tuple[list[Trial], list[Candidate]]:
        design = problem.design
        assert isinstance(design, Design)
        assert plan.rungs == ()
        error = other.get(design.embedding, own[plan.steps == PLAN.steps])
        outputs = problem.rows.targets + error * torch.linspace(0.9, 1.1, len(problem.rows))[:, None]
        return [], [Candidate(config, error, outputs, plan.steps, plan) for config in configs]

    monkeypatch.setattr("poise.study.structure.bracket", trained)
    problem, said, found = looked(waves).best(jobs=1)
    assert (problem is waves.problem) is not changed
    assert bool(said) is changed
    assert len(found.candidates) == LOOKED_AT
    if not changed:
        assert found.longest is (own[1] < own[0])
        assert {one.plan.steps for one in found.candidates} == {PLAN.steps if found.longest else PLAN.steps // 4}
    if changed:
        assert problem.design == dataclasses.replace(waves.problem.design, embedding="none")


def test_where_nothing_can_be_learned_the_design_stays() -> None:
    draw = np.random.default_rng(0)
    ready = shaped(draw.normal(size=400), draw.uniform(size=400))
    problem, said, _ = looked(ready).best(jobs=1)
    assert problem is ready.problem
    assert said == ""


def test_the_choice_does_not_depend_on_the_workers(waves: Prepared) -> None:
    short = Plan(80, 32, 10)
    one, two = (looked(waves, short).best(jobs) for jobs in (1, 2))
    assert (one[0].design, one[1], one[2].trials) == (two[0].design, two[1], two[2].trials)


def test_a_look_must_be_worth_its_time(waves: Prepared) -> None:
    structures = looked(waves)
    # Three structures, three configurations, 480 and 120 steps of 10 ms: 54 s; of two workers one has two structures.
    assert structures.affordable(0.01, 54 / 0.2 + 1e-6, jobs=1)
    assert not structures.affordable(0.01, 53.9 / 0.2, jobs=1)
    assert structures.affordable(0.01, 36 / 0.2 + 1e-6, jobs=2)
    assert structures.affordable(0.0, math.inf, jobs=1)
    told = dataclasses.replace(waves.problem, design=Design(embedding="piecewise"))
    assert not dataclasses.replace(structures, problem=told).affordable(0.01, math.inf, jobs=1)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(("trials", "looks"), [(31, False), (32, True)])
def test_a_fit_looks_where_its_budget_is_worth_it(
    waves: Prepared, monkeypatch: pytest.MonkeyPatch, trials: int, looks: bool
) -> None:
    other = dataclasses.replace(waves.problem, design=Design(width=24, depth=2, embedding="none"))
    monkeypatch.setattr(Structures, "best", lambda self, jobs: (other, "Said.", Trainings()))
    found = fit(waves.problem, waves.strata, SPACE, Clock(parse_budget(f"{trials}trials")), Settings())
    settled = dataclasses.replace(waves.problem.design, numeric_size=16)
    assert found.problem.design == (other.design if looks else settled)
    assert found.structure == ("Said." if looks else "")
    # The networks are of the structure: 2 numbers in, or 2 x (1 + 16) features.
    assert found.stack.weights["blocks.0.0.weight"].shape[1:] == (24, 2 if looks else 34)


@pytest.mark.usefixtures("short")
def test_what_a_look_trained_is_not_trained_again(waves: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Trainings] = []
    best = Structures.best

    def kept(self: Structures, jobs: int) -> tuple[Problem, str, Trainings]:
        found = best(self, jobs)
        made.append(found[2])
        return found

    monkeypatch.setattr(Structures, "best", kept)
    monkeypatch.setattr("poise.study.table_network.MANY", len(waves.problem.rows))
    monkeypatch.setattr(Structures, "alternatives", lambda self: (Design(width=24, depth=2, embedding="none"),))
    told: list[Trial] = []
    found = fit(waves.problem, waves.strata, SPACE, Clock(parse_budget("32trials")), Settings(on_trials=told.extend))
    assert sorted(trial.number for trial in found.trials) == list(range(32))
    assert told == found.trials
    assert found.trials[:LOOKED_AT] == list(made[0].trials)
    starts = [config.dials | {"lr": config.lr} for config in SPACE.portfolio(0)]
    assert all(starts.count(trial.dials) == 1 for trial in found.trials[:LOOKED_AT])
    assert [sum(trial.dials == start for trial in found.trials) for start in starts] == [1] * len(starts)


def test_a_gain_is_the_mean_over_parts_and_its_noise_their_standard_error(numbers: Prepared) -> None:
    folds = make_folds(numbers.strata, task="regression", count=1, seed=0)
    candidates = bracket(numbers.problem, SPACE, SPACE.portfolio(0)[:1], folds, Plan(20, 16, 5), 0)[1]
    library = Library(numbers.problem, candidates)
    few = library.targets[:, :1]
    assert library.gain(few, few, 0) == (0.0, math.inf)  # fewer than twenty rows
    library.targets, library.weights = torch.zeros(40, 1), torch.ones(40)
    assert library.gain(torch.full((40, 1), 2.0), torch.ones(40, 1), 0) == (3.0, 0.0)
    draw = torch.randn(40, 1, generator=torch.Generator().manual_seed(0))
    gain, noise = library.gain(torch.zeros(40, 1), draw, 0)
    parts = torch.randperm(40, generator=torch.Generator().manual_seed(0)).tensor_split(10)
    squares = np.array([float(-torch.square(draw[rows]).mean()) for rows in parts])
    assert gain == pytest.approx(squares.mean(), rel=1e-5)
    assert noise == pytest.approx(squares.std(ddof=1) / math.sqrt(10), rel=1e-5)
