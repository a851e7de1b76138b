"""A cohort: several configurations, each trained on every fold, as one population."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from poise.core.context import Batch
from poise.core.recipe import Recipe
from poise.core.schedule import OneCycle
from poise.core.terms import data_keys
from poise.study.checkpoint import Checkpoint
from poise.study.course import Course
from poise.study.folds import Folds
from poise.study.halt import Halt
from poise.study.problem import Problem
from poise.study.space import Config
from poise.train.optimizers import Adam
from poise.train.population import Population, Rows

__all__ = ["Cohort", "Plan", "measured_rate", "plan_for"]


@dataclass(frozen=True)
class Plan:
    """How long each network trains: `steps` optimizer steps of `batch` rows, evaluated every `every` steps."""

    steps: int
    batch: int
    every: int


class Cohort:
    """Configurations x folds as one population; `seeds[i]` is the identity that configuration i's randomness has.

    Two configurations of one seed share initial weights, batches and draws: that is what pairs an ablation.
    """

    def __init__(
        self,
        problem: Problem,
        recipe: Recipe,
        configs: Sequence[Config],
        folds: Folds,
        plan: Plan,
        *,
        seed: int,
        seeds: Sequence[int] | None = None,
        fold_of: Sequence[int] | None = None,
    ) -> None:
        self.problem, self.recipe, self.plan, self.folds = problem, recipe, plan, folds
        own = list(seeds) if seeds is not None else [config.number for config in configs]
        # `fold_of` gives each configuration one fold; otherwise each trains on all of them.
        pairs = [
            (place, fold)
            for place in range(len(configs))
            for fold in (range(len(folds)) if fold_of is None else [fold_of[place]])
        ]
        self.configs = list(configs)
        self.owner = [place for place, _ in pairs]
        self.fold = torch.tensor([fold for _, fold in pairs])
        members = [own[place] * len(folds) + fold for place, fold in pairs]
        self.population = Population(
            problem.builder(),
            recipe,
            problem.loss(),
            lr=torch.tensor([configs[place].lr for place in self.owner]),
            dials={key: torch.tensor([configs[p].dials[key] for p in self.owner]) for key in recipe.dials()},
            members=members,
            seed=seed,
            optimizer=Adam(betas=(0.9, 0.95)),
            schedule=OneCycle(1.0, plan.steps),
            columns=problem.columns,
            classes=problem.heads[0].classes if problem.plain else None,
            blocks=None if problem.plain else problem.blocks,
        )
        watched = (folds.stop.sum(0) + folds.validation.sum(0)) > 0
        self.seen = torch.nonzero(watched).flatten()  # rows that any fold stops or chooses by
        # A retraining on all rows watches none.
        whole = len(self.seen) in (0, len(problem.rows))
        self.rows = problem.rows if whole else problem.rows.select(self.seen)
        self.history: list[tuple[int, Tensor, Tensor]] = []  # step, training loss (M,), stop score (M,)

    def train(
        self,
        until: int,
        halt: Halt | None = None,
        checkpoint: Checkpoint | None = None,
        name: str = "",
        course: Course | None = None,
    ) -> bool:
        """Train to step `until`, evaluating on each member's stop rows every `plan.every` steps.

        When `halt` is due, training ends at the next evaluation; returns whether it came to its own end. With a
        `checkpoint`, what was saved under `name` is gone on with. A `course` is told the losses.
        """
        population = self.population
        rows = self.folds.train[self.fold]
        done = population.state.step >= until
        if checkpoint is not None and (state := checkpoint.load(name)) is not None:
            population.load_state_dict(state["population"])
            self.history, done = state["history"], state["done"]
        while not done:
            steps = min(self.plan.every, until - population.state.step)
            terms = population.train(self.problem.rows, steps, self.plan.batch, rows)
            scores = population.evaluate(self._masked(self.folds.stop), self._score)
            loss = torch.stack([terms[key] for key in data_keys(terms)]).sum(0)
            self.history.append((population.state.step, loss, scores))
            if course is not None:
                course.losses([one.number for one in self.configs], self.owner, *self.history[-1])
            done = population.state.step >= until or bool((population.stopped | population.diverged).all())
            halted = halt is not None and halt.due()
            if checkpoint is not None and (done or halted or checkpoint.due()):
                state = {"population": population.state_dict(), "history": self.history, "done": done}
                checkpoint.save(name, state)
            if halted:
                break
        return done

    def _masked(self, mask: Tensor) -> Rows:
        """Return the watched rows; each member's own mask is applied by `_score`."""
        self._mask = mask[self.fold][:, self.seen]
        return self.rows

    def _score(self, outputs: Tensor, batch: object) -> Tensor:
        weights = self._mask if self.rows.weights is None else self._mask * self.rows.weights
        count = outputs.shape[0]
        targets = self.rows.targets.expand(count, *self.rows.targets.shape)
        return self.problem.score(outputs, Batch(None, targets, weights))

    def validation(self) -> tuple[Tensor, Tensor]:
        """Return each configuration's score (C,) over all its folds, and its outputs (C, N, K), NaN where no fold
        held the row out. Weights are those that stopping kept.
        """
        outputs = self.population.outputs(self.rows.inputs, best=True)
        self._masked(self.folds.validation)
        scores = self._score(outputs, None)
        scores = torch.where(torch.isfinite(scores) & ~self.population.diverged, scores, torch.inf)
        count = len(self.configs)
        owner = torch.tensor(self.owner)
        total = torch.zeros(count).index_add_(0, owner, scores) / torch.bincount(owner, minlength=count)
        found = torch.full((count, len(self.problem.rows), outputs.shape[-1]), torch.nan)
        for member, place in enumerate(self.owner):
            held = self._mask[member] > 0
            found[place, self.seen[held]] = outputs[member, held]
        return total, found

    def keep(self, places: Sequence[int]) -> None:
        """Keep the configurations at the given places."""
        chosen = [m for place in places for m, owner in enumerate(self.owner) if owner == place]
        new = {place: number for number, place in enumerate(places)}
        self.population.keep(chosen)
        self.owner = [new[self.owner[m]] for m in chosen]
        self.fold = self.fold[torch.tensor(chosen)]
        self.configs = [self.configs[place] for place in places]
        index = torch.tensor(chosen)
        self.history = [(step, train[index], stop[index]) for step, train, stop in self.history]

    def best_steps(self) -> Tensor:
        """Return the median over folds of the step whose weights were kept, (C,)."""
        steps = self.population.best_step
        owner = torch.tensor(self.owner)
        return torch.stack([steps[owner == place].median() for place in range(len(self.configs))])

    def train_loss(self) -> Tensor:
        """Return each configuration's last training loss (C,), the mean over folds."""
        owner = torch.tensor(self.owner)
        last = self.history[-1][1] if self.history else torch.full((len(self.owner),), torch.nan)
        count = len(self.configs)
        return torch.zeros(count).index_add_(0, owner, last) / torch.bincount(owner, minlength=count)


def plan_for(rows: int, *, seconds: float = math.inf, rate: float = 0.0, trainings: float = 1.0) -> Plan:
    """Return how long to train on `rows` training rows: more epochs for fewer rows.

    `rate` is the measured seconds of one step of one network. `trainings` full trainings must fit into `seconds`: a
    short budget gets a shorter training rather than no comparison.
    """
    batch = min(rows, 64 if rows < 800 else 128 if rows < 8_000 else 256)
    per_epoch = max(1, rows // batch)
    epochs = 100 if rows < 1_000 else 60 if rows < 5_000 else 30 if rows < 20_000 else 16
    steps = epochs * per_epoch
    if rate > 0 and math.isfinite(seconds):
        steps = min(steps, int(seconds / (rate * trainings)))
    steps = max(steps, 20)
    return Plan(steps, batch, max(1, steps // 24))


def measured_rate(problem: Problem, recipe: Recipe, configs: Sequence[Config], folds: Folds) -> float:
    """Return the seconds of one step of one network, measured on a few steps of a small population."""
    plan = plan_for(int(folds.train.shape[1]))
    cohort = Cohort(problem, recipe, configs, folds, plan, seed=0)
    rows = folds.train[cohort.fold]
    cohort.population.train(problem.rows, 1, plan.batch, rows)
    began = time.monotonic()
    cohort.population.train(problem.rows, 3, plan.batch, rows)
    return (time.monotonic() - began) / 3 / len(cohort.population)
