"""From a prepared table to an ensemble: search, select on held-out rows, retrain on all rows."""

from __future__ import annotations

import math
import time as wall
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from poise.core.errors import StudyError
from poise.core.recipe import Recipe
from poise.predict import fit_temperature
from poise.study.checkpoint import Checkpoint, fingerprint
from poise.study.clock import Clock
from poise.study.cohort import Cohort, Plan, measured_rate, plan_for
from poise.study.course import Course
from poise.study.folds import Folds, make_folds
from poise.study.halt import Halt
from poise.study.heads import Head
from poise.study.problem import Problem
from poise.study.result import Trial
from poise.study.search import Candidate, Search
from poise.study.selection import greedy_weights
from poise.study.space import Config, Space
from poise.study.workers import one_thread, run_all
from poise.train.stack import Stack

__all__ = ["Fitted", "Settings", "fit"]

_REFIT_NETWORKS = 12  # of the final ensemble; TabM's authors find that 8 good members keep most of 32's gain


@dataclass(frozen=True)
class Settings:
    """How a fit is run: `search_share` of the budget goes to the search, the rest to the retraining."""

    seed: int = 0
    jobs: int = 1
    search_share: float = 0.7
    folds: int | None = None
    checkpoint: str | Path | None = None  # a folder to keep the course in; needs a budget in configurations
    tell: Callable[[str, float | None, float], None] = lambda message, best, share: None
    on_trials: Callable[[list[Trial]], None] = lambda trials: None
    course: Course | None = None  # is told the losses of the search's networks


@dataclass
class Fitted:
    """The outcome: `stack` and `shares` are the ensemble, its first member is the best configuration's network."""

    space: Space
    folds: Folds
    plan: Plan
    rate: float
    best: Config
    best_step: int
    candidates: list[Candidate]
    trials: list[Trial]
    stack: Stack
    shares: Tensor
    temperatures: tuple[float, ...]  # one a head; 1 for numbers
    interrupted: bool = False
    chosen: dict[int, float] = field(default_factory=dict)  # configuration number -> share of the ensemble


def fit(
    problem: Problem,
    targets: np.ndarray,
    space: Space,
    clock: Clock,
    settings: Settings,
    *,
    groups: np.ndarray | None = None,
    time: np.ndarray | None = None,
) -> Fitted:
    """Search recipes for a problem and return the retrained ensemble.

    Ctrl-C ends the search; what was found by then is selected from and retrained. During the retraining, it leaves
    one network to train. Raises: KeyboardInterrupt if nothing had been found, and at the second Ctrl-C; DataError if
    the rows are too few to divide; StudyError if every network diverged.
    """
    rows = len(problem.rows)
    count = settings.folds or (3 if rows < 1_500 else 1)
    folds = make_folds(
        targets, task=problem.heads[problem.lead].task, count=count, seed=settings.seed, groups=groups, time=time
    )
    size = int(folds.train.shape[1])
    timed = math.isfinite(clock.budget.seconds)
    with one_thread():
        rate = measured_rate(problem, space.recipe, space.portfolio(0), folds) if timed else 0.0
    # A bracket trains all its configurations for a quarter and half of them to the end, on every fold. Two waves of
    # brackets, one a worker, must fit into the search's time; where they do not, fewer configurations train longer
    # rather than many too short, down to half of the epochs that the table deserves.
    full = plan_for(size)
    for widest in (16, 12, 8, 6) if count == 1 else (12, 8, 6):
        trainings = 2 * widest * count * (0.25 + 0.5 * 0.75) / settings.search_share
        plan = plan_for(size, seconds=clock.left(), rate=rate, trainings=trainings)
        if plan.steps >= full.steps * 0.5:
            break
    kept = None
    if settings.checkpoint is not None:
        facts = {"data": (problem.rows, folds), "network": (problem.heads, problem.plan, problem.design),
                 "recipe": space.recipe, "training": plan, "budget": clock.budget.trials, "seed": settings.seed,
                 "jobs": settings.jobs, "search": (settings.search_share, widest)}  # fmt: skip
        kept = Checkpoint.open(settings.checkpoint, facts)
    search = Search(problem, space, folds, plan, settings.seed, settings.jobs, checkpoint=kept, course=settings.course)
    search.widest = widest

    def tell(message: str, best: float | None) -> None:
        done = settings.search_share * len(search.trials) / clock.budget.trials
        settings.tell(message, best, clock.spent() / clock.budget.seconds if timed else done)

    search.tell = tell
    search.on_trials = settings.on_trials
    interrupted = False
    try:
        search.run(clock, settings.search_share)
    except KeyboardInterrupt:
        interrupted = True
        if not search.candidates:
            raise
    # Wide populations of every part step otherwise than the few members that were timed at the start.
    rate = max(rate, search.rate()) if timed else 0.0
    candidates = sorted(search.candidates, key=lambda candidate: candidate.score)
    if not candidates:
        # Every configuration diverged: the mildest of the portfolio, with a small rate, is better than no answer.
        mild = space.portfolio(0)[0]
        candidates = [Candidate(Config(0, mild.dials, 1e-4, mild.on), math.inf, torch.empty(0), plan.steps)]
        shares, temperatures = {0: 1.0}, (1.0,) * len(problem.heads)
    else:
        shares, temperatures = _select(problem, candidates, settings.seed)
    try:
        settings.tell(f"retraining {len(shares)} recipes on all rows", candidates[0].score, settings.search_share)
        stack, weights = _refit(problem, space, candidates, shares, plan, clock, rate, settings, _REFIT_NETWORKS, kept)
    except KeyboardInterrupt:
        if interrupted:
            raise
        interrupted, shares = True, {0: 1.0}
        stack, weights = _refit(problem, space, candidates, shares, plan, clock, rate, settings, 1, kept)
    best = candidates[0]
    return Fitted(
        space, folds, plan, rate, best.config, best.best_step, candidates, search.trials, stack, weights, temperatures,
        interrupted, {candidates[place].config.number: share for place, share in shares.items()},
    )  # fmt: skip


def _select(problem: Problem, candidates: Sequence[Candidate], seed: int) -> tuple[dict[int, float], tuple[float, ...]]:
    """Return {place among the candidates: share} and each head's temperature, all chosen on held-out rows."""
    outputs = torch.stack([candidate.outputs for candidate in candidates[:40]])
    held = torch.isfinite(outputs[0]).all(-1)
    if problem.rows.weights is not None:
        held &= problem.rows.weights > 0  # half of the rows, all of weight 0, would have no loss
    answers, targets = problem.answers(outputs[:, held]), problem.rows.targets[held]
    weights = torch.ones(len(targets)) if problem.rows.weights is None else problem.rows.weights[held]

    def loss(mean: Tensor, rows: Tensor) -> Tensor:
        return problem.answer_score(mean, targets[rows], weights[rows])

    found = greedy_weights(answers, loss, seed=seed)
    # A share below a twentieth is noise of the bags, and each member costs a retraining.
    kept = {place: float(share) for place, share in enumerate(found) if share >= 0.05}
    kept = dict(sorted(kept.items(), key=lambda item: -item[1])[:6])
    kept.setdefault(0, 0.05)  # always the best: its recipe is the study's, and member 0 must be its network
    total = sum(kept.values())
    shares = {place: share / total for place, share in kept.items()}
    mean = sum(share * answers[place] for place, share in shares.items())
    assert isinstance(mean, Tensor)
    return shares, tuple(_temperature(*own) for own in problem.of_heads(mean, targets, weights))


def _temperature(head: Head, answers: Tensor, targets: Tensor, weights: Tensor) -> float:
    if not head.classes or not bool((weights > 0).any()):
        return 1.0
    return fit_temperature(answers.clamp(min=1e-7).log(), targets, head.weighted(targets, weights).sum(1))


def _refit(
    problem: Problem,
    space: Space,
    candidates: Sequence[Candidate],
    shares: dict[int, float],
    plan: Plan,
    clock: Clock,
    rate: float,
    settings: Settings,
    networks: int,
    checkpoint: Checkpoint | None = None,
) -> tuple[Stack, Tensor]:
    """Retrain the chosen configurations on all rows for their best number of steps, several seeds each."""
    longest = max(candidates[place].best_step for place in shares)
    if rate > 0:
        networks = int(max(1, min(networks, clock.left() * settings.jobs / max(1e-9, rate * longest))))
    # The best configuration comes first, so that member 0 is the single network of the report.
    places = sorted(shares)
    copies = {place: max(1, round(networks * shares[place])) for place in places}
    jobs = [(place, seed) for place in places for seed in range(copies[place])]
    parts = [jobs[start :: settings.jobs] for start in range(settings.jobs)]
    # A search that overran must not leave networks that hardly trained: each recipe gets its time once, with room.
    least = 2 * rate * longest * len(places) / settings.jobs if rate else math.inf
    halt = Halt(deadline=wall.time() + max(clock.left(), least))
    tasks = [(problem, space.recipe, [candidates[p] for p, _ in part], [s for _, s in part], plan, settings.seed, halt,
              checkpoint) for part in parts if part]  # fmt: skip
    stacks = run_all(refit, tasks, settings.jobs)
    order = [job for part in parts for job in part]
    merged = Stack(
        stacks[0].module,
        {name: torch.cat([stack.weights[name] for stack in stacks]) for name in stacks[0].weights},
        {name: torch.cat([stack.buffers[name] for stack in stacks]) for name in stacks[0].buffers},
    )
    back = torch.tensor([order.index(job) for job in jobs])
    weights = torch.tensor([shares[place] / copies[place] for place, _ in jobs])
    return _sound(merged.select(back), weights)


def _sound(stack: Stack, weights: Tensor) -> tuple[Stack, Tensor]:
    """Return the members whose weights are numbers: one may diverge on all rows that did not on the folds'."""
    tensors = [*stack.weights.values(), *stack.buffers.values()]
    sound = torch.stack([torch.isfinite(tensor).reshape(len(stack), -1).all(1) for tensor in tensors]).all(0)
    if not bool(sound.any()):
        raise StudyError("every network diverged when it was retrained. Look for extreme values in the table.")
    return (stack, weights) if bool(sound.all()) else (stack.select(sound), weights[sound] / weights[sound].sum())


def refit(
    problem: Problem,
    recipe: Recipe,
    candidates: list[Candidate],
    seeds: list[int],
    plan: Plan,
    seed: int,
    halt: Halt | None = None,
    checkpoint: Checkpoint | None = None,
) -> Stack:
    """Train each candidate on all rows up to its best step, as one population, and return the weights.

    When `halt` is due, those that have steps left end where they are: a little early rather than late.
    """
    rows = len(problem.rows)
    everything = Folds(torch.arange(rows)[None], torch.zeros(1, rows), torch.zeros(1, rows))
    configs = [candidate.config for candidate in candidates]
    # Ids past the search's, so that a retrained member is a new draw and not the old one on more rows.
    identities = [1_000_000 + config.number * 100 + own for config, own in zip(configs, seeds, strict=True)]
    cohort = Cohort(problem, recipe, configs, everything, plan, seed=seed, seeds=identities)
    population = cohort.population
    targets = torch.tensor([max(1, candidate.best_step) for candidate in candidates])
    name = f"retraining-{fingerprint((identities, targets))}"
    if checkpoint is not None and (state := checkpoint.load(name)) is not None:
        population.load_state_dict(state)
    begun = population.state.step
    for step in torch.unique(targets).tolist():
        while population.state.step < step:
            population.train(problem.rows, min(plan.every, step - population.state.step), plan.batch)
            halted = halt is not None and halt.due()
            if checkpoint is not None and (halted or checkpoint.due()):
                checkpoint.save(name, population.state_dict())
            if halted:
                population.remember(targets >= population.state.step)
                return population.stack()
        population.remember(targets == population.state.step)
    if checkpoint is not None and population.state.step > begun:
        checkpoint.save(name, population.state_dict())
    return population.stack()
