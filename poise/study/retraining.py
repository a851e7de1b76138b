"""The retraining: the chosen configurations on the development rows, as many networks as there is time for."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from poise.core.errors import StudyError
from poise.study.bags import PARTS, LeftOut, left_out, temperatures_of
from poise.study.bracket import Candidate
from poise.study.checkpoint import Checkpoint
from poise.study.clock import Clock
from poise.study.ensemble import gain_between
from poise.study.folds import Folds
from poise.study.halt import Halt
from poise.study.problem import Problem
from poise.study.refit import refit
from poise.study.space import Space
from poise.study.workers import run_all
from poise.train.stack import Stack, join_stacks

__all__ = ["LEAST_RECIPES", "LONGER", "Retrained", "Retraining"]

NETWORKS = 16
"""Networks of an ensemble where time does not count. Of 32 good ones, 8 keep most of the gain, TabM's authors find."""

LEAST_RECIPES = 6
"""Recipes that are retrained even where the time is for fewer networks."""

WORTH_IT = 4
"""Networks that a second round must have time for."""

BAGGED = 2 * PARTS
"""Networks from which on each leaves a part of the rows out, so that a few tell of each row."""

LONGER = (2, 4)
"""Times the steps of the search, that pilots try."""

MANY = 6_000
"""Rows from which on networks train twice as long as in the search, and a fifth of them tells enough of more."""

AT_LEAST = 5
"""Networks beside the pilots that there must be time for, where all train longer."""


READY = 0.95
"""Of the budget, when training must be over: what follows takes time too, and a step is not always as fast."""


@dataclass(frozen=True)
class Job:
    """A network to retrain: its place among the candidates, its own number there, its bag, and times the steps."""

    place: int
    own: int
    bag: int
    times: int = 1


@dataclass(frozen=True)
class Retrained:
    """Networks and their shares; `temperatures` of their mean, one a head, where they left rows out that tell."""

    stack: Stack
    shares: Tensor
    temperatures: tuple[float, ...] | None = None
    longer: str = ""  # what to say of how long they trained, where it was longer than in the search


@dataclass
class Retraining:
    """Retrains candidates for their best number of steps, several seeds each: on all rows, or with bags on most.

    `rate` is the seconds that a step of one network takes a worker, 0 where time is not what counts. `tempered` is
    whether the rows that bags leave out are to tell a temperature, for which all networks leave a part out.

    Where time counts and is enough, pilots tell whether to train longer than the search did: its networks had fewer
    rows, and each was stopped where it was best alone, while a mean of many bears longer training. Pilots leave rows
    out; they are trained again for twice the steps, and, if a mean of many like them would lose less on those rows,
    for four times. Of many rows, all train for twice the steps without being asked, and pilots tell of four times. The
    first network, the report's, trains as the search found.
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
    tempered: bool = True

    def affordable(self, shares: Mapping[int, float]) -> int:
        """Return how many networks can be retrained in the time that is left, copies by shares."""
        if not self.rate:
            return NETWORKS
        return int(max(1, min(self.problem.design.networks, self._room(shares, self._usual(shares)))))

    def _room(self, shares: Mapping[int, float], times: int) -> float:
        """Return how many networks there is time for, each trained for so many times the steps of the search."""
        steps = sum(share * max(1, self.candidates[place].best_step) for place, share in shares.items())
        return self.clock.left(READY) * self.jobs / (self.rate * steps * times)

    def _usual(self, shares: Mapping[int, float]) -> int:
        """Return for how many times the steps of the search networks train that no pilot tells of."""
        if not self.problem.design.bagged or len(self.problem.rows) < MANY:
            return 1
        return LONGER[0] if not self.rate or self._room(shares, LONGER[0]) >= LEAST_RECIPES else 1

    def run(self, shares: Mapping[int, float], most: int | None = None) -> Retrained:
        """Return the networks; {place among the candidates: share} says what is retrained.

        With bags, all but the first leave a part of the rows out, if they are ten or more. A second round trains more
        copies, where the first took so much less time than was thought that it pays.

        Raises: StudyError if every network diverged.
        """
        most = self.problem.design.networks if most is None else most
        pairs = _pairs(shares, min(most, self.affordable(shares)))
        bags, usual = self.bags if len(pairs) >= BAGGED else None, self._usual(shares)
        pilots = self._pilots(shares, usual) if bags is not None and self.rate and most > 2 * BAGGED else []
        if bags is not None and pilots:
            jobs, stack, said = self._piloted(pilots, bags, shares, usual)
        else:
            bags, said = bags if self.tempered else None, ""
            jobs = [self._job(pair, pairs, bags, usual) for pair in pairs]
            stack = self._round(jobs, bags)
        times = jobs[-1].times
        if times > 1 and not said:
            said = (
                f"The ensemble's networks train for {times} times the steps that the search found: there are many rows."
            )
        if self.rate:
            more = _pairs(shares, min(most, len(jobs) + int(self._room(shares, times))))
            if len(more) >= len(jobs) + WORTH_IT:
                there = {(job.place, job.own) for job in jobs}
                added = [self._job(pair, pairs, bags, times) for pair in more if pair not in there]
                stack = join_stacks([stack, self._round(added, bags)])
                jobs = jobs + added
        weights, sound = _weights(jobs, shares), _sound(stack)
        if not bool(sound.all()):
            stack, weights = stack.select(sound), weights[sound] / weights[sound].sum()
            jobs = [job for job, one in zip(jobs, sound, strict=True) if one]
        if bags is None or not self.tempered:
            return Retrained(stack, weights, longer=said)
        found = temperatures_of(self.problem, stack, weights, [job.bag for job in jobs], bags)
        return Retrained(stack, weights, found, said)

    def _job(self, pair: tuple[int, int], pairs: Sequence[tuple[int, int]], bags: Folds | None, times: int) -> Job:
        """Return the network of a (place, own number).

        The first of all leaves no row out and trains as in the search. Nor does any other leave rows out where no
        temperature is to be told; else they do in turn.
        """
        place, own = pair
        parts = 0 if bags is None else len(bags) - 1
        every = not parts or not self.tempered or pair == pairs[0]
        return Job(place, own, parts if every else (place + own) % parts, 1 if pair == pairs[0] else times)

    def _pilots(self, shares: Mapping[int, float], usual: int) -> list[int]:
        """Return the bag of each pilot: five networks a bag, or two; of many rows, one bag tells enough.

        None, if there is no time for them once and twice as long, and for five networks more.
        """
        assert self.bags is not None
        parts, room = len(self.bags) - 1, self._room(shares, usual)
        for each, bags in ((5, parts), (2, parts)) if len(self.problem.rows) < MANY else ((5, 1),):
            count = each * bags
            times = sum(LONGER) if count > BAGGED else 2  # so many only where time hardly counts
            if room >= 1 + (1 + times) * count + 2 * AT_LEAST:
                return [at % bags for at in range(count)]
        return []

    def _piloted(
        self, pilots: Sequence[int], bags: Folds, shares: Mapping[int, float], usual: int
    ) -> tuple[list[Job], Stack, str]:
        """Return the first network and the pilots, trained for as long as they gain by it, and what to say of that."""
        first, *others = _pairs(shares, 1 + len(pilots))
        others.sort(key=lambda pair: (pair[1], -shares[pair[0]]))  # one of each recipe, the largest shares first
        jobs = [Job(*pair, bag, usual) for pair, bag in zip(others, pilots, strict=False)]
        jobs = [Job(*first, len(bags) - 1), *jobs]
        stack = self._round(jobs, bags)
        before = self._left_out(jobs, stack, bags, shares)
        gained, said = 0.0, ""
        for times in (one for one in LONGER if one > usual):
            if self._room(shares, times) < len(pilots) + AT_LEAST:
                break
            longer = [replace(job, times=times) for job in jobs[1:]]
            trained = join_stacks([stack.select(torch.tensor([0])), self._round(longer, bags)])
            now = self._left_out([jobs[0], *longer], trained, bags, shares)
            lost, loses = (partial(one.losses, self.problem) for one in (before, now))
            gain, _ = gain_between(lost, loses, len(now.rows), self.seed)
            if not gain > 0:  # nor where a network diverged
                break
            jobs, stack, before, gained = [jobs[0], *longer], trained, now, gained + gain
            said = (
                f"The ensemble's networks train for {times} times the steps that the search found: on rows that "
                f"{len(jobs) - 1} of them left out, this gained {gained:.2g} in loss."
            )
        return jobs, stack, said

    def _left_out(self, jobs: Sequence[Job], stack: Stack, bags: Folds, shares: Mapping[int, float]) -> LeftOut:
        return left_out(self.problem, stack, _weights(jobs, shares), [job.bag for job in jobs], bags)

    def _round(self, jobs: Sequence[Job], bags: Folds | None) -> Stack:
        """Retrain networks and return them in this order; from then on, `rate` is what they took."""
        own = {job: _longer(self.candidates[job.place], job.times) for job in jobs}
        parts = _dealt({job: max(1, one.best_step) for job, one in own.items()}, self.jobs)
        longest, began = max(one.sure_steps for one in own.values()), time.monotonic()
        places = len({job.place for job in jobs})
        # A search that overran must not leave networks that hardly trained: each recipe gets its time once, with room.
        # That is the time for the steps that the search has seen; what it did not come to is for time that is left.
        least = 2 * self.rate * longest * places / self.jobs if self.rate else math.inf
        halt = Halt(deadline=time.time() + max(self.clock.left(READY), least))
        tasks = [(self.problem, self.space.recipe, [own[job] for job in part], [job.own for job in part], self.seed,
                  halt, self.checkpoint, bags, [job.bag for job in part]) for part in parts]  # fmt: skip
        merged = join_stacks(run_all(refit, tasks, self.jobs))
        if self.rate:
            self.rate = (time.monotonic() - began) * self.jobs / sum(max(1, one.best_step) for one in own.values())
        order = [job for part in parts for job in part]
        return merged.select(torch.tensor([order.index(job) for job in jobs]))


def _dealt(steps: Mapping[Job, int], workers: int) -> list[list[Job]]:
    """Return each worker's networks, none of them without any: the longest first, each to who has the fewest steps."""
    parts: list[list[Job]] = [[] for _ in range(min(workers, len(steps)))]
    for job in sorted(steps, key=lambda one: -steps[one]):
        min(parts, key=lambda part: sum(steps[one] for one in part)).append(job)
    return parts


def _pairs(shares: Mapping[int, float], networks: int) -> list[tuple[int, int]]:
    """Return (place, own number) of each network, the best configuration's first: it is the report's single network.

    One a place, and each of the others where it lowers most the sum of squared shares of single networks, with which
    the variance of their mean falls. More networks are the same ones and others.

    >>> _pairs({0: 0.2, 3: 0.8}, 4)
    [(0, 0), (3, 0), (3, 1), (3, 2)]
    """
    copies = dict.fromkeys(sorted(shares), 1)
    for _ in range(networks - len(shares)):
        place = max(copies, key=lambda one: shares[one] ** 2 / (copies[one] * (copies[one] + 1)))
        copies[place] += 1
    return [(place, own) for place, count in copies.items() for own in range(count)]


def _weights(jobs: Sequence[Job], shares: Mapping[int, float]) -> Tensor:
    """Return what each network counts (M,): its place's share, divided among those of the place; together 1.

    Pilots may be fewer than the places, and after them there may be no time for the others.
    """
    copies = Counter(job.place for job in jobs)
    whole = sum(shares[place] for place in copies) if len(copies) < len(shares) else 1.0
    return torch.tensor([shares[job.place] / copies[job.place] / whole for job in jobs])


def _longer(candidate: Candidate, times: int) -> Candidate:
    """Return the candidate with its training, schedules too, drawn out."""
    if times == 1:
        return candidate
    schedule = tuple((times * step, config) for step, config in candidate.schedule)
    return replace(
        candidate,
        plan=candidate.plan.stretched(times),
        best_step=times * max(1, candidate.best_step),
        schedule=schedule,
        seen=times * candidate.seen,
    )


def _sound(stack: Stack) -> Tensor:
    """Return which members' weights are numbers: one may diverge on all rows that did not on the folds'."""
    tensors = [*stack.weights.values(), *stack.buffers.values()]
    sound = torch.stack([torch.isfinite(tensor).reshape(len(stack), -1).all(1) for tensor in tensors]).all(0)
    if not bool(sound.any()):
        raise StudyError("every network diverged when it was retrained. Look for extreme values in the table.")
    return sound
