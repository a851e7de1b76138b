"""One round of a retraining, in a process of its own: networks trained as populations, each for its own steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from poise.core.recipe import Recipe
from poise.study.bracket import Candidate
from poise.study.checkpoint import Checkpoint, fingerprint
from poise.study.cohort import Cohort
from poise.study.folds import Folds
from poise.study.halt import Halt
from poise.study.problem import Problem
from poise.train.stack import Stack, join_stacks

__all__ = ["refit"]


def refit(
    problem: Problem,
    recipe: Recipe,
    candidates: Sequence[Candidate],
    seeds: Sequence[int],
    seed: int,
    halt: Halt | None = None,
    checkpoint: Checkpoint | None = None,
    bags: Folds | None = None,
    bag_of: Sequence[int] | None = None,
) -> Stack:
    """Train each candidate on all rows up to its best step, those of one plan as one population; return the weights.

    With `bags`, each trains on the rows of its own instead.
    Dials follow a candidate's schedule. When `halt` is due, those that have steps left end where they are: a little
    early rather than late.
    """
    pairs = list(zip(candidates, seeds, strict=True))
    plans = list(dict.fromkeys(candidate.plan for candidate, _ in pairs))
    groups = [[place for place, (candidate, _) in enumerate(pairs) if candidate.plan == plan] for plan in plans]
    if bags is None or bag_of is None:
        rows = len(problem.rows)
        bags, bag_of = Folds(torch.arange(rows)[None], torch.zeros(1, rows), torch.zeros(1, rows)), [0] * len(pairs)
    stacks = [_refit_group(problem, recipe, [pairs[place] for place in group], seed, halt, checkpoint, bags,
                           [bag_of[place] for place in group]) for group in groups]  # fmt: skip
    order = [place for group in groups for place in group]
    return join_stacks(stacks).select(torch.argsort(torch.tensor(order)))


def _refit_group(
    problem: Problem,
    recipe: Recipe,
    pairs: Sequence[tuple[Candidate, int]],
    seed: int,
    halt: Halt | None,
    checkpoint: Checkpoint | None,
    bags: Folds,
    bag_of: Sequence[int],
) -> Stack:
    plan = pairs[0][0].plan
    configs = [candidate.at(0) for candidate, _ in pairs]
    # Ids past the search's, so that a retrained member is a new draw and not the old one on more rows.
    identities = [1_000_000 + config.number * 100 + own for config, (_, own) in zip(configs, pairs, strict=True)]
    cohort = Cohort(problem, recipe, configs, bags, plan, seed=seed, seeds=identities, fold_of=bag_of)
    population = cohort.population
    targets = [max(1, candidate.best_step) for candidate, _ in pairs]
    left = list(range(len(pairs)))  # the pairs that still train; the others have left the population
    ended: list[tuple[list[int], Stack]] = []
    name = f"retraining-{fingerprint((identities, targets, list(bag_of)))}"
    if checkpoint is not None and (state := checkpoint.load(name)) is not None:
        left = state["left"]
        if left:
            cohort.keep(left)
            population.load_state_dict(state["population"])
        own = cohort.stack([])  # its module predicts: dropout is off, and no part is idle
        ended = [(places, Stack(own.module, *tensors)) for places, *tensors in state["ended"]]

    def save() -> None:
        if checkpoint is not None:
            stacks = [(places, stack.weights, stack.buffers) for places, stack in ended]
            training = population.state_dict() if left else None
            checkpoint.save(name, {"left": left, "population": training, "ended": stacks})

    halted = False
    changes = {step for candidate, _ in pairs for step, _ in candidate.schedule if step > 0}
    for step in sorted({*targets, *(change for change in changes if change < max(targets))}):
        while left and population.state.step < step:
            cohort.steps(min(plan.every, step - population.state.step))
            halted = halt is not None and halt.due()
            if halted or (checkpoint is not None and checkpoint.due()):
                save()
            if halted:  # all end where they are; what is saved goes on
                targets = [min(target, population.state.step) for target in targets]
                break
        done = [at for at, place in enumerate(left) if targets[place] <= population.state.step]
        if done:
            ended.append(([left[at] for at in done], cohort.stack(done)))
            rest = [at for at in range(len(left)) if at not in set(done)]
            left = [left[at] for at in rest]
            cohort.keep(rest)
            if not (left or halted):
                save()
        if left and step in changes and population.state.step == step:  # not one that a checkpoint is past
            cohort.inherit(range(len(left)), [pairs[place][0].at(step) for place in left])
    places = [place for own, _ in ended for place in own]
    return join_stacks([stack for _, stack in ended]).select(torch.argsort(torch.tensor(places)))
