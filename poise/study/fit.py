"""From a prepared table to an ensemble: search, select on held-out rows, retrain."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from poise.core.errors import PoiseWarning, counted
from poise.study.bags import bags_of
from poise.study.bracket import Candidate, Watcher
from poise.study.checkpoint import Checkpoint
from poise.study.clock import Clock
from poise.study.cohort import TIMED_PRODUCTS, Plan, measured_rate, plan_for
from poise.study.design import SEARCH
from poise.study.ensemble import LARGEST, MEMBERS, Library
from poise.study.folds import Folds, make_folds
from poise.study.lengths import Lengths
from poise.study.problem import Problem
from poise.study.result import Trial
from poise.study.retraining import LEAST_RECIPES, LONGER, Retraining
from poise.study.search import Search
from poise.study.space import Config, Space
from poise.study.structure import Structures, Trainings
from poise.study.workers import WorkersLostError, one_thread
from poise.train.stack import Stack

__all__ = ["Fitted", "Settings", "fit"]

_ENOUGH = 0.75  # of the full training, for the widest bracket that has time for it
ON_A_GPU = 4
"""Times the configurations of a bracket on a CPU: a GPU takes for many what it takes for a few."""

_LOOK = 32  # configurations of a budget that is worth a look at structures


@dataclass(frozen=True)
class Settings:
    """How a fit is run."""

    seed: int = 0
    jobs: int = 1
    folds: int | None = None
    checkpoint: str | Path | None = None  # a folder to keep the course in; needs a budget in configurations
    tell: Callable[[str, float | None, float], None] = lambda message, best, share: None
    on_trials: Callable[[list[Trial]], None] = lambda trials: None
    on_plan: Callable[[Plan, int], None] = lambda plan, rows: None  # the longest training, where time cut it short
    watcher: Watcher | None = None  # is told of the search's cohorts
    search: str = "halving"  # or "pbt"
    device: str = "cpu"  # that networks train on


@dataclass
class Fitted:
    """The outcome: `stack` and `shares` are the ensemble, its first member is the best configuration's network."""

    problem: Problem  # with the structure that was chosen
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
    structure: str = ""  # what to say of the structure, where another than the design's own was chosen
    early: str = ""  # why the search ended before its time, where it did
    longer: str = ""  # what to say of longer training than in the search, where it paid

    @property
    def notes(self) -> tuple[str, ...]:
        """What a report should say of the search."""
        return tuple(filter(None, (self.structure, self.early, self.longer)))


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
    one network to train; so does the loss of the last worker.

    Raises: KeyboardInterrupt if nothing had been found, and at the second Ctrl-C; WorkersLostError if nothing had been
    found; DataError if the rows are too few to divide; StudyError if every network diverged.
    """
    rows = len(problem.rows)
    share = problem.design.search_share(rows)
    count = settings.folds or (3 if rows < 1_500 else 1)
    folds = make_folds(
        targets, task=problem.heads[problem.lead].task, count=count, seed=settings.seed, groups=groups, time=time
    )
    size = int(folds.train.shape[1])
    problem = replace(problem, design=problem.design.settled(problem.plan, rows))
    timed = math.isfinite(clock.budget.seconds)
    effort = problem.design.effort(size)
    how: dict[str, Any] = {"products": TIMED_PRODUCTS if timed else "float32", "device": settings.device}
    full = replace(plan_for(size, effort=effort), **how)
    with one_thread():
        rate = measured_rate(problem, space.recipe, space.portfolio(0), folds, full) if timed else 0.0
    structures = Structures(problem, space, folds, full, settings.seed)
    said, looked, seconds = "", Trainings(), share * clock.left()
    if clock.budget.trials >= _LOOK and structures.affordable(rate, seconds, settings.jobs):
        settings.tell("looking at structures of the network", None, 0.0)
        problem, said, looked = structures.best(settings.jobs)
        if said and timed:
            with one_thread():
                rate = measured_rate(problem, space.recipe, space.portfolio(0), folds, full)
    # A bracket at each length, on every fold, must fit into the search's time. Where they do not, one at full length
    # must: rungs drop the worse early there too. Fewer configurations then train longer rather than many too short.
    times = ON_A_GPU if timed and settings.device != "cpu" else 1
    lengths, widths = Lengths(full).plans, [times * width for width in ((16, 12, 8, 6) if count == 1 else (12, 8, 6))]
    for widest, plans in ((widths[0], lengths), *((width, lengths[-1:]) for width in widths)):
        trainings = count * sum(plan.work(widest) for plan in plans) / full.steps / share
        left = clock.left()
        plan = replace(plan_for(size, effort=effort, seconds=left, rate=rate, trainings=trainings), **how)
        if plan.steps >= full.steps * (1.0 if plans is lengths else _ENOUGH):
            break
    if plan.steps < full.steps:
        settings.on_plan(plan, size)
    kept = None
    if settings.checkpoint is not None:
        facts = {"data": (problem.rows, folds), "network": (problem.heads, problem.plan, problem.design),
                 "recipe": space.recipe, "training": plan, "budget": clock.budget.trials, "seed": settings.seed,
                 "search": (settings.search, share, widest)}  # fmt: skip
        kept = Checkpoint.open(settings.checkpoint, facts)
    # A budget in configurations must give the same result for any number of workers: how many brackets are out at a
    # time may not depend on them, so they are several narrower ones, which two to eight workers share.
    brackets = settings.jobs if timed else 2 if clock.budget.trials < 128 else 4 if clock.budget.trials < 512 else 8
    width = widest if timed else max(4, widest // 2)
    search = Search(problem, space, folds, plan, settings.seed, settings.jobs, width, brackets, settings.search)
    search.checkpoint, search.watcher = kept, settings.watcher
    if plans is not lengths:
        search.lengths.only_full()

    def tell(message: str, best: float | None) -> None:
        done = SEARCH * len(search.trials) / clock.budget.trials
        settings.tell(message, best, clock.spent() / clock.budget.seconds if timed else done)

    search.tell = tell
    search.on_trials = settings.on_trials
    search.least, search.after = share, problem.design.networks * max(LONGER)
    if share < SEARCH:
        # On fewer rows, studies of a minute lost no less by it.
        search.begin_with(looked)
    interrupted = False
    try:
        search.run(clock, SEARCH)
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
    bags = None
    if problem.design.bagged and time is None:
        task = problem.heads[problem.lead].task
        bags = bags_of(targets, task=task, seed=settings.seed, groups=groups)
    classes = any(head.classes for head in problem.heads)
    retraining = Retraining(problem, space, candidates, clock, rate, settings.seed, settings.jobs, kept, bags, classes)
    if search.candidates:
        library = Library(problem, candidates)
        even = dict.fromkeys(range(len(candidates[:LARGEST])), 1 / len(candidates[:LARGEST]))
        networks = retraining.affordable(even)
        shares = library.shares(settings.seed, members=min(MEMBERS, max(LEAST_RECIPES, networks)))
        temperatures = library.temperatures(library.mean(shares))
    try:
        settings.tell(f"retraining {counted(len(shares), 'recipe')}", candidates[0].score, SEARCH)
        retrained = retraining.run(shares)
    except (KeyboardInterrupt, WorkersLostError) as error:
        again, shares = isinstance(error, KeyboardInterrupt), {0: 1.0}
        if interrupted and again:
            raise
        interrupted = interrupted or again
        if not again:
            warnings.warn(f"{error} One network is retrained in this process.", PoiseWarning, stacklevel=2)
        retrained = retraining.run(shares, most=1)
    best = candidates[0]
    return Fitted(
        problem, space, folds, best.plan, rate, best.config, best.best_step, candidates, search.trials, retrained.stack,
        retrained.shares, retrained.temperatures or temperatures, interrupted,
        {candidates[place].config.number: share for place, share in shares.items()}, said, search.ending.said,
        retrained.longer,
    )  # fmt: skip
