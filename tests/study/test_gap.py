"""The gap: scores of the right rows, signed so that positive means overfitting."""

import numpy as np
import pytest
import torch

from poise.study.arms import Arms, train_arms
from poise.study.cohort import Plan
from poise.study.folds import Folds, make_folds
from poise.study.gap import curve_of, gaps_of, model_of, predictions_of
from poise.study.metrics import measure
from poise.study.prepare import Prepared
from poise.study.space import Space
from poise.train.stack import Stack

SPACE = Space(["dropout", "patience"])
ARMS = {"recipe": SPACE.config(0, ("dropout", "patience")), "nothing": SPACE.config(0, (), lr=2e-2)}


@pytest.fixture(scope="module")
def long() -> Plan:
    return Plan(steps=60, batch=32, every=20)  # long enough to overfit


@pytest.fixture(scope="module")
def arms(ready: Prepared, folds: Folds, long: Plan) -> Arms:
    return train_arms(ready.problem, SPACE.recipe, ARMS, folds, long, seeds=3, seed=0, jobs=1)


def test_a_gap_is_the_metric_on_test_rows_against_that_on_the_rows_trained_on(
    arms: Arms, ready: Prepared, folds: Folds
) -> None:
    for gap in gaps_of(ready, folds, arms, "nothing", 0):
        model = model_of(ready, arms.stack.select(torch.tensor([3])))
        values = {}
        for name, rows in {
            "train": ready.development[folds.train[0].numpy()],
            "validation": ready.development[folds.validation[0].numpy() > 0],
            "test": ready.parts.test,
        }.items():
            values[name] = measure(gap.metric, predictions_of(ready, model, rows))
        assert (gap.train.value, gap.validation.value, gap.test.value) == tuple(values.values())
        sign = 1 if gap.metric == "log_loss" else -1
        assert gap.gap.value == pytest.approx(sign * (values["test"] - values["train"]))
        assert gap.gap.low <= gap.gap.value <= gap.gap.high
        assert gap.seeds == 3
        assert gap.gap_over_seeds is not None
        assert gap.test_over_seeds is not None


def test_an_overfitted_network_has_a_positive_gap_in_each_metric_whichever_way_it_runs(
    arms: Arms, ready: Prepared, folds: Folds, numbers: Prepared, long: Plan
) -> None:
    for gap in gaps_of(ready, folds, arms, "nothing", 0):
        assert gap.gap.value > 0, gap.metric
        assert gap.gap_over_seeds is not None
        assert gap.gap_over_seeds.value > 0, gap.metric
    own = make_folds(numbers.strata, task="regression", count=3, seed=0)
    trained = train_arms(numbers.problem, SPACE.recipe, ARMS, own, long, seeds=2, seed=0, jobs=1)
    found = gaps_of(numbers, own, trained, "nothing", 0)
    assert [gap.metric for gap in found] == ["rmse", "r2"]
    assert all(gap.gap.value > 0 for gap in found)


def test_numbers_are_scored_in_the_targets_own_units(numbers: Prepared) -> None:
    stack = numbers.problem.builder()
    weights = {name: torch.zeros(1, *p.shape) for name, p in stack().named_parameters()}
    buffers = {name: b[None] for name, b in stack().named_buffers()}
    model = model_of(numbers, Stack(stack().eval(), weights, buffers))  # answers 0: the mean of the target
    rows = numbers.parts.test
    found = predictions_of(numbers, model, rows)
    assert numbers.table.target is not None
    np.testing.assert_allclose(found.truth, numbers.table.target.to_numpy()[rows], rtol=1e-6)
    np.testing.assert_allclose(found.decided, numbers.table.target.to_numpy()[numbers.development].mean(), rtol=1e-6)


def test_a_curve_is_the_history_of_the_first_seed(arms: Arms) -> None:
    curve = curve_of("after", arms, "recipe")
    assert list(zip(curve.steps, curve.train, curve.validation, strict=True)) == arms.history["recipe"]
    assert curve.best_step == int(arms.best_step[0, 0]) in curve.steps


def test_without_shares_members_count_alike(arms: Arms, ready: Prepared) -> None:
    model = model_of(ready, arms.stack)
    assert model.shares.tolist() == pytest.approx([1 / 6] * 6)
