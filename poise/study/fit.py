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
from poise.study.bracket import Candidate, Watcher
from poise.study.checkpoint import Checkpoint, fingerprint
from poise.study.clock import Clock
from poise.study.cohort import Cohort, Plan, measured_rate, plan_for
from poise.study.ensemble import LARGEST, MEMBERS, Library
from poise.study.folds import Folds, make_folds
from poise.study.halt import Halt
from poise.study.lengths import Lengths
from poise.study.problem import Problem
from poise.study.result import Trial
from poise.study.search import Search
from poise.study.space import Config, Space
from poise.study.workers import one_thread, run_all
from poise.train.stack import Stack, join_stacks

__all__ = ["Fitted", "Settings", "fit"]

_ENOUGH = 0.75  # of the full training, for the widest bracket that has time for it
_REFIT_NETWORKS = 16  # of the final ensemble; TabM's authors find that 8 good members keep most of 32's gain
_MOST_NETWORKS = 32  # where there is time for them; of seven tables, 43 networks in place of 13 lost 0.6 % less
_REFIT_RECIPES = 6  # that are retrained even where the time is for fewer networks


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
    on_plan: Callable[[Plan, int], None] = lambda plan, rows: None  # the longest training, where time cut it short
    watcher: Watcher | None = None  # is told of the search's cohorts
    search: str = "halving"  # or "pbt"


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
    notes: tuple[str, ...] = ()  # what the report should say of the search


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
    # A wave at each length, on every fold, must fit into the search's time. Where they do not, one wave at full length
    # must: rungs drop the worse early there too. Fewer configurations then train longer rather than many too short.
    effort = problem.design.effort(size)
    full = plan_for(size, effort=effort)
    lengths, widths = Lengths(full).plans, (16, 12, 8, 6) if count == 1 else (12, 8, 6)
    for widest, plans in ((widths[0], lengths), *((width, lengths[-1:]) for width in widths)):
        trainings = count * sum(plan.work(widest) for plan in plans) / full.steps / settings.search_share
        plan = plan_for(size, effort=effort, seconds=clock.left(), rate=rate, trainings=trainings)
        if plan.steps >= full.steps * (1.0 if plans is lengths else _ENOUGH):
            break
    if plan.steps < full.steps:
        settings.on_plan(plan, size)
    kept = None
    if settings.checkpoint is not None:
        facts = {"data": (problem.rows, folds), "network": (problem.heads, problem.plan, problem.design),
                 "recipe": space.recipe, "training": plan, "budget": clock.budget.trials, "seed": settings.seed,
                 "search": (settings.search, settings.search_share, widest)}  # fmt: skip
        kept = Checkpoint.open(settings.checkpoint, facts)
    # A budget in configurations must give the same result for any number of workers: what a wave is may not depend on
    # them, so it is several narrower brackets, which two to eight workers share.
    brackets = settings.jobs if timed else 2 if clock.budget.trials < 128 else 4 if clock.budget.trials < 512 else 8
    width = widest if timed else max(4, widest // 2)
    search = Search(problem, space, folds, plan, settings.seed, settings.jobs, width, brackets, settings.search)
    search.checkpoint, search.watcher = kept, settings.watcher
    if plans is not lengths:
        search.lengths.only_full()

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
    candidates = search.candidates
    if not candidates:
        # Every configuration diverged: the mildest of the portfolio, with a small rate, is better than no answer.
        mild = space.portfolio(0)[0]
        config = Config(0, mild.dials, 1e-4, mild.on)
        candidates = [Candidate(config, math.inf, torch.empty(0), plan.steps, plan)]
        shares, temperatures = {0: 1.0}, (1.0,) * len(problem.heads)
    else:
        library = Library(problem, candidates)
        networks = _affordable(candidates[:LARGEST], clock, rate, settings.jobs)
        shares = library.shares(settings.seed, members=min(MEMBERS, max(_REFIT_RECIPES, networks)))
        temperatures = library.temperatures(library.mean(shares))
    try:
        settings.tell(f"retraining {len(shares)} recipes on all rows", candidates[0].score, settings.search_share)
        stack, weights = _refit(problem, space, candidates, shares, clock, rate, settings, _MOST_NETWORKS, kept)
    except KeyboardInterrupt:
        if interrupted:
            raise
        interrupted, shares = True, {0: 1.0}
        stack, weights = _refit(problem, space, candidates, shares, clock, rate, settings, 1, kept)
    best = candidates[0]
    return Fitted(
        space, folds, best.plan, rate, best.config, best.best_step, candidates, search.trials, stack, weights,
        temperatures, interrupted, {candidates[place].config.number: share for place, share in shares.items()},
        (search.ending.said,) if search.ending.reached else (),
    )  # fmt: skip


def _affordable(candidates: Sequence[Candidate], clock: Clock, rate: float, jobs: int) -> int:
    """Return how many networks can be retrained in the time that is left."""
    longest = max(1, *(candidate.best_step for candidate in candidates))
    return int(max(1, min(_MOST_NETWORKS, clock.left() * jobs / (rate * longest)))) if rate else _REFIT_NETWORKS


def _refit(
    problem: Problem,
    space: Space,
    candidates: Sequence[Candidate],
    shares: dict[int, float],
    clock: Clock,
    rate: float,
    settings: Settings,
    networks: int,
    checkpoint: Checkpoint | None = None,
) -> tuple[Stack, Tensor]:
    """Retrain the chosen configurations on all rows for their best number of steps, several seeds each."""
    chosen = [candidates[place] for place in shares]
    longest = max(candidate.best_step for candidate in chosen)
    spare = min(networks, _affordable(chosen, clock, rate, settings.jobs)) - len(shares)
    # The best configuration comes first, so that member 0 is the single network of the report.
    places = sorted(shares)
    copies = {place: 1 + max(0, int(spare * shares[place])) for place in places}
    jobs = [(place, seed) for place in places for seed in range(copies[place])]
    parts = [jobs[start :: settings.jobs] for start in range(settings.jobs)]
    # A search that overran must not leave networks that hardly trained: each recipe gets its time once, with room.
    least = 2 * rate * longest * len(places) / settings.jobs if rate else math.inf
    halt = Halt(deadline=wall.time() + max(clock.left(), least))
    tasks = [(problem, space.recipe, [candidates[p] for p, _ in part], [s for _, s in part], settings.seed, halt,
              checkpoint) for part in parts if part]  # fmt: skip
    stacks = run_all(refit, tasks, settings.jobs)
    order = [job for part in parts for job in part]
    merged = join_stacks(stacks)
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
    candidates: Sequence[Candidate],
    seeds: Sequence[int],
    seed: int,
    halt: Halt | None = None,
    checkpoint: Checkpoint | None = None,
) -> Stack:
    """Train each candidate on all rows up to its best step, those of one plan as one population; return the weights.

    Dials follow a candidate's schedule. When `halt` is due, those that have steps left end where they are: a little
    early rather than late.
    """
    pairs = list(zip(candidates, seeds, strict=True))
    plans = list(dict.fromkeys(candidate.plan for candidate, _ in pairs))
    groups = [[place for place, (candidate, _) in enumerate(pairs) if candidate.plan == plan] for plan in plans]
    stacks = [_refit_group(problem, recipe, [pairs[place] for place in group], seed, halt, checkpoint)
              for group in groups]  # fmt: skip
    order = [place for group in groups for place in group]
    return join_stacks(stacks).select(torch.argsort(torch.tensor(order)))


def _refit_group(
    problem: Problem,
    recipe: Recipe,
    pairs: Sequence[tuple[Candidate, int]],
    seed: int,
    halt: Halt | None,
    checkpoint: Checkpoint | None,
) -> Stack:
    rows, plan = len(problem.rows), pairs[0][0].plan
    everything = Folds(torch.arange(rows)[None], torch.zeros(1, rows), torch.zeros(1, rows))
    configs = [candidate.at(0) for candidate, _ in pairs]
    # Ids past the search's, so that a retrained member is a new draw and not the old one on more rows.
    identities = [1_000_000 + config.number * 100 + own for config, (_, own) in zip(configs, pairs, strict=True)]
    cohort = Cohort(problem, recipe, configs, everything, plan, seed=seed, seeds=identities)
    population = cohort.population
    targets = torch.tensor([max(1, candidate.best_step) for candidate, _ in pairs])
    name = f"retraining-{fingerprint((identities, targets))}"
    if checkpoint is not None and (state := checkpoint.load(name)) is not None:
        population.load_state_dict(state)
    begun, longest = population.state.step, int(targets.max())
    changes = {step for candidate, _ in pairs for step, _ in candidate.schedule if 0 < step < longest}
    for step in sorted({*targets.tolist(), *changes}):
        while population.state.step < step:
            population.train(problem.rows, min(plan.every, step - population.state.step), plan.batch)
            halted = halt is not None and halt.due()
            if step in changes and population.state.step == step:
                cohort.inherit(range(len(pairs)), [candidate.at(step) for candidate, _ in pairs])
            if checkpoint is not None and (halted or checkpoint.due()):
                checkpoint.save(name, population.state_dict())
            if halted:
                population.remember(targets >= population.state.step)
                return population.stack()
        population.remember(targets == population.state.step)
    if checkpoint is not None and population.state.step > begun:
        checkpoint.save(name, population.state_dict())
    return population.stack()
