"""The structure of a study's networks: the design's own, or an alternative that a look before the search prefers."""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass

import torch

from poise.study.bracket import Candidate, bracket
from poise.study.cohort import Plan
from poise.study.design import NetworkDesign
from poise.study.ensemble import Library
from poise.study.folds import Folds
from poise.study.lengths import Lengths
from poise.study.problem import Problem
from poise.study.result import Trial
from poise.study.space import Space
from poise.study.workers import run_all

__all__ = ["Structures", "Trainings"]

LOOKED_AT = 3
"""Configurations that are trained with each structure: the first of those that a search begins with."""

CLEAR = 2.0
"""Standard errors that a gain must be worth."""

MOST = 0.2
"""Of the search's time, what a look may take."""


@dataclass(frozen=True)
class Trainings:
    """What a look trained of one structure, at the length that suited it better, in `seconds`.

    `longest` is whether that was the longest length.
    """

    trials: tuple[Trial, ...] = ()
    candidates: tuple[Candidate, ...] = ()  # none, if all diverged
    seconds: float = 0.0
    longest: bool = False


@dataclass(frozen=True)
class Structures:
    """A look at a design's alternatives: a few configurations are trained with each.

    An alternative replaces the design if the mean answer of its networks has the lowest loss on held-out rows, and
    clearly so: the gain over the design's own is measured on ten parts of these rows, and must be more than twice its
    standard error. Each is trained for the shortest and for the full length of a search, and counts by the better one.
    After a quarter of a training alone, finer bins look better than they are, because they learn faster: of 21 tables
    they were ahead on eight, and at the end of the training on four of these no longer. After a full one alone, a
    network without bins looks better than it is where nothing stops the others from memorising.
    """

    problem: Problem
    space: Space
    folds: Folds
    plan: Plan
    seed: int

    def alternatives(self) -> tuple[NetworkDesign, ...]:
        """Return the designs that could take the place of the problem's."""
        return self.problem.design.alternatives(self.problem.plan, len(self.problem.rows))

    def affordable(self, rate: float, seconds: float, jobs: int) -> bool:
        """Whether a look is worth its time: `rate` is the seconds of a step, `seconds` what the search has."""
        count = 1 + len(self.alternatives())
        rounds = math.ceil(count / jobs)
        steps = sum(plan.steps for plan in self.plans()) * LOOKED_AT * len(self.folds)
        return count > 1 and rounds * rate * steps <= MOST * seconds

    def plans(self) -> list[Plan]:
        """Return the shortest and the longest training of a search before it is stretched, which may be the same."""
        plans = Lengths(self.plan).plans
        return [dataclasses.replace(plan, rungs=()) for plan in dict.fromkeys((plans[0], plans[-1]))]

    def best(self, jobs: int) -> tuple[Problem, str, Trainings]:
        """Return the problem with the structure that fits it best, what to say of it, and what was trained of it.

        There is nothing ("") to say of the design's own structure.
        """
        problems = [self.problem, *(dataclasses.replace(self.problem, design=one) for one in self.alternatives())]
        found = run_all(_looked_at, [(self, one) for one in problems], jobs)
        libraries = [Library(self.problem, one.candidates) if one.candidates else None for one in found]
        own, best, chosen = libraries[0], 0.0, 0
        for place, other in enumerate(libraries):
            if place and own is not None and other is not None and len(other) == len(own):
                gain, noise = own.gain(own.answers.mean(0), other.answers.mean(0), self.seed)
                if gain > max(best, CLEAR * noise):
                    best, chosen = gain, place
        design = problems[chosen].design
        said = f"{design.told} On held-out rows, this gained {best:.2g} in loss." if chosen else ""
        return problems[chosen], said, found[chosen]


def _looked_at(structures: Structures, problem: Problem) -> Trainings:
    """Return what became of one structure by the training that suits it better."""
    configs, plans = structures.space.portfolio(0)[:LOOKED_AT], structures.plans()
    found, least = Trainings(), math.inf
    for plan in plans:
        began = time.monotonic()
        trials, candidates = bracket(problem, structures.space, configs, structures.folds, plan, structures.seed)
        if not candidates:
            continue
        library = Library(structures.problem, candidates)
        loss = float(library.loss(library.answers.mean(0)[None], torch.arange(len(library)))[0])
        if loss < least:
            seconds, longest = time.monotonic() - began, plan is plans[-1]
            found, least = Trainings(tuple(trials), tuple(candidates), seconds, longest), loss
    return found
