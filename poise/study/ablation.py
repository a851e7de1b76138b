"""What each part is worth: leave one out and add one in, retrained with paired seeds as one population."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from poise.study.arms import Arms, train_arms
from poise.study.cohort import Plan
from poise.study.fit import Fitted
from poise.study.gap import arm_of, predictions_of
from poise.study.halt import Halt
from poise.study.metrics import Several, measure, metrics_of, over_seeds
from poise.study.prepare import Prepared
from poise.study.result import Contribution, Interval, Strength
from poise.study.space import Config, Space
from poise.study.strengths import strength_arms, strengths

__all__ = ["FULL", "NOTHING", "ArmsPlan", "ablate", "ablation_arms", "arms_plan", "contributions"]

FULL = "recipe"  # the label of the arm with every part
NOTHING = "nothing"  # the label of the arm with none

_SEEDS, _MOST_SEEDS = 5, 15


@dataclass(frozen=True)
class ArmsPlan:
    """How the arms are trained: `seeds` networks an arm; `parts` whether each is left out; `add_in`, also alone.

    `points` is how many values each dial is swept over.
    """

    plan: Plan
    seeds: int
    parts: bool
    add_in: bool
    points: int
    arms: int

    @property
    def message(self) -> str:
        """What the progress line says."""
        return f"retraining {self.arms} arms x {self.seeds} seeds for the ablation and the strengths"

    def note(self, searched: Plan, cut: int | None = None) -> str:
        """Return what is to be said where the budget let the arms train for less than the search's networks.

        `cut` is the step at which a halt ended them, if one did.
        """
        steps = self.plan.steps if cut is None else cut
        if steps >= searched.steps:
            return ""
        return (
            f"the ablation's networks trained for {steps} steps, cut short by the budget: the recipe was "
            f"searched with {searched.steps}. What the gap and the parts are said to be holds for so short a training; "
            "give a larger budget."
        )


def arms_plan(fitted: Fitted, seconds: float, jobs: int, *, ablation: bool) -> ArmsPlan:
    """Return what fits into the time: fewer seeds (5 to 3), coarser sweeps, no part alone, no sweep, less training.

    Where half the time would be left, it goes into more seeds, up to 15: the intervals are then half as wide.
    """
    parts = len(fitted.best.on) if ablation else 0
    swept = len(fitted.space.searched(fitted.best.on)) if ablation else 0
    alone = len(fitted.temperatures) if len(fitted.temperatures) > 1 else 0  # each of several targets by itself
    plan, seeds, add_in, points = fitted.plan, _SEEDS, True, 7
    cost = fitted.rate  # seconds of one step of one network

    def arms() -> int:
        return 2 + alone + parts * (2 if add_in else 1) + swept * points

    def fits(seeds: int, share: float = 1.0) -> bool:
        # Workers divide the seeds among them: of five seeds, a worker of two trains three, and a sixth worker none.
        return cost * plan.steps * arms() * math.ceil(seeds / jobs) <= seconds * share

    while cost and not fits(seeds) and (seeds > 3 or add_in or points or plan.steps > 60):
        if points > 5:
            points = 5
        elif seeds > 3:
            seeds -= 1
        elif points > 3:
            points -= 1
        elif add_in:
            add_in = False
        elif points:
            points = 0
        else:
            steps = max(60, plan.steps * 2 // 3)
            plan = replace(plan, steps=steps, every=max(1, steps // 24), rungs=())
    seeds = max(seeds, min(_SEEDS, math.ceil(seeds / jobs) * jobs))  # those that take no longer
    while cost and math.isfinite(seconds) and _SEEDS <= seeds < _MOST_SEEDS and fits(seeds + 1, share=0.5):
        seeds += 1
    return ArmsPlan(plan, seeds, parts > 0, add_in, points, arms())


def ablate(
    ready: Prepared, space: Space, fitted: Fitted, how: ArmsPlan, *, seed: int, jobs: int, halt: Halt | None = None
) -> tuple[Arms, tuple[Contribution, ...], tuple[Strength, ...]]:
    """Retrain the recipe, nothing, the parts and their strengths with paired seeds, as one population.

    Returns the arms, each part's worth, and each dial's curve. Of several targets, a fold's mean loss is that of the
    targets of which it has a label: differences are of one fold, so all arms are measured by the same ones.
    """
    arms = ablation_arms(space, fitted.best, add_in=how.add_in) | strength_arms(space, fitted.best, how.points)
    if not how.parts:
        arms = {label: arms[label] for label in (FULL, NOTHING)}
    trained = train_arms(
        ready.problem, space.recipe, arms, fitted.folds, how.plan, seeds=how.seeds, seed=seed, jobs=jobs, halt=halt
    )
    metric = metrics_of(ready.targets)[0].name
    scores = {}
    for label in trained.labels:
        found = []
        for member, fold in zip(trained.members(label), trained.fold, strict=True):
            rows = ready.development[fitted.folds.validation[fold].numpy() > 0]
            seen = predictions_of(ready, arm_of(ready, trained, member), rows)
            found.append(measure(metric, seen.of_known() if isinstance(seen, Several) else seen))
        scores[label] = np.array(found)
    if not how.parts:
        return trained, (), ()
    worth = contributions(fitted.best, trained, scores)
    return trained, worth, strengths(space, fitted.best, arms, scores, FULL)


def ablation_arms(space: Space, best: Config, *, add_in: bool) -> dict[str, Config]:
    """Return the arms: the recipe, nothing, each part at neutral, and (add_in) each part alone."""
    arms = {FULL: best, NOTHING: space.config(best.number, (), lr=best.lr)}
    for part in best.on:
        arms[f"without {part}"] = space.config(best.number, [p for p in best.on if p != part], best.dials, best.lr)
    for part in best.on if add_in else ():
        arms[f"only {part}"] = space.config(best.number, [part], best.dials, best.lr)
    return arms


def contributions(best: Config, arms: Arms, scores: dict[str, np.ndarray]) -> tuple[Contribution, ...]:
    """Return each part's worth from the arms' validation scores (seeds,), lower is better, paired by seed.

    Seeds whose difference is not finite (an arm diverged) are left out; fewer than two say nothing: "not measured".

    A part "helps" if the interval of its leave-one-out difference lies above 0, "hurts" if below. If leaving it out
    changes nothing measurable but it helps when it is alone, others do its work: "replaceable". Otherwise it had "no
    measurable effect", which is said as plainly.
    """
    found = []
    for part in best.on:
        out = scores[f"without {part}"] - scores[FULL]
        alone = scores[NOTHING] - scores[f"only {part}"] if f"only {part}" in scores else np.array([])
        measured = out[np.isfinite(out)]
        middle = float(measured.mean()) if len(measured) else 0.0
        known = over_seeds(out)
        leave = known or Interval(middle, -math.inf, math.inf)
        single = over_seeds(alone)
        verdict = "helps" if leave.low > 0 else "hurts" if leave.high < 0 else "no measurable effect"
        if known is None:
            verdict = "not measured"
        elif verdict == "no measurable effect" and single is not None and single.low > 0:
            verdict = "replaceable"
        found.append(
            Contribution(
                part,
                leave,
                tuple(float(v) for v in out),
                single,
                tuple(float(v) for v in alone),
                verdict,
            )
        )
    return tuple(sorted(found, key=lambda item: -item.leave_out.value))
