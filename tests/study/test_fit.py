"""From a prepared table to an ensemble: exact steps, shares, temperature, interrupts, divergence, weights of rows."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from poise.core.errors import StudyError
from poise.study.bags import bags_of
from poise.study.bracket import Candidate
from poise.study.clock import Clock, parse_budget
from poise.study.cohort import Cohort, Plan
from poise.study.design import NetworkDesign
from poise.study.fit import Fitted, Settings, fit
from poise.study.folds import Folds, make_folds
from poise.study.prepare import Prepared
from poise.study.problem import Problem
from poise.study.refit import refit
from poise.study.retraining import Retraining
from poise.study.space import Space
from poise.study.table_network import Design
from poise.train.population import Rows

SPACE = Space(["dropout", "decay", "patience"])

pytestmark = pytest.mark.usefixtures("short")


def fitted(ready: Prepared, trials: int = 4, problem: Problem | None = None, **settings: object) -> Fitted:
    codes = ready.strata
    own = Settings(**settings)  # type: ignore[arg-type]
    return fit(problem or ready.problem, codes, SPACE, Clock(parse_budget(f"{trials}trials")), own)


@pytest.fixture(scope="module")
def found(ready: Prepared, short: None) -> Fitted:
    return fitted(ready)


def loss(problem: Problem, found: Fitted, temperature: float) -> float:
    """The weighted log-loss on the held-out rows of the mean prediction of the chosen candidates."""
    mean = torch.zeros(0)
    for candidate in found.candidates:
        share = found.chosen.get(candidate.config.number, 0.0)
        part = share * torch.softmax(candidate.outputs, -1)
        mean = part if not len(mean) else mean + part
    held = torch.isfinite(mean).all(-1)
    scale = torch.ones(problem.outputs) if problem.heads[0].class_weights is None else problem.heads[0].class_weights
    targets = problem.rows.targets[held] * scale
    logs = torch.log_softmax(mean[held].clamp(min=1e-7).log() / temperature, -1)
    return float(-(targets * logs).sum() / targets.sum())


def test_shares_sum_to_1_over_networks_and_over_configurations(found: Fitted) -> None:
    assert len(found.shares) == len(found.stack) >= len(found.chosen)
    assert float(found.shares.sum()) == pytest.approx(1.0, abs=1e-6)
    assert sum(found.chosen.values()) == pytest.approx(1.0)
    assert bool((found.shares > 0).all())


def test_the_best_candidate_is_the_studys_and_member_0_is_its_network(found: Fitted, ready: Prepared) -> None:
    assert found.best == found.candidates[0].config
    assert found.candidates[0].score == min(candidate.score for candidate in found.candidates)
    bags = bags_of(ready.strata, task="classification", seed=0)
    assert bags is not None
    own = refit(found.problem, SPACE.recipe, [found.candidates[0]], [0], 0, None, None, bags, [len(bags) - 1])
    assert bags.train[-1].tolist() == list(range(len(ready.problem.rows))), "the report's network learns from all rows"
    inputs = ready.problem.rows.inputs
    torch.testing.assert_close(found.stack.outputs(inputs)[0], own.outputs(inputs)[0], atol=2e-5, rtol=2e-5)


class Watcher:
    """Notes in what precision the search's networks multiply."""

    def __init__(self) -> None:
        self.products: set[str] = set()

    def evaluated(self, cohort: Cohort) -> None:
        self.products.add(cohort.population.program.products)


@pytest.mark.parametrize(("budget", "products"), [("4trials", "float32"), ("1s", "bfloat16")])
def test_products_are_rounded_where_the_budget_is_in_time_alone(
    ready: Prepared, budget: str, products: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "poise.study.fit.plan_for", lambda rows, *, products="float32", **_: Plan(16, 16, 4, products=products)
    )
    watcher = Watcher()
    found = fit(ready.problem, ready.strata, SPACE, Clock(parse_budget(budget)), Settings(watcher=watcher))
    assert watcher.products == {products} == {found.plan.products}


def test_networks_too_few_for_bags_have_the_best_temperature_on_the_held_out_rows(
    ready: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poise.study.retraining.NETWORKS", 4)
    few = fitted(ready)
    own = loss(ready.problem, few, few.temperatures[0])
    assert own < loss(ready.problem, few, 1.0)
    # Smoothed by one row more, it need not be the best to the last digit.
    for factor in (0.7, 1.4):
        assert own < loss(ready.problem, few, few.temperatures[0] * factor)


def test_many_networks_have_the_temperature_of_the_rows_that_they_left_out(found: Fitted, ready: Prepared) -> None:
    bags = bags_of(ready.strata, task="classification", seed=0)
    assert bags is not None
    places = {candidate.config.number: place for place, candidate in enumerate(found.candidates)}
    shares = {places[number]: share for number, share in found.chosen.items()}
    clock = Clock(parse_budget("4trials"))
    own = Retraining(found.problem, SPACE, found.candidates, clock, 0.0, 0, 1, bags=bags).run(shares)
    assert own.temperatures == found.temperatures
    for name, weight in own.stack.weights.items():
        assert weight.equal(found.stack.weights[name]), name


@pytest.mark.parametrize("reason", ["numbers", "time", "images"])
def test_without_a_temperature_or_in_order_of_time_all_networks_learn_from_all_rows(
    reason: str, ready: Prepared, numbers: Prepared, monkeypatch: pytest.MonkeyPatch, short: None
) -> None:
    seen = []
    monkeypatch.setattr("poise.study.fit.Retraining", lambda *args: seen.append(args[-2:]) or Retraining(*args))
    own = numbers if reason == "numbers" else ready
    if reason == "images":
        monkeypatch.setattr(Design, "bagged", NetworkDesign.bagged)
    time = np.arange(len(own.strata)) if reason == "time" else None
    fit(own.problem, own.strata, SPACE, Clock(parse_budget("4trials")), Settings(), time=time)
    ((bags, tempered),) = seen
    assert not tempered if reason == "numbers" else bags is None


def test_bags_that_tell_no_temperature_are_for_pilots_alone(found: Fitted, ready: Prepared) -> None:
    """And pilots cost time, which does not count here."""
    bags = bags_of(ready.strata, task="classification", seed=0)
    stacks = [Retraining(ready.problem, SPACE, found.candidates, Clock(parse_budget("4trials")), 0.0, 0, 1, None, own,
                         tempered=False).run({0: 0.7, 1: 0.3}).stack for own in (bags, None)]  # fmt: skip
    for name, weight in stacks[0].weights.items():
        assert weight.equal(stacks[1].weights[name]), name


def test_a_retrained_network_takes_exactly_its_best_number_of_steps_on_all_rows(ready: Prepared) -> None:
    plan = Plan(16, 16, 4)
    config = SPACE.config(3, ("dropout", "decay"), lr=3e-3)
    candidates = [
        Candidate(replace(config, number=n), 0.5, torch.empty(0), steps, plan) for n, steps in ((3, 7), (4, 12))
    ]
    stack = refit(ready.problem, SPACE.recipe, candidates, [0, 1], 0)
    everything = Folds(torch.arange(72)[None], torch.zeros(1, 72), torch.zeros(1, 72))
    for place, (candidate, seed) in enumerate(zip(candidates, (0, 1), strict=True)):
        ids = [1_000_000 + candidate.config.number * 100 + seed]
        cohort = Cohort(ready.problem, SPACE.recipe, [candidate.config], everything, plan, seed=0, seeds=ids)
        cohort.population.train(ready.problem.rows, candidate.best_step, plan.batch)
        wanted = cohort.population.state.flat.views()
        for name, weight in stack.weights.items():
            torch.testing.assert_close(weight[place], wanted[name][0], atol=2e-6, rtol=2e-5)


def test_the_same_seed_fits_the_same_bit_for_bit_and_another_does_not(found: Fitted, ready: Prepared) -> None:
    again, other = fitted(ready), fitted(ready, seed=1)
    assert again.trials == found.trials
    for name, weight in found.stack.weights.items():
        assert weight.equal(again.stack.weights[name])
    assert again.temperatures == found.temperatures
    assert other.trials != found.trials


def test_an_interrupt_ends_the_search_and_what_was_found_is_retrained(ready: Prepared, short: None) -> None:
    def tell(message: str, best: float | None, share: float) -> None:
        if best is not None and message.startswith("configurations"):
            raise KeyboardInterrupt

    ended = fitted(ready, 30, tell=tell)
    assert ended.interrupted
    assert len(ended.trials) == 12
    assert float(ended.shares.sum()) == pytest.approx(1.0, abs=1e-6)


def test_an_interrupt_of_the_retraining_leaves_one_network_of_the_best_configuration(ready: Prepared) -> None:
    def tell(message: str, best: float | None, share: float) -> None:
        if message.startswith("retraining"):
            raise KeyboardInterrupt

    ended = fitted(ready, tell=tell)
    assert ended.interrupted
    assert len(ended.stack) == 1
    assert ended.chosen == {ended.best.number: 1.0}


def test_an_interrupt_before_anything_was_found_is_passed_on(ready: Prepared) -> None:
    def tell(message: str, best: float | None, share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(ready, tell=tell)


def test_shares_of_the_work_never_fall(ready: Prepared) -> None:
    told: list[float] = []
    fitted(ready, 20, tell=lambda message, best, share: told.append(share))
    assert told == sorted(told)
    assert 0 <= told[0] < told[-1] <= 1


@pytest.fixture
def wild() -> Iterator[None]:
    """Every learning rate that is searched is one at which every network diverges."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SPACE, "choices", replace(SPACE.choices, lr=(1e30, 1e31)))
        yield


def test_where_every_configuration_diverges_a_mild_one_is_trained(ready: Prepared, wild: None) -> None:
    ended = fitted(ready)
    assert {trial.state for trial in ended.trials} == {"diverged"}
    assert ended.best.lr == 1e-4
    assert 0.05 <= ended.temperatures[0] <= 20
    assert bool(torch.isfinite(ended.stack.outputs(ready.problem.rows.inputs)).all())


def test_a_network_that_diverges_on_all_rows_leaves_its_share_to_the_others(
    found: Fitted, ready: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = found.stack.select(torch.arange(len(found.stack)))
    next(iter(broken.weights.values()))[1] = torch.nan
    own = Retraining(ready.problem, SPACE, found.candidates, Clock(parse_budget("4trials")), 0.0, 0, 1)
    monkeypatch.setattr(Retraining, "_round", lambda *args: broken)
    places = {candidate.config.number: place for place, candidate in enumerate(found.candidates)}
    left = own.run({places[number]: share for number, share in found.chosen.items()})
    assert len(left.stack) == len(found.stack) - 1 == len(left.shares)
    assert float(left.shares.sum()) == pytest.approx(1.0, abs=1e-6)
    monkeypatch.setattr(Retraining, "_round", lambda *args: broken.select(torch.tensor([1])))
    with pytest.raises(StudyError):
        own.run({0: 1.0}, most=1)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_rows_of_weight_0_change_nothing(task: str, ready: Prepared, numbers: Prepared) -> None:
    own = ready if task == "classification" else numbers
    rows, draw = own.problem.rows, np.random.default_rng(0)
    weights = torch.from_numpy(draw.integers(0, 2, len(rows)).astype(np.float32))
    garbage = torch.where(weights[:, None] > 0, rows.targets, rows.targets.flip(1) * (7 if task == "regression" else 1))
    found = []
    for targets in (rows.targets, garbage):
        problem = replace(own.problem, rows=Rows(rows.inputs, targets, weights))
        found.append(fitted(own, problem=problem))
    for name, weight in found[0].stack.weights.items():
        assert weight.equal(found[1].stack.weights[name])
    assert found[0].trials == found[1].trials
    assert found[0].temperatures == found[1].temperatures


def test_a_regression_is_fitted_without_a_temperature(numbers: Prepared) -> None:
    ended = fitted(numbers)
    assert ended.temperatures[0] == 1.0
    assert all(math.isfinite(candidate.score) for candidate in ended.candidates)


def test_two_jobs_fit_the_same_ensemble_as_one_from_the_same_candidates(found: Fitted, ready: Prepared) -> None:
    places = {candidate.config.number: place for place, candidate in enumerate(found.candidates)}
    shares = {places[number]: share for number, share in found.chosen.items()}
    clock = Clock(parse_budget("4trials"))
    one, two = (
        Retraining(ready.problem, SPACE, found.candidates, clock, 0.0, 0, jobs).run(shares, most=5) for jobs in (1, 2)
    )
    assert one.shares.equal(two.shares)
    for name, weight in one.stack.weights.items():
        assert weight.equal(two.stack.weights[name]), name


def test_a_small_table_gets_three_folds_and_what_is_asked_for_wins(ready: Prepared) -> None:
    codes = ready.strata
    assert len(fitted(ready, 1).folds) == 3
    asked = fitted(ready, 1, folds=1).folds
    assert asked.validation.equal(make_folds(codes, task="classification", count=1, seed=0).validation)
