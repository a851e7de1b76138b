"""Each target alone against together: paired networks, scored on the test rows that know the target."""

import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from poise.study.ablation import FULL, ArmsPlan
from poise.study.arms import Arms, train_arms
from poise.study.cohort import Cohort, Plan
from poise.study.folds import Folds, make_folds
from poise.study.halt import Halt
from poise.study.prepare import Prepared
from poise.study.result import Together
from poise.study.space import Space
from poise.study.together import learned_alone

SPACE = Space(["dropout", "patience"])
BEST = SPACE.config(0, ["dropout"], lr=5e-3)


def joint(ready: Prepared, folds: Folds, plan: Plan) -> Arms:
    return train_arms(ready.problem, SPACE.recipe, {FULL: BEST}, folds, plan, seeds=3, seed=0, jobs=1)


def compared(ready: Prepared, folds: Folds, plan: Plan, halt: Halt | None = None) -> tuple[Together, ...]:
    fitted = SimpleNamespace(best=BEST, folds=folds)
    how = ArmsPlan(plan, 3, parts=False, add_in=False, points=0, arms=1)
    arms = joint(ready, folds, plan)
    return learned_alone(ready, SPACE, fitted, how, arms, seed=0, jobs=1, halt=halt)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def divided(both: Prepared) -> Folds:
    return make_folds(both.strata, task="classification", count=3, seed=0)


def test_the_gain_is_the_difference_of_two_networks_of_one_seed(both: Prepared, divided: Folds, plan: Plan) -> None:
    found = compared(both, divided, plan)[1]
    alone = both.alone(1)
    rows = both.parts.test[~np.isnan(both.codes[1][both.parts.test])]
    truth = both.codes[1][rows]
    errors = []
    for problem, column in ((both.problem, 2), (alone.problem, 0)):
        arms = train_arms(problem, SPACE.recipe, {FULL: BEST}, divided, plan, seeds=3, seed=0, jobs=1)
        outputs = arms.stack.outputs(torch.from_numpy(both.inputs[rows]))[..., column].numpy()
        errors.append(np.sqrt(np.mean((outputs - truth) ** 2, axis=1)) * both.targets[1].scale)
    gains = errors[1] - errors[0]
    np.testing.assert_allclose(found.gain_seeds, gains, rtol=1e-4, atol=1e-5)
    low, high = stats.t.interval(0.95, 2, gains.mean(), stats.sem(gains))
    assert (found.gain.low, found.gain.high) == pytest.approx((low, high), rel=1e-3)
    assert found.together == pytest.approx(errors[0].mean(), rel=1e-5)


def test_a_network_alone_begins_with_the_joint_ones_trunk_and_sees_its_batches(both: Prepared, divided: Folds) -> None:
    plan = Plan(1, 16, 4)
    first, second = (
        Cohort(problem, SPACE.recipe, [BEST], divided, plan, seed=0, seeds=[2_000_001], fold_of=[1]).population
        for problem in (both.problem, both.problem.alone(0))
    )
    shared = [name for name in first.weights() if not name.startswith("head")]
    assert len(shared) >= 2
    for name in shared:
        assert torch.equal(first.weights()[name], second.weights()[name]), name
    assert torch.equal(first.state.keys, second.state.keys)


def test_targets_that_share_what_decides_them_help_the_one_with_few_labels(
    make_both: Callable[..., Prepared], frame: pd.DataFrame
) -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(300, 8))
    signal = np.tanh(2 * x[:, 0]) + x[:, 1] * x[:, 2] + np.abs(x[:, 3])
    table = pd.DataFrame(x, columns=list("abcdefgh"))
    table["label"] = np.where(draw.random(300) < 0.2, signal + 0.1 * draw.normal(size=300), np.nan)
    table["amount"] = signal + 0.1 * draw.normal(size=300)
    ready = make_both(table)
    ready = replace(ready, problem=replace(ready.problem, design=replace(ready.problem.design, width=64, depth=2)))
    folds = make_folds(ready.strata, task="regression", count=3, seed=0)
    rare = compared(ready, folds, Plan(200, 32, 50))[0]
    assert rare.verdict == "helps"
    assert min(rare.gain_seeds) > 0.1  # of a deviation of 1.5


def test_networks_that_a_deadline_cut_short_are_not_compared(both: Prepared, divided: Folds, plan: Plan) -> None:
    assert compared(both, divided, plan, Halt(deadline=time.time() - 1)) == ()


def test_a_target_that_no_stop_row_of_a_fold_knows_is_not_compared(both: Prepared, divided: Folds, plan: Plan) -> None:
    lacking = torch.from_numpy(np.isnan(both.codes[1][both.development])).float()
    found = compared(both, replace(divided, stop=torch.cat([divided.stop[:2], lacking[None]])), plan)
    assert [item.target for item in found] == [both.targets[0].name]
