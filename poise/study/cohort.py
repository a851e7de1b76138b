"""A cohort: several configurations, each trained on every fold, as one population."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from poise.core.recipe import Recipe
from poise.core.schedule import OneCycle
from poise.core.terms import data_keys
from poise.study.folds import Folds
from poise.study.halt import Halt
from poise.study.look import Look
from poise.study.problem import Problem
from poise.study.space import TEMPERATURE, Config
from poise.train.inherit import inherit
from poise.train.optimizers import Adam
from poise.train.population import Population
from poise.train.rows import Picked
from poise.train.stack import Stack

__all__ = ["SHORTEST", "TIMED_PRODUCTS", "Cohort", "Plan", "measured_rate", "plan_for"]

RUNGS = (0.125, 0.25, 0.5)
"""Shares of the full training after which the better half of a bracket goes on. Of 48 configurations on each of seven
tables, the ranks after an eighth correlate with those at the end by 0.37 to 0.87, and 27 of the 35 that ended among a
table's best five were in the better half."""


TIMED_PRODUCTS = "bfloat16"
"""What networks multiply in where a budget is in time, on a processor that has it: on six tables it loses nothing, for
a fifth to a half more steps. A budget in configurations keeps to float32, which every processor has."""

SHORTEST = 20
"""The steps that every training has, however short the budget."""


@dataclass(frozen=True)
class Plan:
    """How long each network trains: `steps` optimizer steps of `batch` rows, evaluated every `every` steps.

    In a search, the better half goes on after each of the steps in `rungs`. `products` is a population's.
    They train on `device`.
    """

    steps: int
    batch: int
    every: int
    rungs: tuple[int, ...] = ()
    products: str = "float32"
    device: str = "cpu"

    def cut(self, share: float) -> Plan:
        """Return the plan of a share of the steps, twenty at least; rungs stay where they are."""
        steps = max(SHORTEST, round(self.steps * share))
        if steps >= self.steps:
            return self
        return replace(self, steps=steps, every=max(1, steps // 24), rungs=tuple(r for r in self.rungs if r < steps))

    def stretched(self, times: int) -> Plan:
        """Return the plan of so many times the steps; its last rung is where this one ends."""
        steps = self.steps * times
        return replace(self, steps=steps, every=max(1, steps // 24), rungs=(*self.rungs, self.steps))

    def work(self, configurations: int, until: int | None = None) -> int:
        """Return the steps that a bracket of so many configurations takes up to a step, if none stops early."""
        end, total = self.steps if until is None else until, 0
        for begin, rung in zip((0, *self.rungs), (*self.rungs, self.steps), strict=True):
            total += configurations * max(0, min(rung, end) - begin)
            configurations = math.ceil(configurations / 2)
        return total


class Cohort:
    """Configurations x folds as one population; `seeds[i]` is the identity that configuration i's randomness has.

    It trains on its plan's device. The problem and the folds are given, and all results returned, on the CPU.

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
            lr=self._rates(),
            dials=self._dials(),
            members=members,
            seed=seed,
            optimizer=Adam(betas=(0.9, 0.95)),
            schedule=OneCycle(1.0, plan.steps),
            columns=problem.columns,
            classes=problem.heads[0].classes if problem.plain else None,
            blocks=None if problem.plain else problem.blocks,
            products=plan.products,
        )
        self._there = problem if plan.device == "cpu" else problem.to(plan.device)
        if plan.device != "cpu":
            self.population.to(plan.device)
        self.history: list[tuple[int, Tensor, Tensor]] = []  # step, training loss (M,), stop score (M,)

    @cached_property
    def stop(self) -> Look:
        """The rows that say when to stop."""
        return Look(self._there, self._moved(self.folds.stop))

    @cached_property
    def validated(self) -> Look:
        """The rows that choose among configurations."""
        return Look(self._there, self._moved(self.folds.validation))

    def train(self, until: int, halt: Halt | None = None) -> bool:
        """Train to step `until`, evaluating on each member's stop rows every `plan.every` steps.

        When `halt` is due, training ends at the next evaluation; returns whether it came to its own end.
        """
        while not self.over(until):
            self.advance(until)
            if halt is not None and halt.due():
                return self.over(until)
        return True

    def over(self, until: int) -> bool:
        """Whether no member has a step left."""
        population = self.population
        return population.state.step >= until or bool((population.stopped | population.diverged).all())

    def advance(self, until: int) -> None:
        """Train to the next evaluation, or to step `until` if that comes first, and evaluate."""
        population, stop, fold = self.population, self.stop, self._moved(self.fold)
        loss = self.steps(min(self.plan.every, until - population.state.step))
        scores = population.evaluate(stop.data, stop.score(fold, self._moved(self.tempered)), stop.rows(fold))
        self.history.append((population.state.step, loss, scores.cpu()))

    def steps(self, count: int) -> Tensor:
        """Train for so many steps, and return the training loss of each member (M,)."""
        terms = self.population.train(self._there.rows, count, self.plan.batch, self.folds.train[self.fold])
        return torch.stack([terms[key] for key in data_keys(terms)]).sum(0).cpu()

    def idle(self) -> list[int]:
        """Return the places of the configurations none of whose members trains any more."""
        done = (self.population.stopped | self.population.diverged).cpu()
        return torch.nonzero(self._sums(done.float()) == self._sums(torch.ones(len(done)))).flatten().tolist()

    def validation(self) -> tuple[Tensor, Tensor]:
        """Return each configuration's score (C,) over all its folds, and its outputs (C, N, K), NaN where no fold
        held the row out. Weights are those that stopping kept.
        """
        look, answer = self.validated, partial(self.population.outputs, best=True)
        judged = look.judge(answer, self._moved(self.fold), self._moved(self.tempered))
        scores, outputs = (tensor.cpu() for tensor in judged)
        scores = torch.where(torch.isfinite(scores) & ~self.population.diverged.cpu(), scores, torch.inf)
        numbers, held = look.numbers.cpu(), look.held.cpu() > 0
        found = torch.full((len(self.configs), len(self.problem.rows), *outputs.shape[2:]), torch.nan)
        for member, place in enumerate(self.owner):
            fold = int(self.fold[member])
            found[place, numbers[fold][held[fold]]] = outputs[member, held[fold]]
        return self._means(scores), found

    @property
    def tempered(self) -> Tensor:
        """Which members (M,) have a temperature, which is fitted to them once they are trained."""
        return torch.tensor([TEMPERATURE in self.configs[place].on for place in self.owner])

    def temperatures(self) -> Tensor:
        """Return each member's temperature (M,), of its stop rows; 1 of those that have none."""
        tempered = self.tempered
        if not bool(tempered.any()):
            return torch.ones(len(tempered))
        found = self.stop.temperatures(partial(self.population.outputs, best=True), self._moved(self.fold))
        return torch.where(tempered, found.cpu(), 1.0)

    def _moved(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.plan.device)

    def _sums(self, values: Tensor) -> Tensor:
        """Return the sums (C,) over each configuration's members of (M,)."""
        return torch.zeros(len(self.configs)).index_add_(0, torch.tensor(self.owner), values)

    def _means(self, values: Tensor) -> Tensor:
        return self._sums(values) / self._sums(torch.ones(len(values)))

    def keep(self, places: Sequence[int]) -> None:
        """Keep the configurations at the given places; with none, nothing is left to train."""
        if not places:
            self.configs, self.owner = [], []
            return
        chosen = [m for place in places for m, owner in enumerate(self.owner) if owner == place]
        new = {place: number for number, place in enumerate(places)}
        self.population.keep(chosen)
        self.owner = [new[self.owner[m]] for m in chosen]
        self.fold = self.fold[torch.tensor(chosen)]
        self.configs = [self.configs[place] for place in places]
        index = torch.tensor(chosen)
        self.history = [(step, train[index], stop[index]) for step, train, stop in self.history]

    def latest(self) -> list[float]:
        """Return each configuration's stop score (C,) at the last evaluation: of the weights as they are now."""
        return self._means(self.history[-1][2]).tolist()

    def inherit(self, donors: Sequence[int], configs: Sequence[Config]) -> None:
        """Give the configurations the weights and the state of their donors (own place: unchanged), and new dials.

        A member's donor is the donor configuration's member on the same fold. Random draws stay each member's own.
        """
        places = {(owner, fold): m for m, (owner, fold) in enumerate(zip(self.owner, self.fold.tolist(), strict=True))}
        chosen = [places[donors[owner], fold] for owner, fold in zip(self.owner, self.fold.tolist(), strict=True)]
        self.configs = list(configs)
        inherit(self.population, chosen, lr=self._rates(), dials=self._dials())
        index = torch.tensor(chosen)
        self.history = [(step, train[index], stop[index]) for step, train, stop in self.history]

    def _rates(self) -> Tensor:
        return torch.tensor([self.configs[place].lr for place in self.owner])

    def _dials(self) -> dict[str, Tensor]:
        return {key: torch.tensor([self.configs[p].dials[key] for p in self.owner]) for key in self.recipe.dials()}

    def best_steps(self) -> Tensor:
        """Return the median over folds of the step whose weights were kept, (C,)."""
        steps = self.population.best_step.cpu()
        owner = torch.tensor(self.owner)
        return torch.stack([steps[owner == place].median() for place in range(len(self.configs))])

    def stack(self, members: Sequence[int] | None = None) -> Stack:
        """Return the networks of all members, or of some, with the weights that were kept."""
        trained = Picked(self._there.rows, self._moved(self.folds.train[self.fold]))
        stack = self.population.stack(members, trained)
        return stack if self.plan.device == "cpu" else stack.to("cpu")

    def train_loss(self) -> Tensor:
        """Return each configuration's last training loss (C,), the mean over folds."""
        return self._means(self.history[-1][1] if self.history else torch.full((len(self.owner),), torch.nan))


def plan_for(
    rows: int,
    *,
    effort: tuple[int, int] | None = None,
    seconds: float = math.inf,
    rate: float = 0.0,
    trainings: float = 1.0,
) -> Plan:
    """Return how long to train on `rows` training rows: more epochs for fewer rows, or the design's own effort.

    `rate` is the measured seconds of one step of one network. `trainings` full trainings must fit into `seconds`: a
    short budget gets a shorter training rather than no comparison.
    """
    batch, epochs = effort or (
        64 if rows < 800 else 128 if rows < 8_000 else 256,
        100 if rows < 1_000 else 60 if rows < 5_000 else 30 if rows < 20_000 else 16,
    )
    batch = min(rows, batch)
    steps = epochs * max(1, rows // batch)
    if rate > 0 and math.isfinite(seconds):
        steps = min(steps, int(seconds / (rate * trainings)))
    steps = max(steps, SHORTEST)
    rungs = tuple(rung for part in RUNGS if (rung := round(steps * part)) >= 10)
    return Plan(steps, batch, max(1, steps // 24), rungs)


def measured_rate(problem: Problem, recipe: Recipe, configs: Sequence[Config], folds: Folds, plan: Plan) -> float:
    """Return the seconds of one step of one network, measured on a few steps of a small population."""
    cohort = Cohort(problem, recipe, configs, folds, plan, seed=0)
    cohort.steps(1)
    began = time.monotonic()
    cohort.steps(3)
    return (time.monotonic() - began) / 3 / len(cohort.population)
