"""The search: brackets of configurations trained as populations, cheap first, the better ones trained on."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import optuna
import torch
from torch import Tensor

from poise.study.checkpoint import Checkpoint
from poise.study.clock import Clock
from poise.study.cohort import Cohort, Plan
from poise.study.course import Course
from poise.study.folds import Folds
from poise.study.halt import Halt, halt_at_ctrl_c
from poise.study.problem import Problem
from poise.study.result import Trial
from poise.study.space import Config, Space
from poise.study.workers import run_all

__all__ = ["Candidate", "Search", "bracket"]

RUNGS = (0.25, 1.0)
"""Shares of the full training after which the better half goes on. More rungs would leave populations too narrow to
pay for a step's fixed cost, and finished configurations are what the ensemble is chosen from."""


@dataclass(frozen=True)
class Candidate:
    """A configuration that trained to the end: its score, its held-out outputs (N, K), the step worth keeping."""

    config: Config
    score: float
    outputs: Tensor
    best_step: int


def bracket(
    problem: Problem,
    space: Space,
    configs: list[Config],
    folds: Folds,
    plan: Plan,
    seed: int,
    halt: Halt | None = None,
    checkpoint: Checkpoint | None = None,
    course: Course | None = None,
) -> tuple[list[Trial], list[Candidate]]:
    """Train configurations as one population by successive halving; return what became of each.

    When `halt` is due, training ends early; the first rung ends when two fifths of the time to its deadline are gone.
    """
    if checkpoint is None:
        return _bracket(problem, space, configs, folds, plan, seed, halt or Halt(), course=course)[:2]
    name = f"bracket-{configs[0].number}"
    if (state := checkpoint.load(name)) is not None:
        candidates = [Candidate(Config(**one.pop("config")), **one) for one in state["candidates"]]
        return [Trial(**one) for one in state["trials"]], candidates
    trials, candidates, whole = _bracket(
        problem, space, configs, folds, plan, seed, halt or Halt(), checkpoint, name, course
    )
    if whole:
        state = {"trials": [asdict(one) for one in trials], "candidates": [asdict(one) for one in candidates]}
        checkpoint.save(name, state)
        checkpoint.remove(*(f"{name}-rung-{rung}" for rung in range(len(RUNGS))))
    return trials, candidates


def _bracket(
    problem: Problem,
    space: Space,
    configs: list[Config],
    folds: Folds,
    plan: Plan,
    seed: int,
    halt: Halt,
    checkpoint: Checkpoint | None = None,
    name: str = "",
    course: Course | None = None,
) -> tuple[list[Trial], list[Candidate], bool]:
    """Do the work of `bracket`; the last value tells whether no rung was cut short."""
    began, whole = time.time(), True
    cohort = Cohort(problem, space.recipe, configs, folds, plan, seed=seed)
    trials: list[Trial] = []
    for rung, part in enumerate(RUNGS):
        last = rung == len(RUNGS) - 1
        first = halt if last or math.isinf(halt.deadline) else halt.by(began + 0.4 * (halt.deadline - began))
        whole &= cohort.train(max(1, round(plan.steps * part)), first, checkpoint, f"{name}-rung-{rung}", course)
        scores, outputs = cohort.validation()
        order = [place for place in torch.argsort(scores).tolist() if math.isfinite(scores[place])]
        kept = order if last else order[: math.ceil(len(cohort.configs) / 2)]
        losses = cohort.train_loss()
        for place, config in enumerate(cohort.configs):
            if last or place not in kept:
                value = float(scores[place])
                state = "diverged" if not math.isfinite(value) else "finished" if last else "pruned"
                dials = config.dials | {"lr": config.lr}
                step = cohort.population.state.step
                trials.append(Trial(config.number, dials, rung, step, float(losses[place]), value, state))
        if last:
            steps = cohort.best_steps()
            found = [
                Candidate(cohort.configs[place], float(scores[place]), outputs[place].clone(), int(steps[place]))
                for place in order
            ]
            return trials, found, whole
        if not kept:
            break
        cohort.keep(kept)
    return trials, [], whole


@dataclass
class Search:
    """The state of a search; `run` may be interrupted at any time and leaves the candidates found so far."""

    problem: Problem
    space: Space
    folds: Folds
    plan: Plan
    seed: int
    jobs: int = 1
    widest: int = 16  # configurations of a bracket
    tell: Callable[[str, float | None], None] = lambda message, best: None
    on_trials: Callable[[list[Trial]], None] = lambda trials: None
    checkpoint: Checkpoint | None = None
    course: Course | None = None
    seconds: float = 0.0  # spent in waves
    candidates: list[Candidate] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)

    def run(self, clock: Clock, share: float) -> None:
        """Run waves of brackets, one a worker, until `share` of the time, or all trials, are spent.

        At least one wave runs. A wave that would end too late is made narrower, or left out if little time is left.

        Raises: KeyboardInterrupt after Ctrl-C, once what was training has been evaluated and kept.
        """
        with halt_at_ctrl_c() as halt:
            self._waves(clock, share, halt)
            if halt.asked():
                raise KeyboardInterrupt

    def _waves(self, clock: Clock, share: float, halt: Halt) -> None:
        study, number, last = self._sampler(), 0, 0.0
        while number < clock.budget.trials and (number == 0 or clock.left(share) > 0.5 * last) and not halt.asked():
            began = time.monotonic()
            tasks, asked = [], {}
            fits = min(1.0, clock.left(share) / last) if last else 1.0
            width = max(4, math.floor(self.widest * fits))
            for _ in range(self.jobs):
                room = int(min(width, clock.budget.trials - number))
                if room > 0:
                    proposals = self._propose(study, number, room)
                    asked.update({config.number: trial for config, trial in proposals})
                    configs = [config for config, _ in proposals]
                    end = halt.by(time.time() + clock.left(share))
                    how = (self.folds, self.plan, self.seed, end, self.checkpoint, self.course)
                    tasks.append((self.problem, self.space, configs, *how))
                    number += room
            best = min((c.score for c in self.candidates), default=None)
            self.tell(f"configurations {number - len(asked)} to {number - 1}", best)
            for trials, candidates in run_all(bracket, tasks, self.jobs):
                self._close(study, asked, trials)
                self.candidates += candidates
                self.on_trials(trials)
            self.seconds += time.monotonic() - began
            last = (time.monotonic() - began) * self.widest / width

    def rate(self) -> float:
        """Return the seconds that a step of one network took a worker, evaluation and start-up counted in."""
        steps = len(self.folds) * sum(trial.steps for trial in self.trials)
        return self.seconds * self.jobs / steps if steps else 0.0

    def _sampler(self) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                multivariate=True, group=True, constant_liar=True, n_startup_trials=16, seed=self.seed
            )
            return optuna.create_study(sampler=sampler)

    def _propose(self, study: optuna.Study, number: int, room: int) -> list[tuple[Config, Any]]:
        """Return the next configurations with their Optuna trials: the portfolio first, then the sampler's.

        A bracket switches only some of the rarer parts on, because a part costs its time for every member as soon as
        one member uses it.
        """
        fixed = self.space.rare_off(number, self.seed)
        start = self.space.portfolio(0)[:room] if number == 0 else []
        for place in range(room):
            study.enqueue_trial(self.space.as_trial(start[place]) if place < len(start) else fixed)
        found = []
        for place in range(room):
            trial = study.ask()
            found.append((self.space.suggest(trial, number + place), trial))
        return found

    def _close(self, study: optuna.Study, asked: dict[int, Any], trials: list[Trial]) -> None:
        """Report configurations to the sampler and to the records."""
        for trial in trials:
            if trial.state == "diverged":
                study.tell(asked[trial.number], state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(asked[trial.number], trial.validation)
        self.trials += trials
