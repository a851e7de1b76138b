"""Gradient boosting as a fair rival: LightGBM with balanced class weights, tuned by Optuna inside the same clock."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import lightgbm
import numpy as np
import optuna
import pandas as pd
from lightgbm.callback import CallbackEnv, EarlyStopException
from sklearn.model_selection import train_test_split
from sklearn.utils.class_weight import compute_sample_weight

from tables_data import Prediction

__all__ = ["fit_boosting"]

VALIDATION_SHARE = 0.25
MOST_TREES = 5000
PATIENCE = 50
# The refit sees 4/3 of the rows; the rest is room for a machine that is busier then.
REFIT_ALLOWANCE = 2.0


@dataclass(eq=False)  # LightGBM keeps its callbacks in a set
class Watch:
    """LightGBM callback: remembers the best iteration, and stops a trial that is stale or out of time."""

    end: float
    reserved: float  # seconds that the refit of the best trial so far may take
    start: float = field(default_factory=time.perf_counter)
    best_score: float = float("inf")
    best_iteration: int = 0
    seconds_to_best: float = 0.0

    def __call__(self, env: CallbackEnv) -> None:
        results = env.evaluation_result_list or []
        now, score = time.perf_counter(), float(results[0][2])
        if score < self.best_score:
            self.best_score, self.best_iteration, self.seconds_to_best = score, env.iteration + 1, now - self.start
        stale = env.iteration + 1 - self.best_iteration >= PATIENCE
        # Whichever trial wins must still be refitted, this one included.
        late = now + max(self.reserved, REFIT_ALLOWANCE * self.seconds_to_best) > self.end
        if stale or late:
            raise EarlyStopException(env.iteration, results)


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """Draw one setting from the search space."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
        "num_leaves": trial.suggest_int("num_leaves", 4, 256, log=True),
        "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 1, 128, log=True),
        "feature_fraction": trial.suggest_float("feature_fraction", 0.3, 1.0),
        "bagging_fraction": trial.suggest_float("bagging_fraction", 0.5, 1.0),
        "bagging_freq": 1,
        "lambda_l1": trial.suggest_float("lambda_l1", 1e-8, 10.0, log=True),
        "lambda_l2": trial.suggest_float("lambda_l2", 1e-8, 10.0, log=True),
        "cat_smooth": trial.suggest_float("cat_smooth", 1.0, 100.0, log=True),
        "cat_l2": trial.suggest_float("cat_l2", 0.1, 100.0, log=True),
    }


# LightGBM's own defaults go first, so that the search can only improve on them (on its validation rows).
DEFAULTS = {
    "learning_rate": 0.1,
    "num_leaves": 31,
    "min_data_in_leaf": 20,
    "feature_fraction": 1.0,
    "bagging_fraction": 1.0,
    "lambda_l1": 1e-8,
    "lambda_l2": 1e-8,
    "cat_smooth": 10.0,
    "cat_l2": 10.0,
}


def fit_boosting(
    features: pd.DataFrame, target: pd.Series, classes: tuple[str, ...], seconds: float, seed: int, threads: int
) -> tuple[Callable[[pd.DataFrame], Prediction], dict[str, Any]]:
    """Search for `seconds`, refit on every row with the best iteration count; returns the predictor and notes."""
    start = time.perf_counter()
    end = start + seconds
    columns = [f"c{index}" for index in range(features.shape[1])]  # LightGBM refuses some characters in names
    frame = features.set_axis(columns, axis=1)
    labels = np.searchsorted(np.array(classes), target.to_numpy(dtype=str)) if classes else target.to_numpy()
    weights = compute_sample_weight("balanced", labels) if classes else np.ones(len(labels))
    fixed = objective(classes) | {"num_threads": threads, "seed": seed, "verbosity": -1, "feature_pre_filter": False}

    rows = np.arange(len(labels))
    train, validation = train_test_split(
        rows, test_size=VALIDATION_SHARE, random_state=seed, stratify=labels if classes else None
    )
    train_set = lightgbm.Dataset(frame.iloc[train], labels[train], weight=weights[train], params=fixed)
    validation_set = train_set.create_valid(frame.iloc[validation], labels[validation], weight=weights[validation])

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.enqueue_trial(DEFAULTS)
    best = Watch(end, 0.0)
    best_parameters: dict[str, Any] = {}
    trials = 0
    while not trials or time.perf_counter() + REFIT_ALLOWANCE * best.seconds_to_best < end:
        trial = study.ask()
        parameters = fixed | suggest(trial)
        watch = Watch(end, REFIT_ALLOWANCE * best.seconds_to_best)
        lightgbm.train(
            parameters,
            train_set,
            MOST_TREES,
            valid_sets=[validation_set],
            callbacks=[watch],
            keep_training_booster=True,  # otherwise every trial is written out as text and read back
        )
        study.tell(trial, watch.best_score)
        trials += 1
        if watch.best_score < best.best_score:
            best, best_parameters = watch, parameters

    every_row = lightgbm.Dataset(frame, labels, weight=weights, params=fixed)
    model = lightgbm.train(best_parameters, every_row, best.best_iteration)
    share = np.bincount(labels, minlength=len(classes)) / len(labels) if classes else np.empty(0)

    def predict(test: pd.DataFrame) -> Prediction:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            output = np.asarray(model.predict(test.set_axis(columns, axis=1), num_threads=threads))
        if not classes:
            return Prediction(output)
        weighted = np.column_stack([1 - output, output]) if output.ndim == 1 else output
        # Balanced weights multiply each class's odds by 1 / share; multiplying by the share undoes that.
        honest = weighted * share
        honest /= honest.sum(axis=1, keepdims=True)
        return Prediction(np.array(classes)[weighted.argmax(axis=1)], honest)

    notes = {"trials": trials, "trees": best.best_iteration, "validation": best.best_score}
    return predict, notes


def objective(classes: tuple[str, ...]) -> dict[str, Any]:
    """The loss, which with sample weights is also what early stopping and Optuna minimise."""
    if not classes:
        return {"objective": "regression", "metric": "rmse"}
    if len(classes) == 2:
        return {"objective": "binary", "metric": "binary_logloss"}
    return {"objective": "multiclass", "metric": "multi_logloss", "num_class": len(classes)}
