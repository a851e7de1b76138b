"""`poise.Classifier` and `poise.Regressor`: a searched recipe behind scikit-learn's contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from poise.core.errors import ArgumentError, DataError, shown
from poise.core.recipe import Recipe
from poise.data import Encoder, Target
from poise.data.frames import as_frame
from poise.study.clock import Clock, parse_budget
from poise.study.fit import Fitted, Settings, fit
from poise.study.problem import Design, Problem
from poise.study.space import Space
from poise.study.table_model import TableModel, plan_of
from poise.study.workers import default_jobs

__all__ = ["Classifier", "Regressor"]


class _TableEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    _task: str

    def __init__(
        self,
        budget: str | float = "60s",
        seed: int = 0,
        parts: Sequence[str] | None = None,
        device: str = "auto",
        jobs: int | None = None,
        width: int = 128,
        depth: int = 3,
        embedding: str = "piecewise",
    ) -> None:
        self.budget = budget
        self.seed = seed
        self.parts = parts
        self.device = device
        self.jobs = jobs
        self.width = width
        self.depth = depth
        self.embedding = embedding

    def _train(self, X: object, y: object, sample_weight: object, groups: object, weights: Any) -> None:
        frame = as_frame(X)
        target = Target.fit(y, task=self._task)
        if len(frame) != len(np.asarray(y)):
            raise DataError(f"X has {len(frame)} rows and y has {len(np.asarray(y))}: they must have one length.")
        codes = target.encode(y)
        own = _row_weights(sample_weight, len(frame))
        self.n_features_in_ = frame.shape[1]
        if isinstance(X, pd.DataFrame):
            self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        self._target = target
        classes = len(target.classes) if self._task == "classification" else None
        encoder = Encoder().fit(X, y, own)
        self._encoder = encoder
        if classes == 1:
            self.model_ = None
            return
        class_weights = target.class_weights(weights) if classes and weights is not None else None
        design = Design(width=self.width, depth=self.depth, embedding=self.embedding)
        problem = Problem.of(
            encoder.transform(X),
            codes,
            task=self._task,
            classes=classes,
            plan=plan_of(encoder),
            class_weights=class_weights,
            weights=own,
            design=design,
        )
        space = Space(self.parts, classification=classes is not None)
        clock = Clock(parse_budget(self.budget))
        jobs = self.jobs or (default_jobs() if clock.budget.seconds >= 15 and clock.budget.trials > 30 else 1)
        labels = None if groups is None else pd.factorize(np.asarray(groups))[0]
        fitted = fit(problem, codes, space, clock, Settings(self.seed, jobs), groups=labels)
        self.fitted_: Fitted = fitted
        self.recipe_: Recipe = space.recipe_of(fitted.best)
        network_parts = Recipe(*space.recipe.stage("network"))
        self.model_ = TableModel(
            fitted.stack,
            fitted.shares,
            fitted.temperature,
            None if problem.class_weights is None else problem.class_weights.double().numpy(),
            class_weights,
            encoder,
            target,
            network_parts,
            design,
            problem.edges(),
        )

    def _encoded(self, X: object) -> np.ndarray:
        check_is_fitted(self, "model_")
        return self._encoder.transform(X)

    def save(self, folder: str) -> None:
        """Write the fitted model for `poise.study.load_model` and `poise predict`; no pickle."""
        check_is_fitted(self, "model_")
        if self.model_ is None:
            raise DataError("a classifier of one class has no network to save.")
        self.model_.save(folder)


class Classifier(ClassifierMixin, _TableEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A regularized network for classes: recipes are searched as one population, and an ensemble of them predicts.

    `budget`: wall clock ("90s", "2m") or configurations ("50trials"), `seed`, `parts`: names of the regularizers to
    search (all of `poise.study.PARTS`; () is the unregularized network), `class_weight`: None, "balanced" or
    {label: weight} as in scikit-learn, `device`: "auto" or "cpu", `jobs`: worker processes, `width`, `depth`,
    `embedding`: the network.

    `predict_proba` gives calibrated probabilities of the classes as they occur; `predict` gives the class of the
    largest probability times class weight, so with `class_weight="balanced"` it aims at balanced accuracy.

    After `fit`: `classes_`, `recipe_` (the best single recipe), `model_` (the ensemble), `fitted_` (the search).

    Raises: ArgumentError for an argument, DataError for the table, each naming what and where.
    """

    _task = "classification"

    def __init__(
        self,
        budget: str | float = "60s",
        seed: int = 0,
        parts: Sequence[str] | None = None,
        class_weight: str | Mapping[Any, float] | None = None,
        device: str = "auto",
        jobs: int | None = None,
        width: int = 128,
        depth: int = 3,
        embedding: str = "piecewise",
    ) -> None:
        super().__init__(budget, seed, parts, device, jobs, width, depth, embedding)
        self.class_weight = class_weight

    def fit(self, X: object, y: object, sample_weight: object = None, groups: object = None) -> Self:
        """Search and train. Shapes: X (n, columns) frame or array, y (n,), sample_weight (n,), groups (n,)."""
        _check(self)
        self._train(X, y, sample_weight, groups, self.class_weight)
        self.classes_ = np.asarray(self._target.classes)
        return self

    def predict_proba(self, X: object) -> np.ndarray:
        """Return (n, K) probabilities in the order of `classes_`."""
        inputs = self._encoded(X)
        return np.ones((len(inputs), 1)) if self.model_ is None else self.model_.probabilities(inputs)

    def predict(self, X: object) -> np.ndarray:
        """Return (n,) labels."""
        inputs = self._encoded(X)
        if self.model_ is None:
            return np.repeat(self.classes_, len(inputs))
        return self.model_.labels(inputs)


class Regressor(RegressorMixin, _TableEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A regularized network for numbers; arguments and attributes as `Classifier` has them, without classes."""

    _task = "regression"

    def fit(self, X: object, y: object, sample_weight: object = None, groups: object = None) -> Self:
        """Search and train. Shapes: X (n, columns) frame or array, y (n,), sample_weight (n,), groups (n,)."""
        _check(self)
        self._train(X, y, sample_weight, groups, None)
        return self

    def predict(self, X: object) -> np.ndarray:
        """Return (n,) numbers in the target's units."""
        inputs = self._encoded(X)
        assert self.model_ is not None
        return self.model_.values(inputs)


def _check(estimator: _TableEstimator) -> None:
    name = type(estimator).__name__
    parse_budget(estimator.budget)
    if isinstance(estimator.seed, bool) or not isinstance(estimator.seed, (int, np.integer)) or estimator.seed < 0:
        raise ArgumentError(f"`{name}.seed` must be an int >= 0; got {shown(estimator.seed)}.")
    if estimator.device not in ("auto", "cpu"):
        raise ArgumentError(f"`{name}.device` must be auto or cpu; got {shown(estimator.device)}. "
                            "Populations on a GPU are not supported yet.")  # fmt: skip
    if estimator.jobs is not None and (not isinstance(estimator.jobs, int) or estimator.jobs < 1):
        raise ArgumentError(f"`{name}.jobs` must be None or an int >= 1; got {shown(estimator.jobs)}.")


def _row_weights(weights: object, rows: int) -> np.ndarray | None:
    if weights is None:
        return None
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != (rows,):
        raise DataError(f"`sample_weight` must have one number a row ({rows}); got shape {values.shape}.")
    if not np.isfinite(values).all() or (values < 0).any() or not (values > 0).any():
        raise DataError("`sample_weight` must be finite, >= 0, and not all 0.")
    return values
