"""Configurations times folds as one population: scores, survivors, pairs, and how long to train."""

import time

import pytest
import torch
from torch.nn import functional as F

from poise.study.cohort import Cohort, Plan, measured_rate, plan_for
from poise.study.folds import Folds
from poise.study.halt import Halt
from poise.study.prepare import Prepared
from poise.study.space import Config, Space

SPACE = Space(["dropout", "decay", "patience"])
CONFIGS = [
    SPACE.config(0, ("dropout", "decay", "patience"), lr=3e-3),
    SPACE.config(1, ("patience",), lr=1e-2),
    SPACE.config(2, ("decay",), {"decay.rate": 1.0}, lr=1e-3),
]


def made(ready: Prepared, folds: Folds, plan: Plan, configs: list[Config] = CONFIGS, **rest: object) -> Cohort:
    return Cohort(ready.problem, SPACE.recipe, configs, folds, plan, seed=0, **rest)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(ready: Prepared, folds: Folds, plan: Plan) -> Cohort:
    cohort = made(ready, folds, plan)
    cohort.train(plan.steps)
    return cohort


def test_validation_is_each_fold_scored_alone_and_put_together(trained: Cohort, ready: Prepared, folds: Folds) -> None:
    scores, outputs = trained.validation()
    stack, weights = trained.population.stack(), ready.problem.heads[0].class_weights
    for place in range(3):
        own = []
        for fold in range(3):
            rows = torch.nonzero(folds.validation[fold]).flatten()
            network = stack.network(place * 3 + fold)
            answer = network(ready.problem.rows.inputs[rows]).detach()
            torch.testing.assert_close(outputs[place, rows], answer, atol=2e-6, rtol=2e-6)
            own.append(F.cross_entropy(answer, ready.problem.rows.targets[rows].argmax(1), weight=weights))
        torch.testing.assert_close(scores[place], torch.stack(own).mean())


def test_rows_that_no_fold_holds_out_have_no_outputs(ready: Prepared, folds: Folds, plan: Plan) -> None:
    cohort = made(ready, folds, plan, fold_of=[1, 1, 1])
    cohort.train(2)
    _, outputs = cohort.validation()
    held = folds.validation[1] > 0
    assert bool(torch.isfinite(outputs[:, held]).all())
    assert bool(outputs[:, ~held].isnan().all())


def test_stopping_looks_at_the_stop_rows_of_each_members_own_fold(
    trained: Cohort, ready: Prepared, folds: Folds, plan: Plan
) -> None:
    cohort = made(ready, folds, plan)
    cohort.train(plan.every)
    _, _, stop = cohort.history[-1]
    stack, weights = cohort.population.stack(), ready.problem.heads[0].class_weights
    for member in range(9):
        rows = torch.nonzero(folds.stop[member % 3]).flatten()
        answer = stack.network(member)(ready.problem.rows.inputs[rows])
        wanted = F.cross_entropy(answer, ready.problem.rows.targets[rows].argmax(1), weight=weights)
        torch.testing.assert_close(stop[member], wanted.detach(), atol=2e-6, rtol=2e-6)


def test_survivors_keep_their_scores_and_train_on_as_if_nobody_had_left(
    ready: Prepared, folds: Folds, plan: Plan
) -> None:
    whole, pruned = made(ready, folds, plan), made(ready, folds, plan)
    for cohort in (whole, pruned):
        cohort.train(8)
    before, outputs = pruned.validation()
    pruned.keep([2, 0])
    after, kept = pruned.validation()
    assert after.equal(before[[2, 0]])
    assert torch.equal(kept.nan_to_num(), outputs[[2, 0]].nan_to_num())
    assert [config.number for config in pruned.configs] == [2, 0]
    whole.train(16)
    pruned.train(16)
    assert pruned.validation()[0].equal(whole.validation()[0][[2, 0]])
    assert pruned.best_steps().equal(whole.best_steps()[[2, 0]])
    assert pruned.train_loss().equal(whole.train_loss()[[2, 0]])


def test_one_seed_pairs_configurations_and_another_does_not(ready: Prepared, folds: Folds, plan: Plan) -> None:
    configs = [SPACE.config(0, (), lr=1e-3), SPACE.config(9, (), lr=1e-3), SPACE.config(3, ("dropout",), lr=1e-3)]
    cohort = made(ready, folds, plan, configs, seeds=[7, 7, 7], fold_of=[0, 0, 0])
    other = made(ready, folds, plan, configs, seeds=[7, 8, 7], fold_of=[0, 0, 0])
    first = cohort.population.state.flat.data.clone()
    assert first[0].equal(first[1])
    assert first[0].equal(first[2])
    assert not other.population.state.flat.data[0].equal(other.population.state.flat.data[1])
    cohort.train(8)
    after = cohort.population.state.flat.data
    assert after[0].equal(after[1])  # the same weights, batches and draws: equal twins stay equal
    assert not after[0].equal(after[2])
    orders = cohort.population._order(0, 20)
    assert orders[0].equal(orders[2])  # and a twin with another recipe sees the same batches


def test_best_steps_are_the_median_over_folds(trained: Cohort) -> None:
    steps = trained.population.best_step.reshape(3, 3)
    assert trained.best_steps().equal(steps.median(1).values)
    assert trained.best_steps()[2] == 16  # unwatched: its last evaluation


def test_a_configuration_that_diverges_scores_infinity_and_leaves_its_neighbour_alone(
    ready: Prepared, folds: Folds, plan: Plan
) -> None:
    wild = SPACE.config(1, (), lr=1e30)
    pair, alone = made(ready, folds, plan, [CONFIGS[2], wild]), made(ready, folds, plan, [CONFIGS[2]])
    for cohort in (pair, alone):
        cohort.train(8)
    scores = pair.validation()[0]
    assert scores[1] == torch.inf
    torch.testing.assert_close(scores[:1], alone.validation()[0])


def test_past_the_deadline_training_ends_at_the_next_evaluation(ready: Prepared, folds: Folds, plan: Plan) -> None:
    cohort = made(ready, folds, plan)
    cohort.train(plan.steps, Halt(time.time() - 1))
    assert cohort.population.state.step == plan.every
    assert bool(torch.isfinite(cohort.validation()[0]).all())


@pytest.mark.parametrize("rows", [2, 60, 999, 1_000, 7_999, 8_000, 100_000])
def test_a_plan_has_batches_that_fit_and_about_24_evaluations(rows: int) -> None:
    plan = plan_for(rows)
    assert 1 <= plan.batch <= min(rows, 256)
    assert plan.steps >= 20
    assert 20 <= plan.steps / plan.every <= 48


def test_a_short_budget_gets_a_shorter_training_but_never_none() -> None:
    assert plan_for(5_000, seconds=10.0, rate=1e-3, trainings=50).steps == 200
    assert plan_for(5_000, seconds=0.0, rate=1e-3, trainings=50).steps == 20
    assert plan_for(5_000, seconds=-5.0, rate=1e-3, trainings=50).steps == 20
    assert plan_for(5_000, seconds=1e9, rate=1e-3, trainings=50) == plan_for(5_000)


def test_a_steps_cost_is_measured_for_one_network(ready: Prepared, folds: Folds) -> None:
    began = time.monotonic()
    rate = measured_rate(ready.problem, SPACE.recipe, CONFIGS, folds, Plan(16, 16, 4))
    assert 0 < rate * 3 * 9 <= time.monotonic() - began  # three steps of nine networks were timed
