"""The retraining: the chosen configurations on the development rows, as many networks as there is time for."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from poise.core.errors import StudyError
from poise.core.recipe import Recipe
from poise.study.bags import PARTS, temperatures_of
from poise.study.bracket import Candidate
from poise.study.checkpoint import Checkpoint, fingerprint
from poise.study.clock import Clock
from poise.study.cohort import Cohort
from poise.study.folds import Folds
from poise.study.halt import Halt
from poise.study.problem import Problem
from poise.study.space import Space
from poise.study.workers import run_all
from poise.train.stack import Stack, join_stacks

__all__ = ["LEAST_RECIPES", "Retrained", "Retraining", "refit"]

NETWORKS = 16
"""Networks of an ensemble where time does not count. TabM's authors find that 8 good members keep most of the gain of 32."""

LEAST_RECIPES = 6
"""Recipes that are retrained even where the time is for fewer networks."""

WORTH_IT = 4
"""Networks that a second round must have time for."""

BAGGED = 2 * PARTS
"""Networks from which on each leaves a part of the rows out, so that a few tell of each row."""


@dataclass(frozen=True)
class Retrained:
    """Networks and their shares; `temperatures` of their mean, one a head, where they left rows out that tell."""

    stack: Stack
    shares: Tensor
    temperatures: tuple[float, ...] | None = None


@dataclass
class Retraining:
    """Retrains candidates for their best number of steps, several seeds each: on all rows, or with bags on most.

    `rate` is the seconds that a step of one network takes a worker, 0 where time is not what counts.
    """

    problem: Problem
    space: Space
    candidates: Sequence[Candidate]
    clock: Clock
    rate: float
    seed: int
    jobs: int
    checkpoint: Checkpoint | None = None
    bags: Folds | None = None  # of `bags_of`, or None: all rows for every network

    def affordable(self, shares: Mapping[int, float]) -> int:
        """Return how many networks can be retrained in the time that is left, copies by shares."""
        if not self.rate:
            return NETWORKS
        steps = sum(share * max(1, self.candidates[place].best_step) for place, share in shares.items())
        return int(max(1, min(self.problem.design.networks, self.clock.left() * self.jobs / (self.rate * steps))))

    def run(self, shares: Mapping[int, float], most: int | None = None) -> Retrained:
        """Return the networks; {place among the candidates: share} says what is retrained.

        With bags, all but the first leave a part of the rows out, if they are ten or more. A second round trains more
        copies, where the first took so much less time than was thought that it pays.

        Raises: StudyError if every network diverged.
        """
        most = self.problem.design.networks if most is None else most
        places = sorted(shares)  # the best configuration comes first: member 0 is the single network of the report
        count = min(most, self.affordable(shares))
        jobs, began = _jobs(shares, places, count), time.monotonic()
        bags = self.bags if len(jobs) >= BAGGED else None
        stack = self._round(jobs, places, bags)
        if self.rate:
            done = sum(self.candidates[place].best_step for place, _ in jobs)
            self.rate = (time.monotonic() - began) * self.jobs / max(1, done)
            more = _jobs(shares, places, min(most, len(jobs) + self.affordable(shares)))
            if len(more) >= len(jobs) + WORTH_IT:
                added = [job for job in more if job not in set(jobs)]
                stack = join_stacks([stack, self._round(added, places, bags)])
                jobs = jobs + added
        copies = {place: sum(own == place for own, _ in jobs) for place in places}
        weights = torch.tensor([shares[place] / copies[place] for place, _ in jobs])
        sound = _sound(stack)
        if not bool(sound.all()):
            stack, weights = stack.select(sound), weights[sound] / weights[sound].sum()
            jobs = [job for job, one in zip(jobs, sound, strict=True) if one]
        if bags is None:
            return Retrained(stack, weights)
        own = [_bag(job, places, bags) for job in jobs]
        return Retrained(stack, weights, temperatures_of(self.problem, stack, weights, own, bags))

    def _round(self, jobs: Sequence[tuple[int, int]], places: Sequence[int], bags: Folds | None) -> Stack:
        """Retrain (place, own number) pairs; return the networks in this order."""
        parts = [jobs[start :: self.jobs] for start in range(self.jobs)]
        longest = max(self.candidates[place].best_step for place, _ in jobs)
        # A search that overran must not leave networks that hardly trained: each recipe gets its time once, with room.
        least = 2 * self.rate * longest * len(places) / self.jobs if self.rate else math.inf
        halt = Halt(deadline=time.time() + max(self.clock.left(), least))
        tasks = [(self.problem, self.space.recipe, [self.candidates[place] for place, _ in part],
                  [own for _, own in part], self.seed, halt, self.checkpoint, bags,
                  None if bags is None else [_bag(job, places, bags) for job in part])
                 for part in parts if part]  # fmt: skip
        merged = join_stacks(run_all(refit, tasks, self.jobs))
        order = [job for part in parts for job in part]
        return merged.select(torch.tensor([order.index(job) for job in jobs]))


def _jobs(shares: Mapping[int, float], places: Sequence[int], networks: int) -> list[tuple[int, int]]:
    """Return (place, own number) of each network: one a place, and of the others as many as its share says."""
    spare = networks - len(places)
    return [(place, own) for place in places for own in range(1 + max(0, int(spare * shares[place])))]


def _bag(job: tuple[int, int], places: Sequence[int], bags: Folds) -> int:
    """Return the bag of a job: the last, of all rows, for the report's network; the others in turn."""
    place, own = job
    return len(bags) - 1 if job == (places[0], 0) else (place + own) % (len(bags) - 1)


def _sound(stack: Stack) -> Tensor:
    """Return which members' weights are numbers: one may diverge on all rows that did not on the folds'."""
    tensors = [*stack.weights.values(), *stack.buffers.values()]
    sound = torch.stack([torch.isfinite(tensor).reshape(len(stack), -1).all(1) for tensor in tensors]).all(0)
    if not bool(sound.any()):
        raise StudyError("every network diverged when it was retrained. Look for extreme values in the table.")
    return sound


def refit(
    problem: Problem,
    recipe: Recipe,
    candidates: Sequence[Candidate],
    seeds: Sequence[int],
    seed: int,
    halt: Halt | None = None,
    checkpoint: Checkpoint | None = None,
    bags: Folds | None = None,
    bag_of: Sequence[int] | None = None,
) -> Stack:
    """Train each candidate on all rows up to its best step, those of one plan as one population; return the weights.

    With `bags`, each trains on the rows of its own instead.
    Dials follow a candidate's schedule. When `halt` is due, those that have steps left end where they are: a little
    early rather than late.
    """
    pairs = list(zip(candidates, seeds, strict=True))
    plans = list(dict.fromkeys(candidate.plan for candidate, _ in pairs))
    groups = [[place for place, (candidate, _) in enumerate(pairs) if candidate.plan == plan] for plan in plans]
    if bags is None or bag_of is None:
        rows = len(problem.rows)
        bags, bag_of = Folds(torch.arange(rows)[None], torch.zeros(1, rows), torch.zeros(1, rows)), [0] * len(pairs)
    stacks = [_refit_group(problem, recipe, [pairs[place] for place in group], seed, halt, checkpoint, bags,
                           [bag_of[place] for place in group]) for group in groups]  # fmt: skip
    order = [place for group in groups for place in group]
    return join_stacks(stacks).select(torch.argsort(torch.tensor(order)))


def _refit_group(
    problem: Problem,
    recipe: Recipe,
    pairs: Sequence[tuple[Candidate, int]],
    seed: int,
    halt: Halt | None,
    checkpoint: Checkpoint | None,
    bags: Folds,
    bag_of: Sequence[int],
) -> Stack:
    plan = pairs[0][0].plan
    configs = [candidate.at(0) for candidate, _ in pairs]
    # Ids past the search's, so that a retrained member is a new draw and not the old one on more rows.
    identities = [1_000_000 + config.number * 100 + own for config, (_, own) in zip(configs, pairs, strict=True)]
    cohort = Cohort(problem, recipe, configs, bags, plan, seed=seed, seeds=identities, fold_of=bag_of)
    population = cohort.population
    targets = [max(1, candidate.best_step) for candidate, _ in pairs]
    left = list(range(len(pairs)))  # the pairs that still train; the others have left the population
    ended: list[tuple[list[int], Stack]] = []
    name = f"retraining-{fingerprint((identities, targets, list(bag_of)))}"
    if checkpoint is not None and (state := checkpoint.load(name)) is not None:
        left = state["left"]
        if left:
            cohort.keep(left)
            population.load_state_dict(state["population"])
        own = cohort.stack()  # its module predicts: dropout is off, and no part is idle
        ended = [(places, Stack(own.module, *tensors)) for places, *tensors in state["ended"]]

    def save() -> None:
        if checkpoint is not None:
            stacks = [(places, stack.weights, stack.buffers) for places, stack in ended]
            training = population.state_dict() if left else None
            checkpoint.save(name, {"left": left, "population": training, "ended": stacks})

    halted = False
    changes = {step for candidate, _ in pairs for step, _ in candidate.schedule if step > 0}
    for step in sorted({*targets, *(change for change in changes if change < max(targets))}):
        while left and population.state.step < step:
            cohort.steps(min(plan.every, step - population.state.step))
            halted = halt is not None and halt.due()
            if halted or (checkpoint is not None and checkpoint.due()):
                save()
            if halted:  # all end where they are; what is saved goes on
                targets = [min(target, population.state.step) for target in targets]
                break
        done = [at for at, place in enumerate(left) if targets[place] <= population.state.step]
        if done:
            ended.append(([left[at] for at in done], cohort.stack().select(torch.tensor(done))))
            rest = [at for at in range(len(left)) if at not in set(done)]
            left = [left[at] for at in rest]
            cohort.keep(rest)
            if not (left or halted):
                save()
        if left and step in changes and population.state.step == step:  # not one that a checkpoint is past
            cohort.inherit(range(len(left)), [pairs[place][0].at(step) for place in left])
    places = [place for own, _ in ended for place in own]
    return join_stacks([stack for _, stack in ended]).select(torch.argsort(torch.tensor(places)))
