"""What the study must beat: the network without regularizers, with tuned dropout alone, and gradient boosting."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from poise.study.cohort import Cohort, Plan
from poise.study.folds import Folds
from poise.study.problem import Problem
from poise.study.space import Config, Space
from poise.study.workers import one_thread
from poise.train.stack import Stack

__all__ = ["boosting", "plain_networks"]

_RATES = (1e-3, 3e-3, 1e-2)
_DROPS = (0.1, 0.25, 0.4, 0.6)


def plain_networks(problem: Problem, folds: Folds, plan: Plan, seed: int) -> dict[str, Stack]:
    """Train the unregularized network at three learning rates, and dropout at four rates by three learning rates.

    Of each family the network with the lowest validation score is returned. None stops early: that is a regularizer.
    """
    space = Space(("dropout",), classification=problem.classes is not None)
    plain = [Config(place, {"dropout.p": 0.0}, lr, ()) for place, lr in enumerate(_RATES)]
    tuned = [
        Config(len(plain) + place, {"dropout.p": p}, lr, ("dropout",))
        for place, (p, lr) in enumerate((p, lr) for p in _DROPS for lr in _RATES)
    ]
    configs = plain + tuned
    with one_thread():
        cohort = Cohort(problem, space.recipe, configs, folds, plan, seed=seed, fold_of=[0] * len(configs))
        cohort.train(plan.steps)
        scores, _ = cohort.validation()
    stack = cohort.population.stack()
    best_plain = int(scores[: len(plain)].argmin())
    best_tuned = len(plain) + int(scores[len(plain) :].argmin())
    return {
        "unregularized network": stack.select(torch.tensor([best_plain])),
        "tuned dropout": stack.select(torch.tensor([best_tuned])),
    }


def boosting(problem: Problem, codes: np.ndarray, inputs: np.ndarray, seed: int) -> np.ndarray:
    """Fit scikit-learn's gradient boosting on the development rows, class-weighted as the networks are.

    Shapes: codes (N,), inputs (n, F) rows to predict; returns (n, K) weighted probabilities or (n,) standard numbers.
    """
    own = None if problem.rows.weights is None else problem.rows.weights.numpy()
    options = {"early_stopping": len(codes) >= 200, "random_state": seed, "max_iter": 300}
    if not problem.classes:
        model = HistGradientBoostingRegressor(**options).fit(problem.rows.inputs.numpy(), codes, sample_weight=own)
        return np.asarray(model.predict(inputs))
    if problem.decision_weights is not None:
        scale = problem.decision_weights[codes]
        own = scale if own is None else own * scale
    model = HistGradientBoostingClassifier(**options).fit(problem.rows.inputs.numpy(), codes, sample_weight=own)
    found = np.full((len(inputs), problem.classes), 1e-12)
    found[:, model.classes_] = model.predict_proba(inputs)
    return found
