"""CatBoost with balanced class weights, tuned by Optuna inside the same clock; the twin of tables_boosting.py."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pandas as pd
from catboost import CatBoostClassifier, CatBoostRegressor, Pool
from sklearn.model_selection import train_test_split
from sklearn.utils.class_weight import compute_sample_weight

from tables_data import Prediction

__all__ = ["fit_catboost"]

VALIDATION_SHARE = 0.25
MOST_TREES = 5000
PATIENCE = 50
REFIT_ALLOWANCE = 2.0  # the refit sees 4/3 of the rows; the rest is room for a machine that is busier then

DEFAULTS = {
    "learning_rate": 0.08,
    "depth": 6,
    "l2_leaf_reg": 3.0,
    "random_strength": 1.0,
    "bagging_temperature": 1.0,
    "one_hot_max_size": 2,
}


class Deadline:
    """CatBoost callback: ends a trial that would leave no time for the refit of the best one."""

    def __init__(self, end: float, reserved: float) -> None:
        self.end, self.reserved, self.start = end, reserved, time.perf_counter()

    def after_iteration(self, info: Any) -> bool:
        now = time.perf_counter()
        return now + max(self.reserved, REFIT_ALLOWANCE * (now - self.start)) < self.end


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """Draw one setting from the search space."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
        "depth": trial.suggest_int("depth", 3, 9),
        "l2_leaf_reg": trial.suggest_float("l2_leaf_reg", 0.5, 50.0, log=True),
        "random_strength": trial.suggest_float("random_strength", 0.1, 10.0, log=True),
        "bagging_temperature": trial.suggest_float("bagging_temperature", 0.0, 2.0),
        "one_hot_max_size": trial.suggest_int("one_hot_max_size", 2, 25),
    }


def fit_catboost(
    features: pd.DataFrame, target: pd.Series, classes: tuple[str, ...], seconds: float, seed: int, threads: int
) -> tuple[Callable[[pd.DataFrame], Prediction], dict[str, Any]]:
    """Search for `seconds`, refit on every row with the best number of trees; returns the predictor and notes."""
    end = time.perf_counter() + seconds
    categorical = [name for name in features if isinstance(features[name].dtype, pd.CategoricalDtype)]

    def as_text(frame: pd.DataFrame) -> pd.DataFrame:
        # CatBoost refuses missing categories.
        return frame.assign(**{name: frame[name].astype(object).fillna("missing").astype(str) for name in categorical})

    frame = as_text(features)
    labels = np.searchsorted(np.array(classes), target.to_numpy(dtype=str)) if classes else target.to_numpy()
    weights = compute_sample_weight("balanced", labels) if classes else np.ones(len(labels))
    train, validation = train_test_split(
        np.arange(len(labels)), test_size=VALIDATION_SHARE, random_state=seed, stratify=labels if classes else None
    )
    pools = [Pool(frame.iloc[rows], labels[rows], categorical, weight=weights[rows]) for rows in (train, validation)]
    kind = CatBoostClassifier if classes else CatBoostRegressor
    loss = ("MultiClass" if len(classes) > 2 else "Logloss") if classes else "RMSE"
    fixed = {"loss_function": loss, "thread_count": threads, "random_seed": seed, "verbose": False,
             "allow_writing_files": False, "bootstrap_type": "Bayesian"}  # fmt: skip

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.enqueue_trial(DEFAULTS)
    best, best_settings, trees, took = float("inf"), DEFAULTS, 1, 0.0
    trials = 0
    while not trials or time.perf_counter() + REFIT_ALLOWANCE * took < end:
        trial = study.ask()
        settings = suggest(trial)
        began = time.perf_counter()
        model = kind(**fixed, **settings, iterations=MOST_TREES)
        model.fit(
            pools[0],
            eval_set=pools[1],
            early_stopping_rounds=PATIENCE,
            callbacks=[Deadline(end, REFIT_ALLOWANCE * took)],
        )
        score = float(model.get_best_score()["validation"][loss])
        study.tell(trial, score)
        trials += 1
        if score < best:
            best, best_settings, trees = score, settings, max(1, model.get_best_iteration() + 1)
            took = (time.perf_counter() - began) * trees / max(1, model.tree_count_)
    final = kind(**fixed, **best_settings, iterations=trees)
    final.fit(Pool(frame, labels, categorical, weight=weights))
    share = np.bincount(labels, minlength=len(classes)) / len(labels) if classes else np.empty(0)

    def predict(test: pd.DataFrame) -> Prediction:
        if not classes:
            return Prediction(np.asarray(final.predict(as_text(test))))
        weighted = np.asarray(final.predict_proba(as_text(test)))
        # Balanced weights multiply each class's odds by 1 / share; multiplying by the share undoes that.
        honest = weighted * share
        honest /= honest.sum(axis=1, keepdims=True)
        return Prediction(np.array(classes)[weighted.argmax(axis=1)], honest)

    return predict, {"trials": trials, "trees": trees, "validation": best}
