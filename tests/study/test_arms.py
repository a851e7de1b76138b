"""Arms trained with paired seeds: the order of members, and no difference between one job and two."""

import pytest
import torch

from poise.study.arms import Arms, train_arms
from poise.study.cohort import Cohort, Plan
from poise.study.folds import Folds
from poise.study.halt import Halt
from poise.study.prepare import Prepared
from poise.study.space import Space

SPACE = Space(["dropout", "decay", "patience"])
ARMS = {
    "recipe": SPACE.config(4, ("dropout", "decay", "patience"), lr=3e-3),
    "nothing": SPACE.config(4, (), lr=3e-3),
    "again": SPACE.config(4, (), lr=3e-3),
}


def train(ready: Prepared, folds: Folds, plan: Plan, jobs: int) -> Arms:
    return train_arms(ready.problem, SPACE.recipe, ARMS, folds, plan, seeds=4, seed=0, jobs=jobs)


@pytest.fixture(scope="module")
def arms(ready: Prepared, folds: Folds, plan: Plan) -> Arms:
    return train(ready, folds, plan, 1)


def test_members_are_listed_by_arm_then_seed_and_seeds_take_the_folds_in_turn(arms: Arms) -> None:
    assert arms.labels == tuple(ARMS)
    assert [arms.members(label) for label in ARMS] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert len(arms.stack) == 12
    assert arms.fold == (0, 1, 2, 0)
    assert arms.best_step.shape == (3, 4)


def test_equal_arms_are_equal_bit_for_bit_seed_by_seed(arms: Arms) -> None:
    for weight in arms.stack.weights.values():
        assert weight[arms.members("nothing")].equal(weight[arms.members("again")])
        assert not weight[arms.members("nothing")].equal(weight[arms.members("recipe")])
        assert not weight[4].equal(weight[7])  # one fold, two seeds


def test_a_member_is_the_configuration_trained_alone_on_its_fold(
    arms: Arms, ready: Prepared, folds: Folds, plan: Plan
) -> None:
    alone = Cohort(ready.problem, SPACE.recipe, [ARMS["recipe"]], folds, plan, seed=0, seeds=[2_000_002], fold_of=[2])
    alone.train(plan.steps)
    found, wanted = arms.stack.select(torch.tensor([2])), alone.population.stack()
    inputs = ready.problem.rows.inputs
    torch.testing.assert_close(found.outputs(inputs), wanted.outputs(inputs), atol=2e-5, rtol=2e-5)


def test_two_jobs_give_what_one_gives_bit_for_bit(arms: Arms, ready: Prepared, folds: Folds, plan: Plan) -> None:
    sharded = train(ready, folds, plan, 2)
    for name, weight in arms.stack.weights.items():
        assert weight.equal(sharded.stack.weights[name]), name
    for name, buffer in arms.stack.buffers.items():
        assert buffer.equal(sharded.stack.buffers[name]), name
    assert arms.best_step.equal(sharded.best_step)
    assert arms.history == sharded.history


def test_the_history_is_of_each_arms_first_seed(arms: Arms, ready: Prepared, folds: Folds, plan: Plan) -> None:
    alone = Cohort(ready.problem, SPACE.recipe, [ARMS["recipe"]], folds, plan, seed=0, seeds=[2_000_000], fold_of=[0])
    alone.train(plan.steps)
    wanted = [(step, float(train[0]), float(stop[0])) for step, train, stop in alone.history]
    assert [step for step, _, _ in arms.history["recipe"]] == [step for step, _, _ in wanted]
    for found, own in zip(arms.history["recipe"], wanted, strict=True):
        assert found == pytest.approx(own, rel=1e-4)
    assert arms.history["nothing"] == arms.history["again"] != arms.history["recipe"]


def test_arms_that_a_halt_ended_tell_at_which_step(arms: Arms, ready: Prepared, folds: Folds, plan: Plan) -> None:
    late = Halt(deadline=0.0)
    found = train_arms(ready.problem, SPACE.recipe, ARMS, folds, plan, seeds=4, seed=0, jobs=1, halt=late)
    assert (arms.cut, found.cut) == (None, plan.every)
