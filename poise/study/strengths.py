"""How strong each part should be: every dial of the recipe swept over its range, retrained with paired seeds.

The sweep is part of the ablation's population: the same seeds, rows and steps, so that a curve's differences from the
recipe are paired, and the part left out is the curve's neutral end.
"""

from __future__ import annotations

import math

import numpy as np

from poise.study.metrics import over_seeds
from poise.study.result import Interval, Strength
from poise.study.space import Config, Space

__all__ = ["strength_arms", "strengths"]


def strength_arms(space: Space, best: Config, points: int) -> dict[str, Config]:
    """Return the recipe with one dial at each of `points` values of its range, for every dial that a search moves."""
    arms = {}
    for key in space.searched(best.on) if points else ():
        low, high = space.range_of(key)
        grid = np.geomspace(low, high, points) if space.is_log(key) else np.linspace(low, high, points)
        for value in (float(f"{value:.4g}") for value in grid):
            if _steps_apart(value, best.dials[key], low, high, space.is_log(key)) * (points - 1) > 1 / 3:
                arms[f"{key} = {value:g}"] = space.config(best.number, best.on, best.dials | {key: value}, best.lr)
    return arms


def _steps_apart(value: float, chosen: float, low: float, high: float, log: bool) -> float:
    """Return the distance as a share of the range: the chosen value itself is trained already."""
    if log:
        return abs(math.log(value / chosen)) / math.log(high / low)
    return abs(value - chosen) / (high - low)


def strengths(
    space: Space, best: Config, arms: dict[str, Config], scores: dict[str, np.ndarray], recipe: str
) -> tuple[Strength, ...]:
    """Return each dial's curve from the arms' validation scores (seeds,), lower is better.

    A value at which fewer than two seeds stayed finite is left out. `recipe` is the label of the recipe's own arm.
    """
    found = []
    for key in space.searched(best.on):
        points = [(arms[label].dials[key], label) for label in arms if label.startswith(f"{key} = ")]
        if not points:
            continue
        part = key.split(".")[0]
        neutral = space.declared[key].neutral
        # The part left out is the neutral end only where nothing else of the part could have mattered.
        alone = [other for other in space.searched(best.on) if other.split(".")[0] == part] == [key]
        if alone and math.isfinite(neutral) and f"without {part}" in scores:
            points.append((neutral, f"without {part}"))
        points.append((best.dials[key], recipe))
        values, changes, seeds = [], [], []
        for value, label in sorted(points):
            change = scores[label] - scores[recipe]
            interval = Interval(0.0, 0.0, 0.0) if label == recipe else over_seeds(change)
            if interval is not None:
                values.append(value)
                changes.append(interval)
                seeds.append(tuple(float(one) for one in change))
        found.append(Strength(key, space.is_log(key), best.dials[key], tuple(values), tuple(changes), tuple(seeds)))
    return tuple(found)
