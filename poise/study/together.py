"""Did learning the targets together help? Each is learned alone by the same recipe, with paired seeds."""

from __future__ import annotations

import math

import numpy as np

from poise.study.ablation import FULL, ArmsPlan
from poise.study.arms import Arms, train_arms
from poise.study.fit import Fitted
from poise.study.gap import arm_of, predictions_of
from poise.study.halt import Halt
from poise.study.labels import is_known
from poise.study.metrics import METRICS, Several, measure, over_seeds
from poise.study.prepare import Prepared
from poise.study.result import Interval, Together
from poise.study.space import Space

__all__ = ["learned_alone"]


def learned_alone(
    ready: Prepared,
    space: Space,
    fitted: Fitted,
    how: ArmsPlan,
    joint: Arms,
    *,
    seed: int,
    jobs: int,
    halt: Halt | None = None,
) -> tuple[Together, ...]:
    """Return what learning together was worth for each target, on the test rows; () if `halt` cut a training short.

    A network of one target has the joint ones' seeds, rows, initial trunk, batches and draws; rows without its label
    teach it nothing. The recipe is the one that was found for all targets together. A target none of whose labels is
    in some fold's stop part is left out: nothing would say when to stop, and an untrained network is no fair rival.
    """
    found = []
    for place, target in enumerate(ready.targets):
        known = is_known(ready.codes[place][ready.development])
        if not all(known[stop > 0].any() for stop in fitted.folds.stop.numpy()):
            continue
        one = ready.alone(place)
        arms = train_arms(
            one.problem, space.recipe, {FULL: fitted.best}, fitted.folds, how.plan,
            seeds=how.seeds, seed=seed, jobs=jobs, halt=halt,
        )  # fmt: skip
        if halt is not None and halt.due():
            return ()  # networks of fewer steps are no fair rivals
        metric = METRICS[target.task][0]
        rows = ready.parts.test[is_known(one.codes[0][ready.parts.test])]
        both = [_scores(own, arms_of, rows, metric.name, target.name) for own, arms_of in ((ready, joint), (one, arms))]
        gains = both[1] - both[0]  # lower is better for the first metric of every task
        gain = over_seeds(gains) or Interval(float(np.mean(gains)), -math.inf, math.inf)
        verdict = "helps" if gain.low > 0 else "hurts" if gain.high < 0 else "no measurable effect"
        means = [float(np.mean(scores)) for scores in both]
        found.append(Together(target.name, metric, means[0], means[1], gain, tuple(float(g) for g in gains), verdict))
    return tuple(found)


def _scores(ready: Prepared, arms: Arms, rows: np.ndarray, metric: str, target: str) -> np.ndarray:
    """Return the recipe's score in one target on rows that know it, (seeds,)."""
    found = []
    for member in arms.members(FULL):
        own = predictions_of(ready, arm_of(ready, arms, member), rows)
        found.append(measure(metric, own.parts[target] if isinstance(own, Several) else own))
    return np.array(found)
