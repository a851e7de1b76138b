"""Brackets: halving, deadlines, divergence, time that the idle leave to others, and going on from a file."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from poise.study.bracket import bracket
from poise.study.checkpoint import Checkpoint
from poise.study.cohort import Cohort, Plan
from poise.study.folds import Folds
from poise.study.halt import Halt
from poise.study.prepare import Prepared
from poise.study.space import Config, Space

SPACE = Space(["dropout", "decay", "patience", "l1"])
PLAN = Plan(steps=16, batch=16, every=4, rungs=(4,))


def configs(count: int) -> list[Config]:
    rates = [1e-3, 3e-3, 1e-2, 5e-4, 2e-3]
    return [SPACE.config(10 + n, ("dropout", "decay", "patience"), lr=rates[n]) for n in range(count)]


def test_half_of_a_bracket_goes_on_and_each_configuration_is_told_of_once(ready: Prepared, folds: Folds) -> None:
    trials, candidates = bracket(ready.problem, SPACE, configs(5), folds, PLAN, 0)
    assert sorted(trial.number for trial in trials) == [10, 11, 12, 13, 14]
    pruned = [trial for trial in trials if trial.state == "pruned"]
    finished = [trial for trial in trials if trial.state == "finished"]
    assert (len(pruned), len(finished)) == (2, 3)
    assert {(trial.rung, trial.steps) for trial in pruned} == {(0, 4)}
    assert {(trial.rung, trial.steps) for trial in finished} == {(1, 16)}
    assert {c.config.number: c.score for c in candidates} == {t.number: t.validation for t in finished}
    assert [c.score for c in candidates] == sorted(c.score for c in candidates)
    wanted = {config.number: config.dials | {"lr": config.lr} for config in configs(5)}
    assert all(trial.dials == wanted[trial.number] for trial in trials)


def test_the_survivors_of_the_first_rung_are_the_better_half_of_it(ready: Prepared, folds: Folds) -> None:
    trials, _ = bracket(ready.problem, SPACE, configs(5), folds, PLAN, 0)
    cohort = Cohort(ready.problem, SPACE.recipe, configs(5), folds, PLAN, seed=0)
    cohort.train(4)
    order = torch.argsort(cohort.validation()[0]).tolist()
    assert {t.number for t in trials if t.state == "finished"} == {10 + place for place in order[:3]}


def test_a_survivor_ends_where_it_would_have_ended_without_rivals(ready: Prepared, folds: Folds) -> None:
    _, candidates = bracket(ready.problem, SPACE, configs(4), folds, PLAN, 0)
    best = candidates[0]
    alone = Cohort(ready.problem, SPACE.recipe, [best.config], folds, PLAN, seed=0)
    alone.train(16)
    scores, outputs = alone.validation()
    assert best.score == pytest.approx(float(scores[0]), rel=1e-5)
    torch.testing.assert_close(best.outputs, outputs[0], atol=2e-5, rtol=2e-5, equal_nan=True)
    assert best.best_step == int(alone.best_steps()[0])


def test_at_a_deadline_that_is_past_training_ends_at_the_next_evaluation_and_all_count(
    ready: Prepared, folds: Folds
) -> None:
    trials, candidates = bracket(ready.problem, SPACE, configs(4), folds, PLAN, 0, Halt(time.time() - 1))
    assert sorted(trial.number for trial in trials) == [10, 11, 12, 13]
    assert {(trial.rung, trial.steps, trial.state) for trial in trials} == {(0, 4, "finished")}
    assert len(candidates) == 4
    # All still got better: where they would have been best nobody saw, and after four steps they surely are not.
    assert {candidate.best_step for candidate in candidates} == {PLAN.steps}
    assert {candidate.seen for candidate in candidates} == {trial.steps for trial in trials} == {PLAN.every}


def test_a_rung_that_is_late_comes_at_the_next_evaluation(ready: Prepared, folds: Folds) -> None:
    plan = replace(PLAN, rungs=(12,))

    # The deadline is far, but not so far that the rung's share of the time has not passed at once.
    class Soon(Halt):
        def due(self) -> bool:
            return False

    trials, _ = bracket(ready.problem, SPACE, configs(4), folds, plan, 0, Soon(time.time() + 1e-3))
    assert {trial.steps for trial in trials if trial.state == "pruned"} == {4}
    assert {trial.steps for trial in trials if trial.state == "finished"} == {16}


def test_with_three_rungs_a_half_leaves_at_each_and_who_outlived_the_first_is_a_candidate(
    ready: Prepared, folds: Folds
) -> None:
    plan = replace(PLAN, rungs=(4, 8, 12))
    trials, candidates = bracket(ready.problem, SPACE, configs(5), folds, plan, 0)
    assert [(trial.steps, trial.rung, trial.state) for trial in trials] == [
        (4, 0, "pruned"), (4, 0, "pruned"), (8, 1, "pruned"), (12, 2, "pruned"), (16, 3, "finished"),
    ]  # fmt: skip
    assert {one.config.number for one in candidates} == {trial.number for trial in trials if trial.rung > 0}
    assert plan.work(5) == sum(trial.steps for trial in trials)
    assert plan.work(5, 8) == 5 * 4 + 3 * 4


def test_who_runs_out_of_patience_leaves_its_time_to_the_others_and_changes_nothing_for_them(
    ready: Prepared, folds: Folds
) -> None:
    short = {"patience.evaluations": 1.0, "patience.minimum_change": 100.0}  # the second evaluation is no improvement
    tired = [replace(c, dials=c.dials | short) for c in configs(2)]
    rest = configs(4)[2:]
    plan = replace(PLAN, rungs=())
    trials, candidates = bracket(ready.problem, SPACE, [*tired, *rest], folds, plan, 0)
    assert {trial.number: trial.steps for trial in trials} == {10: 8, 11: 8, 12: 16, 13: 16}
    assert {trial.state for trial in trials} == {"finished"}
    _, alone = bracket(ready.problem, SPACE, rest, folds, plan, 0)
    own = {one.config.number: one for one in candidates}
    for one in alone:
        assert own[one.config.number].score == one.score
        assert own[one.config.number].outputs.nan_to_num().equal(one.outputs.nan_to_num())


def test_one_identity_is_the_same_network_again(ready: Prepared, folds: Folds) -> None:
    first, again, other = configs(1)[0], replace(configs(1)[0], number=11), replace(configs(1)[0], number=12)
    trials, _ = bracket(ready.problem, SPACE, [first, again, other], folds, replace(PLAN, rungs=()), 0,
                        identities=[10, 10, 12])  # fmt: skip
    scores = {trial.number: trial.validation for trial in trials}
    assert scores[10] == scores[11] != scores[12]


def test_who_was_made_again_is_dropped_at_no_rung(ready: Prepared, folds: Folds) -> None:
    plan = replace(PLAN, rungs=(4, 8))
    trials, _ = bracket(ready.problem, SPACE, configs(4), folds, plan, 0)
    dropped = [trial.number for trial in trials if trial.state == "pruned"]
    assert len(dropped) == 3
    twins = [replace(config, number=config.number + 100) for config in configs(4)]
    identities = [10, 11, 12, 13]  # each is its twin made again: with its seed, under another number
    spared, _ = bracket(ready.problem, SPACE, twins, folds, plan, 0, identities=identities)
    assert {(trial.steps, trial.state) for trial in spared} == {(16, "finished")}


class Killed(BaseException):
    """What ends a bracket here: nothing of the package catches it."""


@pytest.mark.parametrize("at", range(1, 5))
def test_a_bracket_that_was_killed_at_any_evaluation_goes_on_to_the_same_outcome(
    at: int, ready: Prepared, folds: Folds, tmp_path: Path
) -> None:
    class Killer:
        seen = 0

        def evaluated(self, cohort: Cohort) -> None:
            self.seen += 1
            if self.seen == at + 1:
                raise Killed

    class Kept(Checkpoint):
        pause = 0.0

    plan, checkpoint = replace(PLAN, rungs=(4, 8)), Kept(tmp_path)
    short = {"patience.evaluations": 1.0, "patience.minimum_change": 100.0}
    tired = replace(configs(1)[0], number=20, dials=configs(1)[0].dials | short)
    given = (ready.problem, SPACE, [*configs(4), tired], folds, plan, 0)
    wanted = bracket(*given)
    killer = Killer()
    try:
        bracket(*given, checkpoint=checkpoint, watcher=killer)
    except Killed:
        assert at < 4
    found = bracket(*given, checkpoint=checkpoint)
    assert found[0] == wanted[0]
    for one, other in zip(found[1], wanted[1], strict=True):
        assert (one.config, one.score, one.best_step, one.plan) == (
            other.config, other.score, other.best_step, other.plan
        )  # fmt: skip
        assert one.outputs.nan_to_num().equal(other.outputs.nan_to_num())


def test_configurations_that_diverge_are_told_of_and_never_candidates(ready: Prepared, folds: Folds) -> None:
    good, *wild = configs(3)
    trials, candidates = bracket(ready.problem, SPACE, [good, *(replace(c, lr=1e30) for c in wild)], folds, PLAN, 0)
    assert {trial.number: trial.state for trial in trials} == {10: "finished", 11: "diverged", 12: "diverged"}
    assert [candidate.config.number for candidate in candidates] == [10]
    trials, candidates = bracket(ready.problem, SPACE, [replace(c, lr=1e30) for c in wild], folds, PLAN, 0)
    assert [trial.state for trial in trials] == ["diverged", "diverged"]
    assert candidates == []
