"""The retraining: how many networks there are, and that each is the one that it would be alone."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from poise.study.bracket import Candidate
from poise.study.checkpoint import Checkpoint
from poise.study.clock import Clock, parse_budget
from poise.study.cohort import Plan
from poise.study.halt import Halt
from poise.study.prepare import Prepared
from poise.study.refit import refit
from poise.study.retraining import NETWORKS, Job, Retraining, _dealt, _pairs, _weights
from poise.study.space import Space
from poise.study.table_network import Design
from poise.study.workers import run_all
from poise.train.population import Population

SPACE = Space(["dropout", "decay", "patience"])
PLANS = Plan(16, 16, 4), Plan(24, 16, 6)
SHARES = {0: 0.5, 1: 0.25, 2: 0.25}


def candidates() -> list[Candidate]:
    """Three of two plans, whose best steps are 5, 12 and 20."""
    steps = ((PLANS[0], 5), (PLANS[0], 12), (PLANS[1], 20))
    return [Candidate(SPACE.config(n, ("dropout", "decay"), lr=3e-3), 0.5, torch.empty(0), best, plan)
            for n, (plan, best) in enumerate(steps)]  # fmt: skip


def retraining(ready: Prepared, budget: str, rate: float, jobs: int = 1) -> Retraining:
    return Retraining(ready.problem, SPACE, candidates(), Clock(parse_budget(budget)), rate, 0, jobs)


def test_without_a_clock_there_are_sixteen_networks_by_shares(ready: Prepared) -> None:
    found = retraining(ready, "9trials", 0.0).run(SHARES)
    stack, weights = found.stack, found.shares
    assert found.temperatures is None, "no rows were left out"
    copies = [8, 4, 4]  # as the shares say
    assert len(stack) == sum(copies) == NETWORKS
    wanted = [share / count for share, count in zip(SHARES.values(), copies, strict=True) for _ in range(count)]
    assert weights.tolist() == pytest.approx(wanted)


@pytest.mark.parametrize(("seconds", "jobs", "networks"), [(10.6, 1, 10), (10.6, 2, 20), (1e6, 1, 64), (0.0, 1, 1)])
def test_a_network_costs_its_own_steps(
    ready: Prepared, monkeypatch: pytest.MonkeyPatch, seconds: float, jobs: int, networks: int
) -> None:
    # A step takes 0.1 s, and a network 5 / 2 + 12 / 4 + 20 / 4 = 10.5 steps on the mean.
    own = retraining(ready, f"{max(seconds, 1)}s", 0.1, jobs)
    monkeypatch.setattr(Clock, "left", lambda self, share: seconds)
    assert own.affordable(SHARES) == networks


def test_time_that_the_first_round_leaves_goes_to_a_second(ready: Prepared) -> None:
    # By the rate there is time for the three recipes alone; but a step does not take a minute.
    own = retraining(ready, "60s", 60.0)
    found = own.run(SHARES)
    stack, weights = found.stack, found.shares
    assert own.rate < 1.0
    copies = [32, 16, 16]
    assert len(stack) == sum(copies) == Design.networks
    assert float(weights.sum()) == pytest.approx(1.0)
    # Places in order: one of each first, the others after them.
    shares = [share / count for share, count in zip(SHARES.values(), copies, strict=True)]
    rest = [share for share, count in zip(shares, copies, strict=True) for _ in range(count - 1)]
    assert weights.tolist() == pytest.approx([*shares, *rest])
    # Each network is what it is alone: the fourth is the second copy of the first recipe.
    for place, (number, seed) in ((0, (0, 0)), (2, (2, 0)), (3, (0, 1)), (len(stack) - 1, (2, copies[2] - 1))):
        alone = refit(ready.problem, SPACE.recipe, [candidates()[number]], [seed], 0)
        for name, weight in alone.weights.items():
            torch.testing.assert_close(stack.weights[name][place], weight[0], rtol=1e-5, atol=1e-6)


def test_the_weights_of_those_that_there_was_time_for_sum_to_one() -> None:
    jobs = [Job(0, 0, 0), Job(0, 1, 0), Job(2, 0, 0)]  # none of the second place
    assert _weights(jobs, SHARES).tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3])


@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(0, 6))
def test_copies_make_the_sum_of_squared_shares_as_small_as_it_can_be(parts: list[int], spare: int) -> None:
    shares = {place: part / sum(parts) for place, part in enumerate(parts)}
    networks = len(parts) + spare
    pairs = _pairs(shares, networks)
    assert len(set(pairs)) == len(pairs) == networks
    assert set(pairs) <= set(_pairs(shares, networks + 1)), "more networks are the same ones and others"

    def squares(copies: Iterable[int]) -> float:
        return sum(share**2 / count for share, count in zip(shares.values(), copies, strict=True))

    every = (c for c in product(range(1, spare + 2), repeat=len(parts)) if sum(c) == networks)
    found = Counter(place for place, _ in pairs)
    assert squares([found[place] for place in shares]) == pytest.approx(min(map(squares, every)))


@given(st.lists(st.integers(1, 50), min_size=1, max_size=7), st.integers(1, 3))
@example([10, 1, 1, 1], 2)
def test_workers_are_dealt_alike(steps: list[int], workers: int) -> None:
    wanted = {Job(0, own, 0): count for own, count in enumerate(steps)}
    parts = _dealt(wanted, workers)
    assert Counter(job for part in parts for job in part) == Counter(wanted.keys())
    count = min(workers, len(steps))
    assert len(parts) == count

    def longest(owners: Iterable[int]) -> int:
        loads = Counter[int]()
        for owner, own in zip(owners, steps, strict=True):
            loads[owner] += own
        return max(loads.values())

    best = min(longest(owners) for owners in product(range(count), repeat=len(steps)))
    found = max(sum(wanted[job] for job in part) for part in parts)
    assert found <= (4 / 3 - 1 / (3 * count)) * best + 1e-9  # Graham 1969, "Bounds on multiprocessing timing anomalies"


def test_a_second_round_that_is_hardly_worth_it_is_left_out(ready: Prepared) -> None:
    own = retraining(ready, "60s", 60.0)
    assert len(own.run(SHARES, most=6).stack) == 3


def test_a_killed_retraining_goes_on_with_those_that_had_left(
    ready: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Checkpoint(tmp_path)
    kept.pause = 0.0  # whatever was done is written
    own, taken = Population.train, iter(range(100))

    def train(self: Population, *given: Any) -> Any:
        if next(taken) == 3:  # the first network has left after its 5 steps
            raise KeyError
        return own(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Population, "train", train)
        with pytest.raises(KeyError):
            refit(ready.problem, SPACE.recipe, candidates()[:2], [0, 0], 0, None, kept)
    state = torch.load(next(tmp_path.glob("*.pt")), weights_only=True)
    assert (state["left"], [places for places, *_ in state["ended"]]) == ([1], [[0]])
    begun = []

    def again(self: Population, *given: Any) -> Any:
        begun.append((len(self), self.state.step))
        return own(self, *given)

    monkeypatch.setattr(Population, "train", again)
    stack = refit(ready.problem, SPACE.recipe, candidates()[:2], [0, 0], 0, None, kept)
    assert begun == [(1, 9)]
    monkeypatch.setattr(Population, "train", own)
    uncut = refit(ready.problem, SPACE.recipe, candidates()[:2], [0, 0], 0)
    # What has ended is read back, and predicts: in evaluation, where nothing is dropped.
    monkeypatch.setattr(Population, "train", None)
    read = refit(ready.problem, SPACE.recipe, candidates()[:2], [0, 0], 0, None, kept)
    rows = ready.problem.rows.inputs
    for found in (stack, read):
        assert all(torch.equal(found.weights[name], weight) for name, weight in uncut.weights.items())
        assert not found.module.training
        assert torch.equal(found.outputs(rows), uncut.outputs(rows))


def test_a_halt_ends_all_where_they_are(ready: Prepared) -> None:
    halt = Halt(deadline=0.0)
    stack = refit(ready.problem, SPACE.recipe, candidates(), [0, 0, 0], 0, halt)
    steps = [4, 4, 6]  # those of one evaluation
    for place, (candidate, count) in enumerate(zip(candidates(), steps, strict=True)):
        cut = Candidate(candidate.config, 0.5, torch.empty(0), count, candidate.plan)
        alone = refit(ready.problem, SPACE.recipe, [cut], [0], 0)
        for name, weight in alone.weights.items():
            torch.testing.assert_close(stack.weights[name][place], weight[0], rtol=1e-5, atol=1e-6)
    assert math.isfinite(float(sum(weight.abs().sum() for weight in stack.weights.values())))


@pytest.mark.parametrize(("late", "left"), [(0.0, 95.0), (90.0, 5.0), (94.0, 3.6), (1_000.0, 3.6)])
def test_steps_that_no_search_has_seen_are_for_time_that_is_left(
    late: float, left: float, ready: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []

    def noted(function: Callable[..., Any], tasks: list[tuple[Any, ...]], jobs: int) -> list[Any]:
        given.append(tasks[0][5].deadline - time.time())
        return run_all(function, tasks, jobs)

    monkeypatch.setattr("poise.study.retraining.run_all", noted)
    own = retraining(ready, "100s", 0.1, jobs=2)
    own.clock.started = time.monotonic() - late
    # The clock cut the last two after 12 steps, while they still got better: three recipes, twice 12 steps of 0.1 s.
    cut = [replace(one, best_step=one.plan.steps, seen=12) for one in own.candidates[1:]]
    own.candidates = [own.candidates[0], *cut]
    assert len(own.run(SHARES, most=3).stack) == 3
    assert given[0] == pytest.approx(left, abs=0.5)
