"""The search: waves of brackets, proposed by a model of what was seen."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from poise.study.bracket import Candidate, Watcher, bracket
from poise.study.checkpoint import Checkpoint
from poise.study.clock import Clock
from poise.study.cohort import Plan
from poise.study.ending import Ending
from poise.study.evolution import evolve
from poise.study.folds import Folds
from poise.study.halt import Halt, halt_at_ctrl_c
from poise.study.lengths import Lengths
from poise.study.problem import Problem
from poise.study.result import Trial
from poise.study.sampler import Sampler
from poise.study.space import Config, Space
from poise.study.workers import run_all

__all__ = ["METHODS", "SEARCH_HINT", "Search"]

METHODS = {"halving": bracket, "pbt": evolve}
"""How the configurations of a wave are trained: by successive halving, or with weights and dials that are inherited."""

SEARCH_HINT = "halving drops the worse half of a bracket at each rung; pbt lets weights and dials be inherited."
"""What an error about a method's name adds."""

AGAIN = 4
"""Configurations that are made again where a longer training is tried."""

KEPT = 64
"""Candidates whose outputs are kept: the ensemble is chosen among the best forty."""


@dataclass
class Search:
    """The state of a search; `run` may be interrupted at any time and leaves the candidates found so far.

    `plan` is the full training; `lengths` finds out how much of it is needed.
    """

    problem: Problem
    space: Space
    folds: Folds
    plan: Plan
    seed: int
    jobs: int = 1
    widest: int = 16  # configurations of a bracket
    brackets: int | None = None  # of a wave; None: one a worker
    method: str = "halving"
    early: bool = True  # a search in time ends before it where `ending` says so
    tell: Callable[[str, float | None], None] = lambda message, best: None
    on_trials: Callable[[list[Trial]], None] = lambda trials: None
    checkpoint: Checkpoint | None = None
    watcher: Watcher | None = None
    seconds: float = 0.0  # spent in waves
    candidates: list[Candidate] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    lengths: Lengths = field(init=False)
    ending: Ending = field(init=False)
    _known: dict[int, tuple[Config, int]] = field(default_factory=dict)  # number -> configuration, identity of its seed

    def __post_init__(self) -> None:
        self.lengths = Lengths(self.plan)
        self.ending = Ending(self.problem, self.seed)

    def run(self, clock: Clock, share: float) -> None:
        """Run waves of brackets until `share` of the time, or all trials, are spent.

        At least one wave runs. A wave that would end too late is made narrower, or left out if little time is left.

        Raises: KeyboardInterrupt after Ctrl-C, once what was training has been evaluated and kept.
        """
        with halt_at_ctrl_c() as halt:
            self._waves(clock, share, halt)
            if halt.asked():
                raise KeyboardInterrupt

    def _waves(self, clock: Clock, share: float, halt: Halt) -> None:
        sampler, number = Sampler(self.space, self.seed), 0
        brackets = self.brackets or self.jobs
        if clock.budget.trials <= self.widest * brackets:
            self.lengths.only_full()  # nothing could be learned from a first wave that is the only one
        if math.isfinite(clock.budget.seconds):
            self.lengths.stretch()
        while number < clock.budget.trials and not halt.asked():
            began = time.monotonic()
            if self.lengths.beyond and self._expected(self.lengths.plan_of_next_wave(), brackets) > clock.left(share):
                self.lengths.settle()
            plan = self.lengths.plan_of_next_wave()
            wave = self._expected(plan, brackets) if self.trials else 0.0
            if self.trials and (clock.left(share) <= 0.5 * wave or self.ending.reached):
                break
            width = max(4, math.floor(self.widest * min(1.0, clock.left(share) / wave))) if wave else self.widest
            again = self._again(plan, width)
            tasks, first = [], number
            for place in range(brackets):
                room = int(min(width, clock.budget.trials - number))
                if room > 0:
                    same = again[:room] if place == 0 else []
                    start = [self._known[twin][0] for twin in same]
                    if first == 0:
                        start = self.space.portfolio(0)[place::brackets][:room]
                    configs = sampler.propose(number, room, start)
                    identities = [self._known[twin][1] for twin in same] + [c.number for c in configs[len(same) :]]
                    self._known |= {c.number: (c, own) for c, own in zip(configs, identities, strict=True)}
                    end = halt.by(time.time() + clock.left(share))
                    how = (self.folds, plan, self.seed, end, self.checkpoint, self.watcher, identities)
                    tasks.append((self.problem, self.space, configs, *how))
                    number += room
            best = min((c.score for c in self.candidates), default=None)
            self.tell(f"configurations {first} to {number - 1}", best)
            for trials, candidates in run_all(METHODS[self.method], tasks, self.jobs):
                sampler.tell(trials)
                self.trials += trials
                self.candidates = sorted([*self.candidates, *candidates], key=lambda one: one.score)[:KEPT]
                self.on_trials(trials)
            gains = self._gains(first, again)
            self.lengths.close(gains)
            if self.early and math.isfinite(clock.budget.seconds) and not self.lengths.trying:
                self.ending.close(self.candidates)
                if self.ending.reached and self.lengths.dare():
                    self.ending.said = ""
            self.seconds += time.monotonic() - began

    def _expected(self, plan: Plan, brackets: int) -> float:
        """Return the seconds that a wave of the widest brackets is expected to take."""
        rounds = math.ceil(brackets / self.jobs)
        return rounds * self.rate() * len(self.folds) * plan.work(self.widest)

    def _again(self, plan: Plan, width: int) -> list[int]:
        """Return the numbers of the configurations that the wave that comes makes again.

        They are spread over the ranks of those that finished at the present length. The best ones were lucky at it
        too, and would seem to lose by any other length; what is spread loses as much luck as it gains.
        """
        if not self.lengths.trying:
            return []
        finished = {trial.number for trial in self.trials if trial.state == "finished"}
        shorter = [one.config.number for one in self.candidates
                   if one.config.number in finished and one.plan.steps < plan.steps]  # fmt: skip
        count = min(AGAIN, width // 2, len(shorter))
        return [shorter[(2 * place + 1) * len(shorter) // (2 * count)] for place in range(count)]

    def _gains(self, first: int, again: list[int]) -> dict[int, float]:
        """Return by how much each configuration that was made again, from number `first` on, did better."""
        scores = {trial.number: trial.validation for trial in self.trials}
        return {twin: scores[twin] - scores.get(first + place, math.inf) for place, twin in enumerate(again)}

    def rate(self) -> float:
        """Return the seconds that a step of one network took a worker, evaluation and start-up counted in."""
        steps = len(self.folds) * sum(trial.steps for trial in self.trials)
        return self.seconds * min(self.jobs, self.brackets or self.jobs) / steps if steps else 0.0
