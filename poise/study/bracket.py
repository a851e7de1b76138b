"""A bracket: configurations trained as one population, of which the better half goes on at each rung."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from torch import Tensor

from poise.study.checkpoint import Checkpoint
from poise.study.cohort import Cohort, Plan
from poise.study.folds import Folds
from poise.study.halt import Halt
from poise.study.problem import Problem
from poise.study.result import Trial
from poise.study.space import Config, Space
from poise.study.tempering import tempered

__all__ = ["Candidate", "Watcher", "bracket", "restored"]

IDLE = 0.25
"""Share of a population that must have stopped before it is cut out: cutting copies all weights."""


class Watcher(Protocol):
    """Who is told of a cohort after each of its evaluations, in the process that trains it."""

    def evaluated(self, cohort: Cohort) -> None:
        """Look at a cohort, and leave it as it is."""


@dataclass(frozen=True)
class Candidate:
    """A configuration that outlived the first rung: its score, its held-out outputs (N, K), the step worth keeping."""

    config: Config
    score: float
    outputs: Tensor
    best_step: int
    plan: Plan
    schedule: tuple[tuple[int, Config], ...] = ()  # by `pbt`: (step, what holds from there on); `config` is the last
    seen: int = 0  # where a halt cut it while it still got better, the step it came to; its best step is the plan's end

    @property
    def sure_steps(self) -> int:
        """The steps, one at least, that it was seen to be worth: more than these are a guess."""
        return max(1, self.seen or self.best_step)

    def at(self, step: int) -> Config:
        """Return the configuration that holds at a step."""
        return next((config for begin, config in reversed(self.schedule) if begin <= step), self.config)


def bracket(
    problem: Problem,
    space: Space,
    configs: Sequence[Config],
    folds: Folds,
    plan: Plan,
    seed: int,
    halt: Halt | None = None,
    checkpoint: Checkpoint | None = None,
    watcher: Watcher | None = None,
    identities: Sequence[int] | None = None,
) -> tuple[list[Trial], list[Candidate]]:
    """Train configurations as one population by successive halving; return what became of each, the best first.

    At each of the plan's rungs the better half of those that are left goes on; who has stopped by patience, or is
    dropped, leaves its time to the others. When `halt` is due, what is training ends and counts as it is; who still
    got better is to be retrained to the plan's end: where it is best nobody saw. With a deadline, a rung comes at its
    share of the time at the latest. `identities` are the configurations' own numbers
    unless told: two of one identity share initial weights and batches. One that has another's identity was made again
    to see what longer training gives, and is not dropped at a rung: rates are still high there, and it would look bad.
    """
    own = identities if identities is not None else [config.number for config in configs]
    spared = {config.number for config, number in zip(configs, own, strict=True) if config.number != number}
    heat = _Heat(Cohort(problem, space.recipe, configs, folds, plan, seed=seed, seeds=own), spared)
    name = f"bracket-{configs[0].number}"
    if checkpoint is not None and (state := checkpoint.load(name)) is not None:
        heat.load_state_dict(state)
    halt = halt or Halt()
    late = _rung_times(plan, len(configs), halt)
    while heat.cohort.configs:
        heat.cohort.advance(heat.next_rung())
        if watcher is not None:
            watcher.evaluated(heat.cohort)
        halted = halt.due()
        heat.settle(halted=halted, late=heat.rung < len(late) and time.time() > late[heat.rung])
        # What a halt cut short is not kept: taken up again, it would train to its end.
        if checkpoint is not None and not halted and (not heat.cohort.configs or checkpoint.due()):
            checkpoint.save(name, heat.state_dict())
    return heat.trials, sorted(heat.candidates, key=lambda candidate: candidate.score)


def _rung_times(plan: Plan, configurations: int, halt: Halt) -> list[float]:
    """Return when each rung must be done, so that those after it get their share of the time to the deadline."""
    if math.isinf(halt.deadline):
        return []
    now, whole = time.time(), plan.work(configurations)
    shares = [plan.work(configurations, rung) / whole for rung in plan.rungs]
    return [now + share * (halt.deadline - now) for share in shares]


@dataclass
class _Heat:
    """A bracket in training: the cohort of those that are left, and what became of the others."""

    cohort: Cohort
    spared: set[int]  # numbers of the configurations that no rung drops
    rung: int = 0
    trials: list[Trial] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)  # scores of those that left without being dropped

    def next_rung(self) -> int:
        """Return the step at which the better half is chosen next, or training ends."""
        plan = self.cohort.plan
        return plan.rungs[self.rung] if self.rung < len(plan.rungs) else plan.steps

    def settle(self, *, halted: bool, late: bool) -> None:
        """Let go of those that are done, and at a rung of the worse half."""
        cohort, plan = self.cohort, self.cohort.plan
        step, count = cohort.population.state.step, len(cohort.configs)
        if halted or step >= plan.steps:
            self._leave(range(count), "finished")
            return
        idle = cohort.idle()
        due = self.rung < len(plan.rungs) and (step >= plan.rungs[self.rung] or late)
        if len(idle) >= max(1.0, IDLE * count) or (due and idle):
            self._leave(idle, "finished")
        if due and cohort.configs:
            scores = cohort.validation()[0].tolist()
            ranked = sorted([*((score, -1) for score in self.ended), *((one, at) for at, one in enumerate(scores))])
            better = {place for score, place in ranked[: math.ceil(len(ranked) / 2)] if math.isfinite(score)}
            better |= {place for place, config in enumerate(cohort.configs) if config.number in self.spared}
            self._leave([place for place in range(len(scores)) if place not in better], "pruned")
            self.rung += 1

    def _leave(self, places: Sequence[int], state: str) -> None:
        """Record the configurations at the places, in order of their scores, and cut them out of the population."""
        if not places:
            return
        cohort = self.cohort
        scores, outputs = cohort.validation()
        losses, steps, plan = cohort.train_loss(), cohort.best_steps().tolist(), cohort.plan
        for place in sorted(places, key=lambda place: float(scores[place])):
            config, score = tempered(cohort.problem, cohort.configs[place], outputs[place]), float(scores[place])
            sound = math.isfinite(score)
            dials = config.dials | {"lr": config.lr}
            step = cohort.population.state.step
            become = state if sound else "diverged"
            self.trials.append(Trial(config.number, dials, self.rung, step, float(losses[place]), score, become))
            if sound and (state == "finished" or self.rung > 0):
                cut = state == "finished" and steps[place] == step
                best = plan.steps if cut else int(steps[place])
                seen = step if best > step else 0
                self.candidates.append(Candidate(config, score, outputs[place].clone(), best, plan, seen=seen))
            if state == "finished":
                self.ended.append(score)
        self.cohort.keep([place for place in range(len(cohort.configs)) if place not in set(places)])

    def state_dict(self) -> dict[str, Any]:
        """Return the bracket as tensors, numbers and text."""
        cohort = self.cohort
        return {
            "rung": self.rung,
            "trials": [asdict(trial) for trial in self.trials],
            "candidates": [asdict(one) for one in self.candidates],
            "ended": self.ended,
            "left": [config.number for config in cohort.configs],
            "history": cohort.history,
            "population": cohort.population.state_dict() if cohort.configs else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`, bit for bit."""
        self.rung, self.ended = state["rung"], state["ended"]
        self.trials = [Trial(**one) for one in state["trials"]]
        self.candidates = [restored(one) for one in state["candidates"]]
        left = state["left"]
        self.cohort.keep([place for place, config in enumerate(self.cohort.configs) if config.number in left])
        if left:
            self.cohort.population.load_state_dict(state["population"])
            self.cohort.history = state["history"]


def restored(state: dict[str, Any]) -> Candidate:
    """Return the candidate that `dataclasses.asdict` took apart."""
    schedule = tuple((step, Config(**config)) for step, config in state["schedule"])
    own = {"config": Config(**state["config"]), "plan": Plan(**state["plan"]), "schedule": schedule}
    return Candidate(**(state | own))
