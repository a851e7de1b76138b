"""The search: exact numbers of trials, the same result again, lengths, interrupts."""

import os
import signal
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from poise.study.bracket import Candidate, bracket
from poise.study.clock import Clock, parse_budget
from poise.study.cohort import Plan
from poise.study.ending import Ending
from poise.study.folds import Folds
from poise.study.prepare import Prepared
from poise.study.result import Trial
from poise.study.search import METHODS, Search
from poise.study.space import Config, Space
from poise.study.structure import Trainings

Outcome = tuple[list[Trial], list[Candidate]]
SPACE = Space(["dropout", "decay", "patience", "l1"])
PLAN = Plan(steps=16, batch=16, every=4, rungs=(4,))
LONG = Plan(steps=96, batch=16, every=4, rungs=(12, 24, 48))


def searched(ready: Prepared, folds: Folds, trials: int, **rest: object) -> Search:
    search = Search(ready.problem, SPACE, folds, PLAN, 0, widest=4, **rest)  # type: ignore[arg-type]
    search.run(Clock(parse_budget(f"{trials}trials")), 0.7)
    return search


@pytest.mark.parametrize("count", [1, 3, 7])
def test_a_budget_in_trials_is_spent_exactly_and_each_trial_recorded_once(
    count: int, ready: Prepared, folds: Folds
) -> None:
    recorded: list[Trial] = []
    search = searched(ready, folds, count, on_trials=recorded.extend)
    assert sorted(trial.number for trial in search.trials) == list(range(count))
    assert recorded == search.trials
    assert {one.config.number for one in search.candidates} == {
        t.number for t in search.trials if t.state == "finished"
    }
    assert [one.score for one in search.candidates] == sorted(one.score for one in search.candidates)


def test_the_same_seed_searches_the_same_and_begins_with_the_portfolio(ready: Prepared, folds: Folds) -> None:
    first, again = searched(ready, folds, 7), searched(ready, folds, 7)
    assert first.trials == again.trials
    assert all(a.outputs.nan_to_num().equal(b.outputs.nan_to_num())
               for a, b in zip(first.candidates, again.candidates, strict=True))  # fmt: skip
    dials = {trial.number: trial.dials for trial in first.trials}
    for config in SPACE.portfolio(0)[:4]:
        assert dials[config.number] == config.dials | {"lr": config.lr}


def test_a_time_that_is_over_still_gets_one_bracket(ready: Prepared, folds: Folds) -> None:
    search = Search(ready.problem, SPACE, folds, PLAN, 0, widest=4)
    search.run(Clock(parse_budget("1s"), started=time.monotonic() - 100), 0.7)
    assert sorted(trial.number for trial in search.trials) == [0, 1, 2, 3]
    assert search.candidates


def test_an_interrupt_keeps_the_brackets_that_were_done(ready: Prepared, folds: Folds) -> None:
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
    assert {(trial.rung, trial.steps) for trial in search.trials} == {(0, 4)}
    assert len(search.candidates) == 4
    assert signal.getsignal(signal.SIGINT) is before


def test_a_search_that_has_one_bracket_trains_at_full_length(ready: Prepared, folds: Folds) -> None:
    search = Search(ready.problem, SPACE, folds, LONG, 0, widest=4)
    search.run(Clock(parse_budget("4trials")), 0.7)
    assert max(trial.steps for trial in search.trials) == 96


def test_the_second_bracket_is_longer_and_makes_the_best_of_the_first_again(ready: Prepared, folds: Folds) -> None:
    search = Search(ready.problem, SPACE, folds, LONG, 0, widest=4)
    seen: list[list[Candidate]] = []
    search.tell = lambda message, best: seen.append(list(search.candidates))
    search.run(Clock(parse_budget("8trials")), 0.7)
    first, second = search.trials[:4], search.trials[4:]
    assert max(trial.steps for trial in first) == 24
    assert max(trial.steps for trial in second) == 48
    best = {one.config.number for one in seen[1][:2]}
    dials = {trial.number: trial.dials for trial in search.trials}
    assert [dials[4], dials[5]] == [dials[number] for number in [one.config.number for one in seen[1][:2]]]
    assert {search._known[4][1], search._known[5][1]} == best  # with their own seeds


def test_what_is_made_again_is_spread_over_the_ranks_of_those_that_finished_shorter(
    ready: Prepared, folds: Folds
) -> None:
    search = Search(ready.problem, SPACE, folds, LONG, 0)
    short, long = search.lengths.plans[:2]
    config = SPACE.portfolio(0)[0]
    for number in range(20):
        state, plan = ("pruned" if number % 5 == 4 else "finished"), (long if number == 0 else short)
        search.trials.append(Trial(number, {}, 1, 9, 0.1, float(number), state))
        search.candidates.append(Candidate(replace(config, number=number), float(number), torch.zeros(1), 9, plan))
    assert search._again(long, 16) == []  # no longer training is tried yet
    search.lengths.close()
    ranked = [1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13, 15, 16, 17, 18]
    found = [one.config.number for one in search._again(long, 16)]
    assert found == [ranked[1], ranked[5], ranked[9], ranked[13]]
    assert len(search._again(long, 4)) == 2  # half of a narrow bracket at most


def test_a_longer_training_is_judged_by_the_mean_answer(ready: Prepared, folds: Folds) -> None:
    search = Search(ready.problem, SPACE, folds, LONG, 0)
    plan, config, right = search.lengths.plan, SPACE.portfolio(0)[0], 2 * ready.problem.rows.targets - 1
    even = (torch.arange(len(right)) % 2 == 0)[:, None]
    often = (torch.arange(len(right)) % 10 < 8)[:, None]

    def made(first: int, *outputs: torch.Tensor) -> list[Candidate]:
        problem = ready.problem
        answers = problem.answers(torch.stack(outputs))
        scores = problem.answer_score(answers, problem.rows.targets, torch.ones(len(right))).tolist()
        return [Candidate(replace(config, number=first + place), score, answer, 9, plan)
                for place, (answer, score) in enumerate(zip(outputs, scores, strict=True))]  # fmt: skip

    alike = made(0, torch.where(often, right, -right), torch.where(often, right, -right))
    apart = made(20, torch.where(even, 2 * right, -0.4 * right), torch.where(even, -0.4 * right, 2 * right))
    assert max(one.score for one in alike) < min(one.score for one in apart)  # each for itself is better alike
    assert search._gain(20, alike, apart) > 0.1  # but both of the others together are never wrong
    assert search._gain(0, apart, alike) < -0.1
    assert search._gain(20, alike, apart[::-1]) == pytest.approx(search._gain(20, alike, apart))
    assert search._gain(20, [], apart) == search._gain(50, alike, apart) == 0


@pytest.mark.parametrize(("step", "left"), [(10, 70.0), (40, 60.0), (50, 50.0), (60, 45.0)])
def test_what_comes_after_a_search_has_the_time_that_it_needs(
    step: int, left: float, ready: Prepared, folds: Folds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Clock, "spent", lambda self: 0.0)
    search = Search(ready.problem, SPACE, folds, LONG, 0, jobs=2, least=0.45, after=20)
    clock, config = Clock(parse_budget("100s")), SPACE.portfolio(0)[0]
    assert search._left(clock, 0.7) == 70.0  # nothing is known of what would be trained
    search.trials.append(Trial(0, {}, 0, 50, 0.1, 0.1, "finished"))
    search.seconds = len(folds) * 50 * 0.1  # a step takes 0.1 s: the twenty trainings take one second a step
    # The twelve best count.
    steps = [step - 5, step + 5] * 6 + [1_000] * 20
    search.candidates = [Candidate(config, float(n), torch.zeros(1), own, LONG) for n, own in enumerate(steps)]
    assert search._left(clock, 0.7) == pytest.approx(left)
    assert search._left(clock, 0.3) == pytest.approx(30.0)
    assert replace(search, after=0)._left(clock, 0.7) == 70.0
    assert search._left(Clock(parse_budget("50trials")), 0.7) == float("inf")


def test_a_search_that_gains_nothing_ends_before_its_time_and_says_why(
    ready: Prepared, folds: Folds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poise.study.ending.ROUNDS", 1)
    frozen = replace(SPACE.choices, lr=(1e-30, 2e-30), starts=())
    space = Space(["patience"], choices=frozen)
    search = Search(ready.problem, space, folds, PLAN, 0, widest=4)
    search.run(Clock(parse_budget("600s")), 1.0)
    assert search.ending.reached
    assert "within the noise" in search.ending.said
    assert len(search.trials) <= 6 * 4


@pytest.mark.parametrize(("longest", "steps"), [(False, [24, 48]), (True, [96, 96])])
def test_what_was_trained_before_are_the_first_configurations_and_tells_the_length_to_begin_with(
    longest: bool, steps: list[int], ready: Prepared, folds: Folds
) -> None:
    starts = SPACE.portfolio(0)
    plan = replace(LONG if longest else LONG.cut(0.25), rungs=())
    trials, candidates = bracket(ready.problem, SPACE, starts[:2], folds, plan, 0)
    told: list[Trial] = []
    search = Search(ready.problem, SPACE, folds, LONG, 0, widest=4, on_trials=told.extend)
    search.begin_with(Trainings(tuple(trials), tuple(candidates), 3.0, longest))
    assert told == trials
    assert search.rate() == 3.0 / (len(folds) * sum(trial.steps for trial in trials))
    search.run(Clock(parse_budget("10trials")), 0.7)
    assert [trial.number for trial in told[:2]] == [0, 1]
    assert sorted(trial.number for trial in search.trials) == list(range(10))
    assert [max(trial.steps for trial in search.trials[at : at + 4]) for at in (2, 6)] == steps
    dials = {trial.number: trial.dials for trial in search.trials}
    assert [dials[number] for number in (2, 3)] == [one.dials | {"lr": one.lr} for one in starts[2:4]]
    assert {one.config.number for one in search.candidates} >= {0, 1}  # an ensemble may be of them
    assert len(search.sampler.history()) == 10  # and the sampler has learned of them


def test_a_method_that_inherits_spends_its_trials_exactly_too(ready: Prepared, folds: Folds) -> None:
    search = searched(ready, folds, 7, method="pbt")
    assert sorted(trial.number for trial in search.trials) == list(range(7))
    again = searched(ready, folds, 7, method="pbt")
    assert search.trials == again.trials


@pytest.mark.parametrize(("gain", "steps"), [(-1.0, [24, 48, 48]), (1.0, [24, 48, 96, 192, 384])])
def test_before_it_ends_early_a_search_tries_a_longer_training(
    gain: float, steps: list[int], ready: Prepared, folds: Folds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ending, "close", lambda self, candidates: setattr(self, "said", "Nothing improves."))
    monkeypatch.setattr(Search, "_gain", lambda self, first, again, candidates: gain)
    search = Search(ready.problem, SPACE, folds, LONG, 0, widest=4)
    search.run(Clock(parse_budget("1h")), 1.0)
    assert [max(trial.steps for trial in search.trials[at : at + 4]) for at in range(0, len(search.trials), 4)] == steps
    assert search.ending.said == "Nothing improves."


@pytest.mark.parametrize("jobs", [1, 2])
def test_several_brackets_at_a_time_give_the_same_for_any_number_of_workers(
    jobs: int, ready: Prepared, folds: Folds
) -> None:
    told: list[str] = []
    search = searched(ready, folds, 18, brackets=2, jobs=jobs, tell=lambda message, best: told.append(message))
    assert told == [f"configurations {first} to {min(first + 3, 17)}" for first in range(0, 18, 4)]
    alone = searched(ready, folds, 18, brackets=2)
    assert search.trials == alone.trials
    assert [one.config for one in search.candidates] == [one.config for one in alone.candidates]
    dials = {trial.number: trial.dials for trial in search.trials}
    starts = [config.dials | {"lr": config.lr} for config in SPACE.portfolio(0)]
    assert [dials[number] for number in (0, 1, 4, 5)] == [starts[place] for place in (0, 2, 1, 3)]


def waits_for_the_second(folder: Path, problem: object, space: object, configs: list[Config], *rest: object) -> Outcome:
    """Stand for a bracket: the first is done a while after the second."""
    second = folder / "second"
    until = time.monotonic() + 60
    while configs[0].number == 0 and not second.exists():
        assert time.monotonic() < until, "the second bracket waits for the first"
        time.sleep(0.01)
    if configs[0].number == 0:
        time.sleep(0.5)
    second.touch()
    return [Trial(config.number, config.dials, 0, 4, 0.5, 0.5, "finished") for config in configs], []


def test_in_trials_the_oldest_is_waited_for_whatever_is_done_before_it(
    ready: Prepared, folds: Folds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "halving", partial(waits_for_the_second, tmp_path))
    search = searched(ready, folds, 16, brackets=2, jobs=2)
    assert [trial.number for trial in search.trials] == list(range(16))


def waits_for_the_third(folder: Path, problem: object, space: object, configs: list[Config], *rest: object) -> Outcome:
    """Stand for a bracket: the first is not done before the third has begun."""
    third = folder / "third"
    if configs[0].number >= 8:
        third.touch()
    until = time.monotonic() + 60
    while configs[0].number == 0 and not third.exists():
        assert time.monotonic() < until, "the third bracket waits for the first"
        time.sleep(0.01)
    return [Trial(config.number, config.dials, 0, 4, 0.5, 0.5, "finished") for config in configs], []


def test_in_time_a_worker_that_is_done_does_not_wait_for_the_others(
    ready: Prepared, folds: Folds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "halving", partial(waits_for_the_third, tmp_path))
    monkeypatch.setattr(Ending, "close", lambda self, candidates: setattr(self, "said", "Two brackets are enough."))
    search = Search(ready.problem, SPACE, folds, PLAN, 0, jobs=2, widest=4)
    search.run(Clock(parse_budget("600s")), 1.0)
    numbers = [trial.number for trial in search.trials]
    assert sorted(numbers) == list(range(len(numbers)))
    assert numbers[:4] == [4, 5, 6, 7]
    assert numbers.index(0) >= 4
