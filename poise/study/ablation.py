"""What each part is worth: leave one out and add one in, retrained with paired seeds as one population."""

from __future__ import annotations

import math

import numpy as np

from poise.study.arms import Arms
from poise.study.metrics import over_seeds
from poise.study.result import Contribution, Interval
from poise.study.space import Config, Space

__all__ = ["FULL", "NOTHING", "ablation_arms", "contributions"]

FULL, NOTHING = "recipe", "nothing"


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

    Seeds whose difference is not finite (an arm diverged) are left out, and fewer than two say nothing.

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
        leave = over_seeds(out) or Interval(middle, -math.inf, math.inf)
        single = over_seeds(alone)
        verdict = "helps" if leave.low > 0 else "hurts" if leave.high < 0 else "no measurable effect"
        if verdict == "no measurable effect" and single is not None and single.low > 0:
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
