"""The structure of a study's networks: the design's own, or an alternative that a look before the search prefers."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from poise.study.bracket import bracket
from poise.study.cohort import Plan
from poise.study.design import NetworkDesign
from poise.study.ensemble import Library
from poise.study.folds import Folds
from poise.study.problem import Problem
from poise.study.space import Space
from poise.study.workers import run_all

__all__ = ["Structures"]

LOOKED_AT = 3
"""Configurations that are trained with each structure: the first of those that a search begins with."""

SHARE = 0.25
"""Of the full training, how long a look takes."""

MOST = 0.15
"""Of the search's time, what a look may take."""


@dataclass(frozen=True)
class Structures:
    """A look at a design's alternatives: a few configurations are trained with each, for a quarter of the training.

    An alternative replaces the design if the mean answer of its networks has the lowest loss on held-out rows, and by
    more than the noise: the gain over the design's own is measured on ten parts of these rows, and the noise is its
    standard error.
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
        steps = self._short().steps * LOOKED_AT * len(self.folds)
        return count > 1 and rounds * rate * steps <= MOST * seconds

    def best(self, jobs: int) -> tuple[Problem, str]:
        """Return the problem with the structure that fits it best, and what to say of it ("" for the design's own)."""
        problems = [self.problem, *(dataclasses.replace(self.problem, design=one) for one in self.alternatives())]
        configs = self.space.portfolio(0)[:LOOKED_AT]
        tasks = [(one, self.space, configs, self.folds, self._short(), self.seed) for one in problems]
        found = [candidates for _, candidates in run_all(bracket, tasks, jobs)]
        if not found[0]:
            return self.problem, ""
        libraries = [Library(self.problem, candidates) if candidates else None for candidates in found]
        own = libraries[0]
        assert own is not None
        best, chosen = 0.0, 0
        for place, other in enumerate(libraries):
            if place and other is not None and len(other) == len(own):
                gain, noise = own.gain(own.answers.mean(0), other.answers.mean(0), self.seed)
                if gain > max(best, noise):
                    best, chosen = gain, place
        if not chosen:
            return self.problem, ""
        design = problems[chosen].design
        return problems[chosen], f"{design.told} On held-out rows of a short training, this gained {best:.2g} in loss."

    def _short(self) -> Plan:
        return dataclasses.replace(self.plan.cut(SHARE), rungs=())
