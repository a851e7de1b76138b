"""The structure of a study's networks: the design's own, or an alternative that a look before the search prefers."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch

from poise.study.bracket import bracket
from poise.study.cohort import Plan
from poise.study.design import NetworkDesign
from poise.study.ensemble import Library
from poise.study.folds import Folds
from poise.study.lengths import Lengths
from poise.study.problem import Problem
from poise.study.space import Space
from poise.study.workers import run_all

__all__ = ["Structures"]

LOOKED_AT = 3
"""Configurations that are trained with each structure: the first of those that a search begins with."""

CLEAR = 2.0
"""Standard errors that a gain must be worth."""

MOST = 0.2
"""Of the search's time, what a look may take."""


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

    def best(self, jobs: int) -> tuple[Problem, str]:
        """Return the problem with the structure that fits it best, and what to say of it ("" for the design's own)."""
        problems = [self.problem, *(dataclasses.replace(self.problem, design=one) for one in self.alternatives())]
        tasks = [(self, one) for one in problems]
        found = run_all(_looked_at, tasks, jobs)
        own = found[0]
        if own is None:
            return self.problem, ""
        best, chosen = 0.0, 0
        for place, other in enumerate(found):
            if place and other is not None and len(other) == len(own):
                gain, noise = own.gain(own.answers.mean(0), other.answers.mean(0), self.seed)
                if gain > max(best, CLEAR * noise):
                    best, chosen = gain, place
        if not chosen:
            return self.problem, ""
        design = problems[chosen].design
        return problems[chosen], f"{design.told} On held-out rows, this gained {best:.2g} in loss."


def _looked_at(structures: Structures, problem: Problem) -> Library | None:
    """Return the networks of one structure after the training that suits them better; None if all diverged."""
    configs, found = structures.space.portfolio(0)[:LOOKED_AT], []
    for plan in structures.plans():
        candidates = bracket(problem, structures.space, configs, structures.folds, plan, structures.seed)[1]
        if candidates:
            library = Library(structures.problem, candidates)
            loss = library.loss(library.answers.mean(0)[None], torch.arange(len(library)))
            found.append((float(loss[0]), library))
    return min(found, key=lambda one: one[0])[1] if found else None
