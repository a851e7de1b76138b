"""The baselines: chosen on validation rows, trained on all of them, and boosting on awkward tables."""

import numpy as np
import pytest
import torch

from poise.models.tabular import ColumnPlan
from poise.study import baselines
from poise.study.baselines import boosting, plain_families, plain_networks
from poise.study.bracket import Candidate
from poise.study.cohort import Cohort, Plan
from poise.study.folds import Folds
from poise.study.heads import Head
from poise.study.prepare import Prepared
from poise.study.problem import Problem
from poise.study.refit import refit
from poise.study.space import Config, Space
from poise.study.table_network import Design

RATES, DROPS = (1e-3, 3e-3, 1e-2), (0.1, 0.25, 0.4, 0.6)


def test_each_family_gives_its_best_on_validation_retrained_on_all_rows(
    ready: Prepared, folds: Folds, plan: Plan
) -> None:
    found = plain_networks(ready.problem, folds, plan, 0)
    pairs = [(0.0, lr) for lr in RATES] + [(p, lr) for p in DROPS for lr in RATES]
    configs = [Config(n, {"dropout.p": p}, lr, ("dropout",) if p else ()) for n, (p, lr) in enumerate(pairs)]
    recipe = Space(("dropout",)).recipe
    cohort = Cohort(ready.problem, recipe, configs, folds, plan, seed=0, fold_of=[0] * 15)
    cohort.train(plan.steps)
    scores = cohort.validation()[0]
    best = {"unregularized network": int(scores[:3].argmin()), "tuned dropout": 3 + int(scores[3:].argmin())}
    assert list(found) == list(best)
    assert {name: len(own) for name, own in plain_families(ready.problem)[1].items()} == {
        "unregularized network": 3,
        "tuned dropout": 12,
    }
    inputs = torch.from_numpy(ready.inputs)
    for name, place in best.items():
        alone = refit(ready.problem, recipe, [Candidate(configs[place], 0.0, torch.empty(0), plan.steps, plan)], [0], 0)
        assert len(found[name]) == 1
        torch.testing.assert_close(found[name].outputs(inputs), alone.outputs(inputs), atol=2e-5, rtol=2e-5)


def problem_of(codes: np.ndarray, classes: int | None, weights: np.ndarray | None = None) -> tuple[Problem, np.ndarray]:
    inputs = np.random.default_rng(0).normal(size=(len(codes), 3)).astype(np.float32)
    inputs[:, 0] += codes
    plan = ColumnPlan((0, 1, 2), ("numeric",) * 3)
    head = Head.of("y", classes, weights)
    made = Problem.of(inputs, [codes], [head], plan=plan, design=Design(width=16, depth=1))
    return made, inputs


@pytest.mark.parametrize(
    "counts",
    [[150, 99, 1], [240, 8, 2], [9] * 30, [30, 20]],
    ids=["a class of one row", "a class of two", "more classes than a tenth of the rows", "few rows"],
)
def test_boosting_takes_rare_and_many_classes(counts: list[int]) -> None:
    codes = np.repeat(np.arange(len(counts)), counts)
    problem, inputs = problem_of(codes, len(counts))
    found = boosting(problem, codes, inputs, 0)
    assert found.shape == (len(codes), len(counts))
    np.testing.assert_allclose(found.sum(1), 1.0, rtol=1e-6)
    assert (found.argmax(1) == codes).mean() > 0.4


def test_classes_of_one_row_each_are_not_warned_of_by_another_library() -> None:
    codes = np.arange(40)
    problem, inputs = problem_of(codes, len(codes))
    assert np.isfinite(boosting(problem, codes, inputs, 0)).all()


def test_a_class_that_no_row_has_gets_a_probability_that_is_no_0() -> None:
    codes = np.repeat([0, 2], [40, 30])
    problem, inputs = problem_of(codes, 3, np.array([1.0, 5.0, 1.0]))
    found = boosting(problem, codes, inputs, 0)
    assert (found[:, 1] == 1e-12).all()


def test_a_class_that_all_rows_have_gets_all_probability() -> None:
    codes = np.full(40, 1)  # the latest rows, the test part, may hold the only ones of another class
    problem, inputs = problem_of(codes, 2)
    found = boosting(problem, codes, inputs, 0)
    np.testing.assert_allclose(found, [[0.0, 1.0]] * 40, atol=1e-6)


def test_boosting_is_weighted_as_the_networks_are() -> None:
    codes = np.repeat([0, 1], [60, 20])
    problem, inputs = problem_of(codes, 2, np.array([1.0, 9.0]))
    plain, _ = problem_of(codes, 2)
    found, without = boosting(problem, codes, inputs, 0), boosting(plain, codes, inputs, 0)
    assert found[:, 1].mean() > without[:, 1].mean()


def test_boosting_of_numbers_repeats() -> None:
    codes = np.random.default_rng(1).normal(size=250)
    problem, inputs = problem_of(codes, None)
    found = boosting(problem, codes, inputs, 0)
    assert np.corrcoef(found, codes)[0, 1] > 0.5
    assert np.array_equal(found, boosting(problem, codes, inputs, 0))


@pytest.mark.parametrize(
    ("rows", "cores", "busy", "threads"),
    [(39_000, 16, 0.0, 1), (99_999, 16, 0.0, 1), (100_000, 16, 0.0, 2), (1_000_000, 16, 4.0, 15), (500_000, 2, 3.0, 2),
     (500_000, 2, 50.0, 1), (500_000, 16, 100.0, 1), (10_000_000, 1, 0.0, 1), (1_000_000, 64, 0.0, 20)],
)  # fmt: skip
def test_boosting_has_a_thread_for_many_rows_where_a_core_is_idle(
    rows: int, cores: int, busy: float, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "default_jobs", lambda: cores)
    monkeypatch.setattr(baselines.psutil, "cpu_percent", lambda interval: busy)
    assert baselines._threads(rows) == threads
