"""Brackets and the search: halving, deadlines, exact numbers of trials, the same result again."""

import math
import os
import signal
import time
from dataclasses import replace

import pytest
import torch

from poise.study import search as module
from poise.study.clock import Clock, parse_budget
from poise.study.cohort import Cohort, Plan
from poise.study.folds import Folds
from poise.study.halt import Halt
from poise.study.prepare import Prepared
from poise.study.result import Trial
from poise.study.search import Search, bracket
from poise.study.space import Config, Space

SPACE = Space(["dropout", "decay", "patience", "l1"])
PLAN = Plan(steps=16, batch=16, every=4)


def configs(count: int) -> list[Config]:
    rates = [1e-3, 3e-3, 1e-2, 5e-4, 2e-3]
    return [SPACE.config(10 + n, ("dropout", "decay", "patience"), lr=rates[n]) for n in range(count)]


def searched(ready: Prepared, folds: Folds, trials: int, **rest: object) -> Search:
    search = Search(ready.problem, SPACE, folds, PLAN, 0, widest=4, **rest)  # type: ignore[arg-type]
    search.run(Clock(parse_budget(f"{trials}trials")), 0.7)
    return search


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


def test_at_a_deadline_that_is_past_each_rung_is_one_evaluation_and_still_gives_candidates(
    ready: Prepared, folds: Folds
) -> None:
    trials, candidates = bracket(ready.problem, SPACE, configs(4), folds, PLAN, 0, Halt(time.time() - 1))
    assert sorted(trial.number for trial in trials) == [10, 11, 12, 13]
    assert len(candidates) == 2
    assert {trial.steps for trial in trials if trial.rung == 0} == {4}
    assert {trial.steps for trial in trials if trial.rung == 1} == {8}


def test_configurations_that_diverge_are_told_of_and_never_candidates(ready: Prepared, folds: Folds) -> None:
    good, *wild = configs(3)
    trials, candidates = bracket(ready.problem, SPACE, [good, *(replace(c, lr=1e30) for c in wild)], folds, PLAN, 0)
    assert {trial.number: trial.state for trial in trials} == {10: "finished", 11: "diverged", 12: "diverged"}
    assert [candidate.config.number for candidate in candidates] == [10]
    trials, candidates = bracket(ready.problem, SPACE, [replace(c, lr=1e30) for c in wild], folds, PLAN, 0)
    assert [trial.state for trial in trials] == ["diverged", "diverged"]
    assert candidates == []


@pytest.mark.parametrize("count", [1, 3, 7])
def test_a_budget_in_trials_is_spent_exactly_and_each_trial_recorded_once(
    count: int, ready: Prepared, folds: Folds
) -> None:
    recorded: list[Trial] = []
    search = searched(ready, folds, count, on_trials=recorded.extend)
    assert sorted(trial.number for trial in search.trials) == list(range(count))
    assert recorded == search.trials
    assert len(search.candidates) == len([trial for trial in search.trials if trial.state == "finished"]) > 0


def test_the_same_seed_searches_the_same_and_begins_with_the_portfolio(ready: Prepared, folds: Folds) -> None:
    first, again = searched(ready, folds, 7), searched(ready, folds, 7)
    assert first.trials == again.trials
    assert all(a.outputs.nan_to_num().equal(b.outputs.nan_to_num())
               for a, b in zip(first.candidates, again.candidates, strict=True))  # fmt: skip
    dials = {trial.number: trial.dials for trial in first.trials}
    for config in SPACE.portfolio(0)[:4]:
        assert dials[config.number] == config.dials | {"lr": config.lr}


def test_a_time_that_is_over_still_gets_one_wave(ready: Prepared, folds: Folds) -> None:
    search = Search(ready.problem, SPACE, folds, PLAN, 0, widest=4)
    search.run(Clock(parse_budget("1s"), started=time.monotonic() - 100), 0.7)
    assert sorted(trial.number for trial in search.trials) == [0, 1, 2, 3]
    assert search.candidates


def test_an_interrupt_keeps_the_waves_that_were_done(ready: Prepared, folds: Folds) -> None:
    def tell(message: str, best: float | None) -> None:
        if best is not None:
            raise KeyboardInterrupt

    search = Search(ready.problem, SPACE, folds, PLAN, 0, widest=4, tell=tell)
    with pytest.raises(KeyboardInterrupt):
        search.run(Clock(parse_budget("12trials")), 0.7)
    assert len(search.trials) == 4
    assert len(search.candidates) == 2


def test_ctrl_c_ends_training_at_the_next_evaluation_and_what_was_training_counts(
    ready: Prepared, folds: Folds
) -> None:
    def tell(message: str, best: float | None) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    search = Search(ready.problem, SPACE, folds, PLAN, 0, widest=4, tell=tell)
    with pytest.raises(KeyboardInterrupt):
        search.run(Clock(parse_budget("12trials")), 0.7)
    assert {(trial.rung, trial.steps) for trial in search.trials} == {(0, 4), (1, 8)}
    assert len(search.candidates) == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_waves_after_the_first_one_switch_few_rare_parts_on(ready: Prepared, folds: Folds) -> None:
    space = Space()
    search = Search(ready.problem, space, folds, PLAN, 0)
    study = search._sampler()
    found = [config for config, _ in search._propose(study, 16, 12)]
    on = {name for config in found for name in config.on}
    assert len(on & {"hidden_noise", "input_noise", "swap_noise", "cut_mix", "l1", "clip_norm"}) <= 2
    assert [config.number for config in found] == list(range(16, 28))
    assert math.isclose(module.RUNGS[-1], 1.0)
