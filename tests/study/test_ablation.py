"""What a part is worth: which arms are trained, and what is said of their scores."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from poise.models.tabular import ColumnPlan
from poise.study.ablation import FULL, NOTHING, ArmsPlan, ablate, ablation_arms, arms_plan, contributions
from poise.study.arms import Arms
from poise.study.cohort import Plan
from poise.study.fit import Fitted
from poise.study.folds import Folds, make_folds
from poise.study.gap import arm_of, predictions_of
from poise.study.heads import Head
from poise.study.metrics import Several, measure
from poise.study.prepare import Prepared
from poise.study.problem import Problem
from poise.study.result import Contribution
from poise.study.space import Space
from poise.study.table_network import Design
from poise.train.stack import Stack

PROBLEM = Problem.of(
    np.zeros((2, 1)), [np.zeros(2)], [Head("y", None)], plan=ColumnPlan((0,), ("numeric",)), design=Design()
)
SPACE = Space(["dropout", "decay", "patience"])
BEST = SPACE.config(5, ("dropout", "decay"), {"dropout.p": 0.3, "decay.rate": 0.5}, lr=1e-3)
ARMS = Arms((), 0, (), Stack(torch.nn.Identity(), {}, {}), torch.zeros(0), (), {})


def worth(without: list[float], only: list[float] | None, full: list[float], nothing: list[float]) -> Contribution:
    best = replace(BEST, on=("dropout",))
    scores = {FULL: np.array(full), NOTHING: np.array(nothing), "without dropout": np.array(without)}
    if only is not None:
        scores["only dropout"] = np.array(only)
    return contributions(best, ARMS, scores)[0]


def test_each_arm_changes_one_part_and_keeps_all_else() -> None:
    arms = ablation_arms(SPACE, BEST, add_in=True)
    wanted = [FULL, NOTHING, "without dropout", "without decay", "only dropout", "only decay"]
    assert list(arms) == wanted
    assert arms[FULL] == BEST
    assert {arm.lr for arm in arms.values()} == {1e-3}
    assert arms["without dropout"].dials == BEST.dials | {"dropout.p": 0.0}
    assert arms["only dropout"].dials == BEST.dials | {"decay.rate": 0.0}
    assert arms[NOTHING].dials == {key: declared.neutral for key, declared in SPACE.declared.items()}
    assert list(ablation_arms(SPACE, BEST, add_in=False)) == wanted[:4]


@pytest.mark.parametrize(
    ("without", "only", "verdict"),
    [
        ([2.0, 2.1, 1.9], [1.0, 1.1, 0.9], "helps"),
        ([0.5, 0.6, 0.4], [3.0, 3.1, 2.9], "hurts"),
        ([1.0, 1.1, 0.9], [2.0, 2.1, 1.9], "replaceable"),
        ([1.0, 1.1, 0.9], [3.0, 3.1, 2.9], "no measurable effect"),
        ([1.0, 1.1, 0.9], None, "no measurable effect"),
        ([9.0, 1.0, -7.0], [4.0, 3.0, 2.0], "no measurable effect"),
    ],
)
def test_the_verdict_follows_the_intervals(without: list[float], only: list[float] | None, verdict: str) -> None:
    # The recipe scores 1 and nothing scores 3, so "only" below 3 says that the part alone helps.
    found = worth(without, only, [1.0, 1.1, 0.9], [3.0, 3.1, 2.9])
    assert found.verdict == verdict


def test_differences_are_paired_by_seed_and_positive_where_the_part_helps() -> None:
    found = worth([1.5, 5.5, 9.5], [2.0, 2.5, 3.5], [1.0, 5.0, 9.0], [3.0, 3.5, 4.5])
    assert found.leave_out_seeds == (0.5, 0.5, 0.5)
    assert (found.leave_out.value, found.leave_out.low, found.leave_out.high) == (0.5, 0.5, 0.5)
    assert found.add_in is not None
    assert found.add_in_seeds == (1.0, 1.0, 1.0)
    assert found.verdict == "helps"  # unpaired, the spread of the seeds would have hidden it


def test_arms_that_diverged_are_left_out_and_one_seed_alone_proves_nothing() -> None:
    assert worth([2.0, math.nan, 2.2], None, [1.0, 1.0, 1.1], [3.0] * 3).leave_out.value == pytest.approx(1.05)
    for lost in ([2.0, math.nan, math.inf], [math.nan] * 3):
        found = worth(lost, None, [1.0] * 3, [3.0] * 3)
        assert found.verdict == "not measured"
        assert math.isfinite(found.leave_out.value)


def test_a_fold_without_a_label_of_one_target_is_measured_by_the_others(both: Prepared, plan: Plan) -> None:
    folds = make_folds(both.strata, task="classification", count=3, seed=0)
    lacking = torch.from_numpy(np.isnan(both.codes[1][both.development])).float()
    folds = replace(folds, validation=torch.cat([folds.validation[:2], lacking[None]]))
    how = ArmsPlan(plan, 3, parts=True, add_in=True, points=0, arms=6)
    fitted = SimpleNamespace(best=BEST, folds=folds)
    trained, found, _ = ablate(both, SPACE, fitted, how, seed=0, jobs=1)  # type: ignore[arg-type]
    rows, scores = both.development[lacking.numpy() > 0], {}
    for label in (FULL, "without dropout"):
        seen = predictions_of(both, arm_of(both, trained, trained.members(label)[2]), rows)
        assert isinstance(seen, Several)
        assert math.isnan(measure("mean_loss", seen)), "rows that are the same everywhere are needed to compare parts"
        scores[label] = measure("log_loss", seen.parts["label"])
    dropout = next(item for item in found if item.part == "dropout")
    assert np.isfinite([*dropout.leave_out_seeds, *dropout.add_in_seeds]).all()
    assert dropout.leave_out_seeds[2] == pytest.approx(scores["without dropout"] - scores[FULL])


def test_parts_are_listed_by_what_leaving_them_out_costs() -> None:
    scores = {FULL: np.zeros(3), NOTHING: np.ones(3), "without dropout": np.ones(3), "without decay": 2 * np.ones(3)}
    assert [item.part for item in contributions(BEST, ARMS, scores)] == ["decay", "dropout"]


def test_a_recipe_of_no_parts_has_no_contributions() -> None:
    empty = SPACE.config(0, ())
    assert list(ablation_arms(SPACE, empty, add_in=True)) == [FULL, NOTHING]
    assert contributions(empty, ARMS, {}) == ()


@pytest.mark.parametrize(
    ("seconds", "seeds", "steps"),
    [(math.inf, 5, 100), (400.0, 15, 100), (200.0, 10, 100), (100.0, 5, 100), (1.0, 3, 60)],
)
def test_time_left_goes_into_more_seeds_and_lacking_time_is_saved_on_seeds(
    seconds: float, seeds: int, steps: int
) -> None:
    folds = Folds(torch.zeros(1, 1), torch.zeros(1, 1), torch.zeros(1, 1))
    stack = Stack(torch.nn.Identity(), {}, {})
    # Two parts of one dial each: 2 + 2 * 2 + 2 * 7 = 20 arms, of 100 steps of 5 ms: 10 seconds a seed.
    fitted = Fitted(PROBLEM, SPACE, folds, Plan(100, 32, 4), 5e-3, BEST, 100, [], [], stack, torch.ones(1), (1.0,))
    found = arms_plan(fitted, seconds, jobs=1, ablation=True)
    assert (found.seeds, found.plan.steps) == (seeds, steps)
    told = found.note(fitted.plan)
    assert told.startswith("the ablation's networks trained for 60 steps, cut short") if steps < 100 else told == ""
    assert found.note(fitted.plan, cut=8).startswith("the ablation's networks trained for 8 steps, cut short")


@pytest.mark.parametrize("jobs", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("seconds", [8.0, 20.0, 40.0])
def test_the_arms_that_the_busiest_worker_trains_fit_into_the_time(jobs: int, seconds: float) -> None:
    folds = Folds(torch.zeros(1, 1), torch.zeros(1, 1), torch.zeros(1, 1))
    stack = Stack(torch.nn.Identity(), {}, {})
    fitted = Fitted(PROBLEM, SPACE, folds, Plan(100, 32, 4), 5e-3, BEST, 100, [], [], stack, torch.ones(1), (1.0,))
    found = arms_plan(fitted, seconds, jobs, ablation=True)
    own = math.ceil(found.seeds / jobs)
    assert 5e-3 * found.plan.steps * found.arms * own <= seconds
    assert found.seeds == own * jobs or found.seeds >= 5, "another seed would have taken no longer"
