"""What to try next: Optuna's tree of Parzen estimators, asked for a whole bracket at a time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna

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
    _seen: list[Any] = field(default_factory=list)  # Optuna's finished trials
    _study: optuna.Study | None = None  # with the trials that are out; None once all were told
    _out: dict[int, Any] = field(default_factory=dict)

    def propose(self, number: int, room: int, first: Sequence[Config]) -> list[Config]:
        """Return `room` configurations numbered from `number` on: those given first, then the model's.

        A bracket switches only some of the rarer parts on, because a part costs its time for every member as soon as
        one member uses it. Proposals that are out count as bad ones meanwhile ("constant liar"), so that a bracket
        does not try one thing sixteen times.
        """
        study = self._study = self._study or self._made(number)
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
        study = self._study
        if study is None:
            return
        places = []
        for trial in trials:
            own = self._out.pop(trial.number)
            if math.isfinite(trial.validation):
                study.tell(own, trial.validation)
            else:
                study.tell(own, state=optuna.trial.TrialState.FAIL)
            places.append(own.number)
        known = study.get_trials(deepcopy=False)  # copying a history costs more than learning from it
        self._seen += [known[place] for place in places]
        if not self._out:
            self._study = None

    def _made(self, number: int) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # Another seed for each wave: one alone would draw the same numbers again.
            sampler = optuna.samplers.TPESampler(
                multivariate=True, group=True, constant_liar=True, n_startup_trials=16, seed=self.seed + 7919 * number
            )
            study = optuna.create_study(sampler=sampler)
        best = sorted((one for one in self._seen if one.value is not None), key=lambda one: one.value)[:WINDOW]
        chosen = {id(one) for one in [*best, *self._seen[-WINDOW:]]}
        study.add_trials([one for one in self._seen if id(one) in chosen])
        return study
