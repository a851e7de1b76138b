"""The search: brackets of configurations trained as populations, cheap first, the better ones trained on."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import optuna
import torch
from torch import Tensor

from poise.study.clock import Clock
from poise.study.cohort import Cohort, Plan
from poise.study.folds import Folds
from poise.study.problem import Problem
from poise.study.result import Trial
from poise.study.space import Config, Space

__all__ = ["Candidate", "Search", "plan_for"]

RUNGS = (1 / 9, 1 / 3, 1.0)
"""Shares of the full training after which the better third goes on (successive halving with eta = 3)."""

_WIDEST = 27  # configurations of a bracket: 27 -> 9 -> 3


@dataclass(frozen=True)
class Candidate:
    """A configuration that trained to the end: its score, its held-out outputs (N, K), the step worth keeping."""

    config: Config
    score: float
    outputs: Tensor
    best_step: int


@dataclass
class Search:
    """The state of a search; `run` may be interrupted at any time and leaves the candidates found so far."""

    problem: Problem
    space: Space
    folds: Folds
    plan: Plan
    seed: int
    tell: Callable[[str, float | None], None] = lambda message, best: None
    candidates: list[Candidate] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    widest: int = _WIDEST

    def run(self, clock: Clock, share: float) -> None:
        """Run brackets until `share` of the time, or all trials, are spent. At least one bracket runs."""
        study = self._sampler()
        number, last = 0, 0.0
        while number < clock.budget.trials and (number == 0 or clock.left(share) > 0.6 * last):
            room = min(self.widest, clock.budget.trials - number)
            # A bracket that would end after its time is made smaller, but never so small that nothing is compared.
            if number and last > clock.left(share):
                room = max(3, math.floor(room * clock.left(share) / last))
            configs, asked = self._propose(study, number, int(room))
            began = time.monotonic()
            self._bracket(configs, asked, study, clock, share)
            last = time.monotonic() - began
            number += len(configs)

    def _sampler(self) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                multivariate=True, group=True, constant_liar=True, n_startup_trials=20, seed=self.seed
            )
            return optuna.create_study(sampler=sampler)

    def _propose(
        self, study: optuna.Study, number: int, room: int
    ) -> tuple[list[Config], list[optuna.trial.Trial]]:
        """Return the next configurations and their Optuna trials: the portfolio first, then the sampler's."""
        start = self.space.portfolio(0)[:room] if number == 0 else []
        for config in start:
            study.enqueue_trial(self.space.as_trial(config))
        asked = [study.ask() for _ in range(room)]
        return [self.space.suggest(trial, number + place) for place, trial in enumerate(asked)], asked

    def _bracket(
        self, configs: list[Config], asked: Sequence[optuna.trial.Trial], study: optuna.Study, clock: Clock, share: float
    ) -> None:
        cohort = Cohort(self.problem, self.space.recipe, configs, self.folds, self.plan, seed=self.seed)
        trial_of = dict(zip([c.number for c in configs], asked, strict=True))
        for rung, part in enumerate(RUNGS):
            best = min((c.score for c in self.candidates), default=None)
            self.tell(f"{len(cohort.configs)} networks to {part:.0%} of {self.plan.steps} steps", best)
            cohort.train(max(1, round(self.plan.steps * part)))
            scores, outputs = cohort.validation()
            order = torch.argsort(scores).tolist()
            last = rung == len(RUNGS) - 1
            kept = order if last else order[: max(1, math.ceil(len(order) / 3))]
            kept = [place for place in kept if math.isfinite(scores[place])] or kept[:1]
            losses = cohort.train_loss()
            for place, config in enumerate(cohort.configs):
                if last or place not in kept:
                    self._close(study, trial_of[config.number], config, rung, cohort, losses[place], scores[place], last)
            if last:
                steps = cohort.best_steps()
                for place in order:
                    if math.isfinite(scores[place]):
                        self.candidates.append(
                            Candidate(cohort.configs[place], float(scores[place]), outputs[place], int(steps[place]))
                        )
            else:
                cohort.keep(kept)

    def _close(
        self,
        study: optuna.Study,
        trial: optuna.trial.Trial,
        config: Config,
        rung: int,
        cohort: Cohort,
        train: Tensor,
        score: Tensor,
        finished: bool,
    ) -> None:
        """Report one configuration to the sampler and to the records."""
        value = float(score)
        state = "finished" if finished else "pruned"
        if math.isfinite(value):
            study.tell(trial, value)
        else:
            state = "diverged"
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        dials = {key: config.dials[key] for key in config.dials} | {"lr": config.lr}
        self.trials.append(
            Trial(config.number, dials, rung, cohort.population.state.step, float(train), value, state)
        )


def plan_for(rows: int, *, seconds: float = math.inf, rate: float = 0.0) -> Plan:
    """Return how long to train on a table of `rows` training rows: more epochs for fewer rows.

    `rate` is the measured seconds of one step of one network: a bracket of 27 costs 7 full trainings, which must
    fit into `seconds`, so that a short budget gets a shorter training rather than no comparison.
    """
    batch = 64 if rows < 1_000 else 128 if rows < 8_000 else 256
    batch = min(batch, rows)
    per_epoch = max(1, rows // batch)
    epochs = 80 if rows < 1_000 else 50 if rows < 5_000 else 30 if rows < 20_000 else 15
    steps = epochs * per_epoch
    if rate > 0 and math.isfinite(seconds):
        steps = min(steps, int(seconds / (rate * 7 * 1.2)))
    steps = max(steps, 20)
    return Plan(steps, batch, max(1, steps // 30))
