"""Bagging: several networks, each trained on rows drawn anew with replacement, as one population and one predictor."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from poise.core.context import Batch, Context
from poise.core.errors import ArgumentError, PoiseWarning, shown
from poise.core.recipe import Recipe
from poise.core.rng import Rng, key
from poise.core.schedule import Schedule
from poise.core.trees import select_members
from poise.network.statistics import reestimate
from poise.predict.averaged import mean_answer
from poise.predict.ensemble import Ensemble
from poise.train.failure import TrainingError
from poise.train.losses import Loss, summed_loss
from poise.train.optimizers import Optimizer
from poise.train.population import Population
from poise.train.rows import Rows

__all__ = ["Bagged", "bagged", "bootstrap_rows"]

_CHUNK = 512  # rows a forward pass, as in Stack.outputs


@dataclass(frozen=True)
class Bagged:
    """What `bagged` made.

    `ensemble`: the mean of the members, each through the recipe's predict stage. `rows` (M, N): which rows each
    member was trained on, some twice, a third not at all; M is less than asked for if members diverged.
    `outputs` (N, ...): for each row the mean answer of the members that have not seen it. `covered` (N,): whether
    there is such a member. `score`: the loss of `outputs` over covered rows, an estimate of the error on new rows that
    needs none held out (of smaller ensembles: a row's has about 0.37 M members). `member_scores` (M,): each member's
    own loss on the rows it has not seen.
    """

    ensemble: Ensemble
    rows: Tensor
    outputs: Tensor
    covered: Tensor
    score: float
    member_scores: Tensor


def bootstrap_rows(members: Sequence[int], count: int, seed: int = 0) -> Tensor:
    """Return for each member `count` row numbers drawn with replacement; a member's depend on (seed, member) alone.

    Shapes: -> (M, count) int64.
    """
    draws = [Rng(key(seed, member), "bootstrap").uniform("rows", (count,), torch.float64) for member in members]
    return (torch.stack(draws) * count).long().clamp(max=count - 1)


def bagged(
    build: Callable[[], nn.Module],
    recipe: Recipe,
    data: Rows,
    loss: Loss,
    *,
    steps: int,
    lr: float,
    members: int = 10,
    batch_size: int = 64,
    seed: int = 0,
    space: str = "probability",
    optimizer: Optimizer | None = None,
    schedule: Schedule | None = None,
    columns: Tensor | None = None,
    classes: int | None = None,
) -> Bagged:
    """Train networks on bootstrap samples of the rows, all at once, and return their mean with its out-of-bag score.

    Members differ in their rows, initial weights, order and masks. If their errors have variance v and covariance c,
    the mean's squared error is v / k + (k - 1) c / k; each alone is worse than a network of all rows, because it
    has seen only 63 % of them. Costs `members` trainings in one population (see docs/population.md for what that
    saves) and `members` forward passes at each prediction. The stop stage is not asked: every member takes `steps`.

    Shapes: `data` as for `Population.train`; `loss(outputs, batch)` of one member.
    Raises: ArgumentError if members is not an int >= 1, no row is left out by any member, or as `Population` and
    `Ensemble` do; TrainingError if every member diverged. Some that did are left out, with a PoiseWarning.
    Source: Breiman 1996, "Bagging predictors"; out-of-bag: Breiman 1996, "Out-of-bag estimation".

    >>> from poise.train.losses import SquaredError
    >>> data = Rows(torch.randn(30, 2), torch.zeros(30, 1))
    >>> found = bagged(lambda: nn.Linear(2, 1), Recipe(), data, SquaredError(), steps=200, lr=0.05, space="output")
    >>> len(found.ensemble.predictors), tuple(found.rows.shape), found.score < 0.01
    (10, (10, 30), True)
    """
    if isinstance(members, bool) or not isinstance(members, int) or members < 1:
        raise ArgumentError(f"`bagged.members` must be an int >= 1; got {shown(members)}. It is a number of networks.")
    population = Population(
        build,
        recipe,
        loss,
        lr=[lr] * members,
        seed=seed,
        optimizer=optimizer,
        schedule=schedule,
        columns=columns,
        classes=classes,
    )
    rows = bootstrap_rows(population.members, len(data), seed)
    population.train(data, steps, batch_size, rows)
    rows = rows[_survivors(population)]
    stack, count = population.stack(), len(population)
    predictors = [
        _predictor(population, place, stack.network(place), data.inputs[rows[place]]) for place in range(count)
    ]
    ensemble = Ensemble(predictors, space=space)
    seen = torch.zeros(count, len(data), dtype=torch.bool).scatter(1, rows, True)
    covered = ~seen.all(0)
    if not bool(covered.any()):
        raise ArgumentError(
            f"`bagged` must leave a row out of a sample to score; got none of {len(data)}. Add members."
        )
    with torch.no_grad():
        answers = torch.cat([ensemble.answers(part) for part in data.inputs.split(_CHUNK)], dim=1)
    free = (~seen).to(answers.dtype).reshape(count, len(data), *[1] * (answers.dim() - 2))
    outputs = mean_answer(answers, free / free.sum(0).clamp(min=1), space)
    return Bagged(
        ensemble=ensemble,
        rows=rows,
        outputs=outputs,
        covered=covered,
        score=float(_score(loss, outputs, data, covered)),
        member_scores=torch.stack(
            [_score(loss, own, data, left_out) for own, left_out in zip(answers, ~seen, strict=True)]
        ),
    )


def _survivors(population: Population) -> Tensor:
    """Drop the members that diverged, with a warning, and return the places of the others."""
    places = (~population.diverged).nonzero()[:, 0]
    if len(places) == 0:
        raise TrainingError("every member of `bagged` diverged: lower the learning rate, or clip gradients (ClipNorm).")
    if lost := len(population) - len(places):
        warnings.warn(
            f"{lost} of {len(population)} members of `bagged` diverged and are left out: lower the learning rate.",
            PoiseWarning,
            stacklevel=3,
        )
        population.keep(places.tolist())
    return places


def _predictor(population: Population, place: int, network: nn.Module, inputs: Tensor) -> nn.Module:
    """Return one member through the recipe's predict stage, as `Run.predictor` does for a run."""
    state, recipe = population.state, population.recipe
    predictor: Any = network
    for part in recipe.resolve({}, state.step).stage("predict"):
        ctx = Context(
            step=state.step,
            rng=Rng(state.keys[place]),
            columns=population.program.columns,
            classes=population.program.classes,
            memory=select_members(state.memory[part.name], torch.tensor(place)),
            restate=partial(reestimate, batches=inputs.split(_CHUNK)),
        )
        predictor = part.predict(predictor, ctx.within(part.name))
    return predictor  # type: ignore[no-any-return]  # a module, by the predict stage's contract


def _score(loss: Loss, outputs: Tensor, data: Rows, chosen: Tensor) -> Tensor:
    kept = data.select(chosen.nonzero()[:, 0])
    return summed_loss(loss, outputs[chosen], Batch(kept.inputs, kept.targets, kept.weights))
