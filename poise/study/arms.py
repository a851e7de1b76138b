"""Arms: configurations retrained with the same seeds, rows and draws, so that their differences are paired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from poise.core.recipe import Recipe
from poise.study.cohort import Cohort, Plan
from poise.study.folds import Folds
from poise.study.halt import Halt
from poise.study.problem import Problem
from poise.study.space import Config
from poise.study.workers import run_all
from poise.train.stack import Stack, join_stacks

__all__ = ["Arms", "train_arms"]


@dataclass(frozen=True)
class Arms:
    """Trained arms. `stack` has member arm * seeds + seed; `fold` (seeds,) is the fold that each seed trained on.

    `history` holds (step, training loss, stop-part loss) of the first seed of each arm: arm -> rows.
    """

    labels: tuple[str, ...]
    seeds: int
    fold: tuple[int, ...]
    stack: Stack
    best_step: Tensor  # (arms, seeds)
    temperatures: tuple[float, ...]  # of each member, fitted on its stop rows; 1 where the arm has none
    history: dict[str, list[tuple[int, float, float]]]
    cut: int | None = None  # the fewest steps that a seed's networks trained for, where a halt ended them

    def members(self, label: str) -> list[int]:
        """Return the members of an arm, one a seed."""
        first = self.labels.index(label) * self.seeds
        return list(range(first, first + self.seeds))


def train_arms(
    problem: Problem,
    recipe: Recipe,
    arms: dict[str, Config],
    folds: Folds,
    plan: Plan,
    *,
    seeds: int,
    seed: int,
    jobs: int,
    halt: Halt | None = None,
) -> Arms:
    """Train every arm with every seed; a seed has the same initial weights, batches and draws in all arms.

    When `halt` is due, all arms of a seed end at the same step, so that their differences stay paired.
    """
    shards = [list(range(start, seeds, min(jobs, seeds))) for start in range(min(jobs, seeds))]
    tasks = [(problem, recipe, list(arms.values()), folds, plan, shard, seed, halt) for shard in shards]
    found = run_all(_shard, tasks, jobs)
    count = len(arms)
    places = {}  # (arm, seed) -> (shard, member)
    for number, shard in enumerate(shards):
        for arm in range(count):
            for place, own in enumerate(shard):
                places[arm, own] = (number, arm * len(shard) + place)
    offsets = np.cumsum([0, *[len(one[0]) for one in found]])
    order = torch.tensor([int(offsets[places[a, s][0]]) + places[a, s][1] for a in range(count) for s in range(seeds)])
    stacks = [one[0] for one in found]
    merged = join_stacks(stacks).select(order)
    temperatures = torch.cat([one[3] for one in found])[order].tolist()
    steps = torch.cat([one[1] for one in found])[order].reshape(count, seeds)
    cut = min((one[2][-1][0] for one in found if not one[4]), default=None)
    history = {
        label: [(step, float(train[arm * len(shards[0])]), float(stop[arm * len(shards[0])]))
                for step, train, stop in found[0][2]]
        for arm, label in enumerate(arms)
    }  # fmt: skip
    folds_of = tuple(own % len(folds) for own in range(seeds))
    return Arms(tuple(arms), seeds, folds_of, merged, steps, tuple(temperatures), history, cut)


def _shard(
    problem: Problem,
    recipe: Recipe,
    configs: Sequence[Config],
    folds: Folds,
    plan: Plan,
    own: Sequence[int],
    seed: int,
    halt: Halt | None,
) -> tuple[Stack, Tensor, list[tuple[int, Tensor, Tensor]], Tensor, bool]:
    """Train the configurations with some of the seeds as one population: member config * len(own) + place.

    The last of what is returned is whether they came to their own end.
    """
    pairs = [(config, number) for config in configs for number in own]
    cohort = Cohort(
        problem,
        recipe,
        [config for config, _ in pairs],
        folds,
        plan,
        seed=seed,
        seeds=[2_000_000 + number for _, number in pairs],  # ids of their own, away from the search's
        fold_of=[number % len(folds) for _, number in pairs],
    )
    ended = cohort.train(plan.steps, halt)
    return cohort.stack(), cohort.population.best_step.cpu(), cohort.history, cohort.temperatures(), ended
