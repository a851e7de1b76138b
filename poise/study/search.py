"""The search: brackets, each proposed by a model of what was seen, as many at a time as there are workers."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from poise.core.errors import PoiseWarning
from poise.study.bracket import Candidate, Watcher, bracket
from poise.study.checkpoint import Checkpoint
from poise.study.clock import Clock
from poise.study.cohort import Plan
from poise.study.ending import Ending
from poise.study.ensemble import MEMBERS, Library
from poise.study.evolution import evolve
from poise.study.folds import Folds
from poise.study.halt import Halt, halt_at_ctrl_c
from poise.study.lengths import Lengths
from poise.study.problem import Problem
from poise.study.result import Trial
from poise.study.sampler import Sampler
from poise.study.space import Config, Space
from poise.study.structure import Trainings
from poise.study.workers import Crew, Work, WorkersLostError, crew, first_done

__all__ = ["METHODS", "SEARCH_HINT", "Search"]

METHODS = {"halving": bracket, "pbt": evolve}
"""How a bracket is trained: by successive halving, or with weights and dials that are inherited."""

SEARCH_HINT = "halving drops the worse half of a bracket at each rung; pbt lets weights and dials be inherited."
"""What an error about a method's name adds."""

AGAIN = 4
"""Configurations that are made again where a longer training is tried."""

KEPT = 64
"""Candidates whose outputs are kept: the ensemble is chosen among the best forty."""


@dataclass(frozen=True)
class _Bracket:
    """A bracket in training: its first configuration's number, and, where it tries a longer training, what it makes
    again.
    """

    first: int
    outcome: Work[tuple[list[Trial], list[Candidate]]]
    again: list[Candidate] | None


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
    brackets: int = 0  # in training at a time; 0: one a worker
    method: str = "halving"
    early: bool = True  # a search in time ends before it where `ending` says so
    least: float = 1.0  # share of the time that it has whatever comes after it
    after: int = 0  # trainings that come after it, each as long as its best candidates were worth training
    tell: Callable[[str, float | None], None] = lambda message, best: None
    on_trials: Callable[[list[Trial]], None] = lambda trials: None
    checkpoint: Checkpoint | None = None
    watcher: Watcher | None = None
    seconds: float = 0.0  # that workers spent on brackets
    candidates: list[Candidate] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    lengths: Lengths = field(init=False)
    ending: Ending = field(init=False)
    sampler: Sampler = field(init=False)
    _begun: int = 0  # configurations
    _handed: int = 0  # of these, trained before the search
    _known: dict[int, tuple[Config, int]] = field(default_factory=dict)  # number -> configuration, identity of its seed

    def __post_init__(self) -> None:
        self.brackets = self.brackets or self.jobs
        self.lengths = Lengths(self.plan, next_try=self.brackets)
        self.ending = Ending(self.problem, self.seed)
        self.sampler = Sampler(self.space, self.seed)

    def begin_with(self, looked: Trainings) -> None:
        """Take over the networks of a look at structures: the first configurations, which are not trained again.

        If the longest training suited them, the search begins with that length.
        """
        self._handed = self._begun = len(looked.trials)
        configs = self.sampler.propose(0, self._handed, self.space.portfolio(0))
        self._known = {config.number: (config, config.number) for config in configs}
        self.seconds += looked.seconds
        self._take(looked.trials, looked.candidates)
        if looked.longest:
            self.lengths.from_full()

    def run(self, clock: Clock, share: float) -> None:
        """Train brackets, several at a time, until `share` of the time, or all trials, are spent.

        It ends before, at `least` of the time, where what comes after it needs the rest. At least one bracket is
        trained. One that would end too late is made narrower, or left out if little time is left. Each is proposed
        when another one is done: of a budget in time the first that is, else the oldest, so that results do not depend
        on how long workers take.

        Where the last worker is killed, it ends with what was found so far.

        Raises: KeyboardInterrupt after Ctrl-C, once what was training has been evaluated and kept; WorkersLostError
        where nothing was found by then.
        """
        timed = math.isfinite(clock.budget.seconds)
        if clock.budget.trials <= self.widest * self.brackets:
            self.lengths.only_full()  # nothing could be learned from first brackets that are the only ones
        if timed:
            self.lengths.stretch()
        training: list[_Bracket] = []
        with halt_at_ctrl_c() as halt:
            try:
                with crew(min(self.jobs, self.brackets)) as workers:
                    while True:
                        while len(training) < self.brackets and (one := self._next(clock, share, halt, workers)):
                            training.append(one)
                        if not training:
                            break
                        at = first_done([one.outcome.future for one in training]) if timed else 0
                        self._learn(training.pop(at), ends=timed and self.early)
            except (KeyboardInterrupt, WorkersLostError) as error:  # of Ctrl-C the second one, or of who was told
                for one in training:
                    if one.outcome.succeeded:
                        self._learn(one, ends=False)
                if isinstance(error, KeyboardInterrupt) or not self.candidates:
                    raise
                warnings.warn(f"{error} The search ended with what it had found.", PoiseWarning, stacklevel=2)
            if halt.asked():
                raise KeyboardInterrupt

    def _next(self, clock: Clock, part: float, halt: Halt, workers: Crew) -> _Bracket | None:
        """Begin a bracket, unless there is no time for it, or nothing more to be had."""
        lengths, left, number, opening = self.lengths, self._left(clock, part), self._begun, not self.lengths.brackets
        if lengths.beyond and self._expected(lengths.plan_of_next) > left:
            lengths.settle()
        expected = 0.0 if opening else self._expected(lengths.plan_of_next)
        if halt.asked() or (not opening and (left <= 0.5 * expected or self.ending.reached)):
            return None
        # The first of a search in time are narrow: what it begins with, and an ensemble of it, is soon there.
        share = min(1.0, left / expected) if expected else 0.5 if math.isfinite(clock.budget.seconds) else 1.0
        width = max(4, math.floor(self.widest * share))
        room = int(min(width, clock.budget.trials - number))
        if room <= 0:
            return None
        longer, again = lengths.trying, self._again(lengths.plan_of_next, width)[:room]
        plan, start = lengths.begin(), [self._known[twin.config.number][0] for twin in again]
        if opening:  # the portfolio's are dealt to the brackets that nothing was learned for
            start = self.space.portfolio(0)[self._handed + (number - self._handed) // width :: self.brackets][:room]
        configs = self.sampler.propose(number, room, start)
        identities = [self._known[twin.config.number][1] for twin in again] + [c.number for c in configs[len(again) :]]
        self._known |= {c.number: (c, own) for c, own in zip(configs, identities, strict=True)}
        self._begun += room
        self.tell(
            f"configurations {number} to {self._begun - 1}", min((c.score for c in self.candidates), default=None)
        )
        end = halt.by(time.time() + left)
        how = (self.folds, plan, self.seed, end, self.checkpoint, self.watcher, identities)
        outcome = workers.begin(METHODS[self.method], self.problem, self.space, configs, *how)
        return _Bracket(number, outcome, again if longer else None)

    def _left(self, clock: Clock, share: float) -> float:
        """Return the seconds of a share of the time that are left, without those that what comes after needs."""
        steps = [one.best_step for one in self.candidates[:MEMBERS]]
        needed = self.after * self.rate() * sum(steps) / max(1, len(steps)) / self.jobs
        return max(clock.left(min(self.least, share)), min(clock.left(share), clock.left() - needed))

    def _learn(self, done: _Bracket, *, ends: bool) -> None:
        """Take in what became of a bracket; `ends` is whether the search may end by it."""
        trials, candidates = done.outcome.result()
        self.seconds += time.monotonic() - done.outcome.began
        self._take(trials, candidates)
        self.lengths.close(None if done.again is None else self._gain(done.first, done.again, candidates))
        if ends and not (self.lengths.trying or self.lengths.tried) and self.lengths.brackets % self.brackets == 0:
            self.ending.close(self.candidates)
            if self.ending.reached and self.lengths.dare():
                self.ending.said = ""

    def _take(self, trials: Sequence[Trial], candidates: Sequence[Candidate]) -> None:
        self.sampler.tell(trials)
        self.trials += trials
        self.candidates = sorted([*self.candidates, *candidates], key=lambda one: one.score)[:KEPT]
        self.on_trials(list(trials))

    def _expected(self, plan: Plan) -> float:
        """Return the seconds that one of the widest brackets is expected to take a worker."""
        return self.rate() * len(self.folds) * plan.work(self.widest)

    def _again(self, plan: Plan, width: int) -> list[Candidate]:
        """Return the candidates that the bracket that comes makes again.

        They are spread over the ranks of those that finished at the present length. The best ones were lucky at it
        too, and would seem to lose by any other length; what is spread loses as much luck as it gains.
        """
        if not self.lengths.trying:
            return []
        finished = {trial.number for trial in self.trials if trial.state == "finished"}
        shorter = [one for one in self.candidates
                   if one.config.number in finished and one.plan.steps < plan.steps]  # fmt: skip
        count = min(AGAIN, width // 2, len(shorter))
        return [shorter[(2 * place + 1) * len(shorter) // (2 * count)] for place in range(count)]

    def _gain(self, first: int, again: Sequence[Candidate], candidates: Sequence[Candidate]) -> float:
        """Return how much less the mean answer of what was made again, from number `first` on, loses than before.

        The mean's and not each one's, because an ensemble is what a study gives: single networks may well be better
        for stopping short while their mean is not.
        """
        made = {one.config.number: one for one in candidates}
        pairs = [(one, made[first + place]) for place, one in enumerate(again) if first + place in made]
        if not pairs:
            return 0.0
        library = Library(self.problem, [side for sides in zip(*pairs, strict=True) for side in sides])
        means = torch.stack([side.mean(0) for side in library.answers.split(len(pairs))])
        before, after = library.loss(means, torch.arange(len(library))).tolist()
        return float(before - after)

    def rate(self) -> float:
        """Return the seconds that a step of one network took a worker, evaluation and start-up counted in."""
        steps = len(self.folds) * sum(trial.steps for trial in self.trials)
        return self.seconds / steps if steps else 0.0
