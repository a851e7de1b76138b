"""The study behind the figure `which_one`: arms that differ in one part, trained and judged by the study engine.

Apart from the figure, because the study engine takes two seconds to import and the figure at rest does not need it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
import torch

from poise.core.interval import Interval
from poise.data import read
from poise.lab.figures.which_one import PARTS, USUAL, Part, Scores
from poise.study.ablation import ablation_arms, contributions
from poise.study.arms import Arms, train_arms
from poise.study.cohort import Plan
from poise.study.folds import make_folds
from poise.study.gap import model_of, predictions_of
from poise.study.metrics import measure, metrics_of
from poise.study.prepare import Prepared, prepare
from poise.study.space import Config, Space
from poise.study.table_network import Design

__all__ = ["made_table", "metric_of", "scores_of_seed", "worth"]

PLAN = Plan(steps=120, batch=32, every=12)


def made_table() -> pd.DataFrame:
    """Return 160 rows of 20 columns of which four matter."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((160, 20))
    y = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + x[:, 3] + 0.5 * generator.standard_normal(160)
    return pd.DataFrame(x.round(3), columns=[f"x{place}" for place in range(20)]).assign(y=y.round(3))


@lru_cache(maxsize=3)
def _ready(name: str) -> Prepared:
    table = read(made_table(), target="y") if name == "made" else read(name)
    design = Design(width=24, depth=2, embedding="none")
    return prepare(table, seed=0, task=None, groups=None, time=None, class_weight=None, design=design)


def _arms(ready: Prepared, strength: str) -> tuple[Space, Config, dict[str, Config]]:
    space = Space(PARTS, classification=ready.targets[0].task == "classification")
    values = {key: float(strength) * value for key, value in USUAL.items()}
    best = space.config(0, PARTS, values, lr=1e-2)
    return space, best, ablation_arms(space, best, add_in=True)


def scores_of_seed(name: str, strength: str, seed: int) -> dict[str, float]:
    """Train every arm once, as one population of the study engine; return each one's score on held-out rows."""
    ready = _ready(name)
    space, _, arms = _arms(ready, strength)
    folds = make_folds(ready.strata, task=ready.targets[0].task, count=3, seed=seed)
    trained = train_arms(ready.problem, space.recipe, arms, folds, PLAN, seeds=1, seed=seed, jobs=1)
    held = ready.development[folds.validation[0].numpy() > 0]
    metric = metrics_of(ready.targets)[0].name
    found = {}
    for place, label in enumerate(trained.labels):
        model = model_of(ready, trained.stack.select(torch.tensor([place])))
        found[label] = float(measure(metric, predictions_of(ready, model, held)))
    return found


def worth(name: str, strength: str, scores: Scores) -> list[Part]:
    """Return what each part was worth, as a study says it."""
    _, best, _ = _arms(_ready(name), strength)
    arms = Arms(tuple(scores), 1, (0,), None, torch.zeros(1), (), {})  # type: ignore[arg-type]  # the scores tell all
    found = contributions(best, arms, {label: np.array(values) for label, values in scores.items()})
    return [
        Part(one.part, one.add_in or Interval(one.add_in_seeds[0], -np.inf, np.inf), one.add_in_seeds,
             one.leave_out, one.leave_out_seeds, one.verdict)
        for one in sorted(found, key=lambda part: PARTS.index(part.part))
    ]  # fmt: skip


def metric_of(name: str) -> str:
    """Return the name of the score."""
    return metrics_of(_ready(name).targets)[0].label
