"""What to try next: Optuna's tree of Parzen estimators, asked for a whole bracket at a time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import optuna
from optuna.trial import FrozenTrial, TrialState

from poise.study.result import Trial
from poise.study.space import Config, Space

__all__ = ["Sampler"]

WINDOW = 32
"""The model learns from so many of the best trials and as many of the latest. Its time for one proposal grows with what
it learns from: after 500 trials, the whole history took 22 ms, a sixth of what a small network trains for."""


@dataclass
class Sampler:
    """Proposes configurations and learns what became of them; a function of its seed and of what it was told."""

    space: Space
    seed: int
    _seen: list[FrozenTrial] = field(default_factory=list)  # those that finished, in order
    _out: dict[int, optuna.Trial] = field(default_factory=dict)  # by the configuration's number

    def propose(self, number: int, room: int, first: Sequence[Config]) -> list[Config]:
        """Return `room` configurations numbered from `number` on: those given first, then the model's.

        A bracket switches only some of the rarer parts on, because a part costs its time for every member as soon as
        one member uses it. Proposals that are out count as bad ones meanwhile ("constant liar"), so that brackets do
        not try one thing sixteen times.
        """
        study = self._made(number)
        fixed, found = self.space.rare_off(number, self.seed), []
        for place in range(room):
            study.enqueue_trial(self.space.as_trial(first[place]) if place < len(first) else fixed)
        for place in range(room):
            trial = study.ask()
            self._out[number + place] = trial
            found.append(self.space.suggest(trial, number + place))
        return found

    def tell(self, trials: Sequence[Trial]) -> None:
        """Learn what became of configurations."""
        for trial in trials:
            own = self._out.pop(trial.number)
            if math.isfinite(trial.validation):
                own.study.tell(own, trial.validation)
            else:
                own.study.tell(own, state=TrialState.FAIL)
            self._seen.append(_frozen(own))

    def history(self) -> list[FrozenTrial]:
        """Return the trials that the model learns from: the best and the latest, and those that are out."""
        best = sorted((one for one in self._seen if one.value is not None), key=lambda one: one.value or 0.0)[:WINDOW]
        chosen = {id(one) for one in [*best, *self._seen[-WINDOW:]]}
        return [*(one for one in self._seen if id(one) in chosen), *(_frozen(one) for one in self._out.values())]

    def _made(self, number: int) -> optuna.Study:
        with warnings.catch_warnings(), _quiet():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # Another seed for each bracket: one alone would draw the same numbers again.
            sampler = optuna.samplers.TPESampler(
                multivariate=True, group=True, constant_liar=True, n_startup_trials=16, seed=self.seed + 7919 * number
            )
            study = optuna.create_study(sampler=sampler)
        study.add_trials(self.history())
        return study


@contextmanager
def _quiet() -> Iterator[None]:
    """Let Optuna say nothing inside; what the user has it say of studies of their own stays."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _frozen(trial: optuna.Trial) -> FrozenTrial:
    """Return a trial as its study has it; without a copy, which costs more than learning from it."""
    return trial.study.get_trials(deepcopy=False)[trial.number]
