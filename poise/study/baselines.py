"""What the study must beat: the network without regularizers, with tuned dropout alone, and gradient boosting."""

from __future__ import annotations

import warnings

import numpy as np
import psutil
import threadpoolctl  # type: ignore[import-untyped]  # it ships no types
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from poise.study.bracket import Candidate
from poise.study.choices import Choices
from poise.study.cohort import Cohort, Plan
from poise.study.folds import Folds
from poise.study.labels import is_known
from poise.study.problem import Problem
from poise.study.refit import refit
from poise.study.space import Config, Space
from poise.study.workers import default_jobs, one_thread
from poise.train.stack import Stack

__all__ = ["boosting", "plain_families", "plain_networks"]

_RATES = (1e-3, 3e-3, 1e-2)
_SHARE = 50_000  # rows for each thread of boosting: for fewer, threads wait for each other as long as they work


def plain_networks(
    problem: Problem, folds: Folds, plan: Plan, seed: int, choices: Choices | None = None
) -> dict[str, Stack]:
    """Train the families of `plain_families` as one population.

    Of each family the network with the lowest validation score is retrained on all rows, as the study's own networks
    are, and returned. None stops early: that is a regularizer.
    """
    space, families = plain_families(problem, choices)
    configs = [config for own in families.values() for config in own]
    with one_thread():
        cohort = Cohort(problem, space.recipe, configs, folds, plan, seed=seed, fold_of=[0] * len(configs))
        cohort.train(plan.steps)
        scores, _ = cohort.validation()
        best, first = [], 0
        for own in families.values():
            best.append(first + int(scores[first : first + len(own)].argmin()))
            first += len(own)
        chosen = [Candidate(configs[place], float(scores[place]), torch.empty(0), plan.steps, plan) for place in best]
        stack = refit(problem, space.recipe, chosen, [0] * len(best), seed)
    return {name: stack.select(torch.tensor([place])) for place, name in enumerate(families)}


def plain_families(problem: Problem, choices: Choices | None = None) -> tuple[Space, dict[str, list[Config]]]:
    """Return the baselines: no regularizer at three learning rates, and the rival of the choices, or the design's.

    For tables that is dropout alone at four rates by three learning rates; for images flips and crops alone.
    """
    choices = choices or problem.design.choices
    space = Space(tuple({name: None for on, _, _ in choices.rival.starts for name in on}), choices=choices)
    plain = [space.config(place, (), lr=lr) for place, lr in enumerate(_RATES)]
    tuned = [
        space.config(len(plain) + place, on, dials, lr) for place, (on, dials, lr) in enumerate(choices.rival.starts)
    ]
    return space, {"unregularized network": plain, choices.rival.name: tuned}


def boosting(problem: Problem, codes: np.ndarray, inputs: np.ndarray, seed: int) -> np.ndarray:
    """Fit scikit-learn's gradient boosting to a problem's only target, class-weighted as the networks are.

    Up to 300 trees a class that stop early; 100, scikit-learn's default, where the rows are too few to set some aside.
    Shapes: codes (N,), -1 or NaN where missing, inputs (n, F) rows to predict; returns (n, K) weighted probabilities
    or (n,) standard numbers.
    """
    known, head = is_known(codes), problem.heads[0]
    codes, rows = codes[known], problem.rows.inputs.numpy()[known]
    own = None if problem.rows.weights is None else problem.rows.weights.numpy()[known]
    # It sets a tenth of the rows aside, stratified: every class needs a row there and one to learn from.
    present = np.unique(codes, return_counts=True)[1] if head.classes else np.array([len(codes)])
    stops = len(codes) >= 200 and int(present.min()) >= 2 and len(present) <= len(codes) // 10
    options = {"early_stopping": stops, "random_state": seed, "max_iter": 300 if stops else 100}
    with threadpoolctl.threadpool_limits(_threads(len(codes))):
        if not head.classes:
            model = HistGradientBoostingRegressor(**options).fit(rows, codes, sample_weight=own)
            return np.asarray(model.predict(inputs))
        if head.class_weights is not None:
            scale = head.class_weights.numpy()[codes]
            own = scale if own is None else own * scale
        with warnings.catch_warnings():
            # It takes the codes of many classes for numbers; that classes are tiny the study says of its own.
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            model = HistGradientBoostingClassifier(**options).fit(rows, codes, sample_weight=own)
        found = np.full((len(inputs), head.classes), 1e-12)
        # Where the rows have one class, it tells a second column: of none.
        found[:, model.classes_] = model.predict_proba(inputs)[:, : len(model.classes_)]
        return found


def _threads(rows: int) -> int:
    """Return how many threads boosting has: at most as many as cores are idle, and one for `_SHARE` rows.

    Its threads spin while they wait for each other. Beside one busy process, two of them on two cores took 295 seconds
    for 39,000 rows of which one thread took four.
    """
    cores = default_jobs()
    if rows < 2 * _SHARE or cores == 1:
        return 1
    idle = int(cores * (1 - psutil.cpu_percent(interval=0.2) / 100) + 0.25)
    return max(1, min(rows // _SHARE, idle))
