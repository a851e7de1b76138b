"""The arms: each one is loaded first (imports, not timed) and then fitted on the training rows (timed)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tables_data import Prediction, Problem

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ARMS", "OWN", "PACKAGES", "REFERENCE", "THREADS", "UNBUDGETED", "Fit", "Predict", "load_arm"]

Predict = Callable[["pd.DataFrame"], Prediction]
Fit = Callable[[Problem, float], tuple[Predict, dict[str, Any]]]  # (problem, seconds) -> predictor, notes

THREADS = 2
REFERENCE = "poise"
ARMS = ("poise", "dropout", "unregularized", "boosting", "catboost", "realmlp", "tabm", "linear")
UNBUDGETED = frozenset({"realmlp", "tabm", "linear"})  # they take the time that their defaults take

# None stands for poise's own choice of parts.
POISE_PARTS: dict[str, tuple[str, ...] | None] = {"poise": None, "dropout": ("dropout",), "unregularized": ()}
OWN = frozenset(POISE_PARTS)
"""The arms that are this project's, and train in worker processes."""

PACKAGES = {
    "poise": ("torch", "numpy", "pandas", "scikit-learn"),
    "dropout": ("torch", "numpy", "pandas", "scikit-learn"),
    "unregularized": ("torch", "numpy", "pandas", "scikit-learn"),
    "boosting": ("lightgbm", "optuna", "numpy", "pandas", "scikit-learn"),
    "catboost": ("catboost", "optuna", "numpy", "pandas", "scikit-learn"),
    "tabm": ("pytabkit", "pytorch-lightning", "torch", "numpy", "pandas", "scikit-learn"),
    "realmlp": ("pytabkit", "pytorch-lightning", "torch", "numpy", "pandas", "scikit-learn"),
    "linear": ("numpy", "pandas", "scikit-learn"),
}


def load_arm(name: str) -> Fit:
    """Import what an arm needs and return its fit function."""
    if name in POISE_PARTS:
        return load_poise(POISE_PARTS[name])
    loaders = {"boosting": load_boosting, "catboost": load_catboost, "linear": load_linear}
    loaders |= {"realmlp": load_realmlp, "tabm": load_tabm}
    if name not in loaders:
        raise ValueError(f"--arms must name some of {', '.join(ARMS)}; got {name!r}.")
    return loaders[name]()


def load_poise(parts: tuple[str, ...] | None) -> Fit:
    """The three arms of this project: the same network and search, with a different choice of parts."""
    import torch

    import poise

    torch.set_num_threads(THREADS)

    def fit(problem: Problem, seconds: float) -> tuple[Predict, dict[str, Any]]:
        options: dict[str, Any] = {"budget": f"{seconds:g}s", "seed": problem.split}
        if parts is not None:
            options["parts"] = parts
        if not problem.is_classification:
            regressor = poise.Regressor(**options).fit(problem.train_features, problem.train_target)
            return lambda test: Prediction(np.asarray(regressor.predict(test))), {}
        classifier = poise.Classifier(class_weight="balanced", **options)
        classifier.fit(problem.train_features, problem.train_target)
        require_order(classifier.classes_, problem)

        def predict(test: pd.DataFrame) -> Prediction:
            return Prediction(np.asarray(classifier.predict(test)), np.asarray(classifier.predict_proba(test)))

        return predict, {}

    return fit


def load_boosting() -> Fit:
    """LightGBM with balanced weights, tuned by Optuna; see tables_boosting.py."""
    from tables_boosting import fit_boosting

    def fit(problem: Problem, seconds: float) -> tuple[Predict, dict[str, Any]]:
        return fit_boosting(
            problem.train_features, problem.train_target, problem.classes, seconds, problem.split, THREADS
        )

    return fit


def load_catboost() -> Fit:
    """CatBoost with balanced weights, tuned by Optuna; see tables_catboost.py."""
    from tables_catboost import fit_catboost

    def fit(problem: Problem, seconds: float) -> tuple[Predict, dict[str, Any]]:
        return fit_catboost(
            problem.train_features, problem.train_target, problem.classes, seconds, problem.split, THREADS
        )

    return fit


def load_realmlp() -> Fit:
    """RealMLP-TD at its package's defaults: 256 epochs, its own 20 % for validation, no class weights."""
    from pytabkit import RealMLP_TD_Classifier, RealMLP_TD_Regressor

    return of_pytabkit(RealMLP_TD_Classifier, RealMLP_TD_Regressor)


def load_tabm() -> Fit:
    """TabM at its package's defaults: 32 members, its own 20 % for early stopping, no class weights."""
    from pytabkit import TabM_D_Classifier, TabM_D_Regressor

    return of_pytabkit(TabM_D_Classifier, TabM_D_Regressor)


def of_pytabkit(classifier: Any, regressor: Any) -> Fit:
    """A network of pytabkit at its defaults; it refuses missing numbers, so these become the column's median."""
    import torch

    torch.set_num_threads(THREADS)

    def fit(problem: Problem, seconds: float) -> tuple[Predict, dict[str, Any]]:
        medians = problem.train_features.median(numeric_only=True)
        make = classifier if problem.is_classification else regressor
        model = make(device="cpu", random_state=problem.split, n_threads=THREADS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(problem.train_features.fillna(medians), problem.train_target.to_numpy())
        if problem.is_classification:
            require_order(model.classes_, problem)

        def predict(test: pd.DataFrame) -> Prediction:
            filled = test.fillna(medians)
            if not problem.is_classification:
                return Prediction(np.asarray(model.predict(filled)).reshape(-1))
            probabilities = np.asarray(model.predict_proba(filled))
            return Prediction(np.array(problem.classes)[probabilities.argmax(axis=1)], probabilities)

        return predict, {}

    return fit


def load_linear() -> Fit:
    """Logistic or ridge regression on one-hot columns: the floor, and the arm of the smoke run."""
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    def fit(problem: Problem, seconds: float) -> tuple[Predict, dict[str, Any]]:
        columns = make_column_transformer(
            (
                make_pipeline(SimpleImputer(strategy="median"), StandardScaler()),
                make_column_selector(dtype_include="number"),
            ),
            (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include="category")),
        )
        head = LogisticRegression(max_iter=1000) if problem.is_classification else Ridge()
        model = make_pipeline(columns, head).fit(problem.train_features, problem.train_target)

        def predict(test: pd.DataFrame) -> Prediction:
            if not problem.is_classification:
                return Prediction(model.predict(test))
            return Prediction(model.predict(test), model.predict_proba(test))

        return predict, {}

    return fit


def require_order(classes: Any, problem: Problem) -> None:
    """Refuse an arm whose probability columns are not in the order of the sorted labels."""
    if tuple(map(str, classes)) != problem.classes:
        raise ValueError(f"classes_ must be {problem.classes}; got {tuple(classes)}.")
