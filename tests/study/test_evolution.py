"""Population-based training: who is replaced by whom, what dials may become, the replay, and going on from a file."""

import random
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from poise.core.errors import ArgumentError
from poise.study.bracket import Candidate, restored
from poise.study.checkpoint import Checkpoint
from poise.study.cohort import Cohort, Plan
from poise.study.evolution import FACTORS, _exploit, evolve, perturbed
from poise.study.folds import Folds
from poise.study.halt import Halt
from poise.study.prepare import Prepared
from poise.study.refit import refit
from poise.study.space import Config, Space
from poise.study.study import Study

SPACE = Space(["dropout", "decay", "patience"])
PLAN = Plan(steps=16, batch=16, every=2)
RATES = [1e-3, 5e-4, 1e-2, 2e-2, 2e-3, 8e-4, 5e-3, 1.5e-2]


def configs(count: int = 8) -> list[Config]:
    return [SPACE.config(30 + n, ("dropout", "decay", "patience"), lr=RATES[n]) for n in range(count)]


def test_dials_move_by_the_factors_within_their_ranges_and_neutral_ones_stay() -> None:
    config = SPACE.config(0, ("dropout", "patience"), {"dropout.p": 0.55}, lr=1e-3)
    found = [perturbed(config, SPACE, random.Random(seed)) for seed in range(20)]
    top = SPACE.range_of("dropout.p")[1]
    assert {one.dials["dropout.p"] for one in found} == {0.55 * FACTORS[0], min(0.55 * FACTORS[1], top)}
    assert {one.lr for one in found} == {1e-3 * factor for factor in FACTORS}
    assert {one.dials["decay.rate"] for one in found} == {0.0}
    assert {one.dials["patience.evaluations"] for one in found} == {config.dials["patience.evaluations"]}


def test_the_worst_quarter_takes_over_from_the_best_quarter(ready: Prepared, folds: Folds) -> None:
    cohort = Cohort(ready.problem, SPACE.recipe, configs(), folds, PLAN, seed=0)
    cohort.train(4)
    scores = cohort.latest()
    order = sorted(range(8), key=scores.__getitem__)
    before = cohort.population.state.flat.data.clone()
    lines = _exploit(cohort, SPACE, [((0, config),) for config in configs()], random.Random(0))
    after = cohort.population.state.flat.data
    for place in order[:6]:
        assert after[3 * place : 3 * place + 3].equal(before[3 * place : 3 * place + 3])
        assert len(lines[place]) == 1
    for place in order[6:]:
        donors = [best for best in order[:2] if after[3 * place].equal(before[3 * best])]
        assert len(donors) == 1
        best = donors[0]
        assert after[3 * place : 3 * place + 3].equal(before[3 * best : 3 * best + 3])  # fold by fold
        (start, first), (step, heir) = lines[place]
        assert (start, step, first.lr, heir.number) == (0, 4, RATES[best], 30 + place)
        assert heir.lr in {min(RATES[best] * factor, SPACE.choices.lr[1]) for factor in FACTORS}


def test_each_configuration_is_a_trial_and_a_candidate_with_its_course(ready: Prepared, folds: Folds) -> None:
    trials, candidates = evolve(ready.problem, SPACE, configs(), folds, PLAN, 0)
    assert sorted(trial.number for trial in trials) == [30 + n for n in range(8)]
    assert {trial.steps for trial in trials} == {16}
    assert [one.score for one in candidates] == sorted(one.score for one in candidates)
    assert any(len(one.schedule) > 1 for one in candidates)
    for one in candidates:
        assert one.at(max(0, one.best_step - 1)) == one.config
        assert {config.number for _, config in one.schedule} == {one.config.number}


def test_a_replay_changes_rate_and_dials_at_the_steps_of_the_course(ready: Prepared) -> None:
    first, second = configs(2)[0], configs(3)[2]
    second = Config(first.number, second.dials | {"decay.rate": 1.0}, second.lr, second.on)
    replayed = Candidate(second, 0.0, torch.empty(0), 12, PLAN, ((0, first), (6, second)))
    stack = refit(ready.problem, SPACE.recipe, [replayed], [0], 0)
    rows = len(ready.problem.rows)
    everything = Folds(torch.arange(rows)[None], torch.zeros(1, rows), torch.zeros(1, rows))
    identity = [1_000_000 + first.number * 100]
    cohort = Cohort(ready.problem, SPACE.recipe, [first], everything, PLAN, seed=0, seeds=identity)
    population = cohort.population
    population.train(ready.problem.rows, 6, PLAN.batch)
    population.base_lr = torch.tensor([second.lr], dtype=torch.float64)
    population.state.dials = {name: torch.tensor([second.dials[name]]) for name in population.state.dials}
    population.train(ready.problem.rows, 6, PLAN.batch)
    for name, weight in population.state.flat.views().items():
        torch.testing.assert_close(stack.weights[name], weight, atol=1e-6, rtol=1e-6)


@pytest.mark.usefixtures("short")
def test_a_study_searches_by_it_when_told_and_refuses_what_it_does_not_know() -> None:
    study = Study("diabetes", budget="6trials", parts=("dropout", "patience"), ablation=False, search="pbt")
    result = study.run()
    assert len(result.trials) == 6
    assert {trial.rung for trial in result.trials} == {0}  # nobody is dropped
    with pytest.raises(ArgumentError, match=r"`Study\.search` must be one of 'halving', 'pbt'; got 'grid'\."):
        Study("diabetes", search="grid")


class Killed(BaseException):
    """What ends a training here: nothing of the package catches it."""


@pytest.mark.parametrize("at", [1, 4, 6])
def test_killed_at_an_evaluation_it_goes_on_to_the_same_outcome(
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

    given = (ready.problem, SPACE, configs(), folds, PLAN, 0)
    wanted = evolve(*given)
    with pytest.raises(Killed):
        evolve(*given, checkpoint=Kept(tmp_path), watcher=Killer())
    for found in (evolve(*given, checkpoint=Kept(tmp_path)), evolve(*given, checkpoint=Kept(tmp_path))):
        assert found[0] == wanted[0]
        assert [(one.config, one.schedule, one.best_step) for one in found[1]] == [
            (one.config, one.schedule, one.best_step) for one in wanted[1]
        ]
        assert all(a.outputs.nan_to_num().equal(b.outputs.nan_to_num())
                   for a, b in zip(found[1], wanted[1], strict=True))  # fmt: skip


def test_who_still_got_better_at_a_deadline_is_retrained_to_the_plans_end(ready: Prepared, folds: Folds) -> None:
    trials, candidates = evolve(ready.problem, SPACE, configs(), folds, PLAN, 0, Halt(deadline=0.0))
    assert {trial.steps for trial in trials} == {PLAN.every}
    assert {candidate.best_step for candidate in candidates} == {PLAN.steps}
    assert {candidate.seen for candidate in candidates} == {trial.steps for trial in trials}
    assert {restored(asdict(candidate)).sure_steps for candidate in candidates} == {trials[0].steps}
