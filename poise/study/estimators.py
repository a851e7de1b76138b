"""`poise.Classifier` and `poise.Regressor`: a searched recipe behind scikit-learn's contract."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from poise.core.errors import ArgumentError, DataError, PoiseWarning, shown
from poise.core.recipe import Recipe
from poise.data import Encoder, Target
from poise.data.arguments import choice, whole
from poise.data.frames import as_frame, as_vector, check_lengths, check_size, first_row, has_names
from poise.data.kinds import numbers_of
from poise.study.canonical import canonical
from poise.study.clock import Clock, parse_budget
from poise.study.fit import Fitted, Settings, fit
from poise.study.problem import Design, Problem
from poise.study.space import Space
from poise.study.table_model import TableModel, plan_of
from poise.study.workers import default_jobs

__all__ = ["Classifier", "Regressor"]


class _TableEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    _task: Literal["classification", "regression"]

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

    def _train(self, X: object, y: object, sample_weight: object, groups: object, class_weight: Any) -> None:
        _check(self)
        frame, target = as_frame(X), Target.fit(y, task=self._task)
        check_size(frame)
        check_lengths(X=len(frame), y=len(as_vector(y)))
        own = _row_weights(sample_weight, len(frame))
        owners = _row_groups(groups, len(frame))
        encoder = Encoder().fit(X, weights=own)
        inputs, labels = _without_zeros(encoder, X, as_vector(y), own)
        if own is not None:
            target = Target.fit(labels, task=self._task)  # a class whose rows all weigh nothing is none
            owners, own = None if owners is None else owners[own > 0], own[own > 0]
        classes = len(target.labels) if self._task == "classification" else None
        plain = target.encode(labels) if classes else numbers_of(labels)
        places, own = canonical(inputs, plain, own, None if owners is None else pd.factorize(owners, sort=True)[0])
        inputs, plain = inputs[places], plain[places]
        if classes is None:
            target = _standardised(plain, own)
        codes = plain if classes else np.asarray((plain - target.mean) / target.scale, np.float32)

        self.n_features_in_ = frame.shape[1]
        if has_names(X):
            self.feature_names_in_ = np.asarray(encoder.input_names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self._encoder, self._target = encoder, target
        self.model_: TableModel | None = None
        self.fitted_: Fitted | None = None
        self.recipe_ = Recipe()
        if classes == 1 or (classes is None and bool((plain == plain[0]).all())):
            return  # what is always the same is predicted, as scikit-learn's classifiers have it

        class_weights = _class_weights(class_weight, target, codes, own) if classes else None
        design = Design(width=int(self.width), depth=int(self.depth), embedding=self.embedding)
        problem = Problem.of(
            inputs,
            codes,
            task=target.task,
            classes=classes,
            plan=plan_of(encoder),
            class_weights=class_weights,
            weights=own,
            design=design,
        )
        space = Space(self.parts, classification=classes is not None)
        clock = Clock(parse_budget(self.budget))
        jobs = self.jobs or (default_jobs() if clock.budget.seconds >= 15 and clock.budget.trials > 30 else 1)
        owners = None if owners is None else pd.factorize(owners[places], sort=True)[0]
        fitted = fit(problem, codes, space, clock, Settings(int(self.seed), int(jobs)), groups=owners)
        self.fitted_ = fitted
        self.recipe_ = space.recipe_of(fitted.best)
        self.model_ = TableModel(
            fitted.stack,
            fitted.shares,
            fitted.temperature,
            None if problem.class_weights is None else problem.class_weights.double().numpy(),
            class_weights,
            encoder,
            target,
            Recipe(*space.recipe.stage("network")),
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
            raise DataError("the target was the same in every row: there is no network to save.")
        self.model_.save(folder)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True  # the encoder fills numbers and marks what was missing
        tags.input_tags.sparse = True  # made dense
        return tags


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
        """Search and train. Shapes: X (n, columns) frame, array or sparse, y (n,), sample_weight (n,), groups (n,)."""
        self._train(X, y, sample_weight, groups, self.class_weight)
        labels = self._target.labels
        # scikit-learn keeps the type of the labels; the target keeps text as objects.
        self.classes_ = labels.astype(str) if _kind(y) == "U" else labels
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
        return np.asarray(self.classes_[self.model_.decide(self.model_.probabilities(inputs))])


class Regressor(RegressorMixin, _TableEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A regularized network for numbers; arguments and attributes as `Classifier` has them, without classes."""

    _task = "regression"

    def fit(self, X: object, y: object, sample_weight: object = None, groups: object = None) -> Self:
        """Search and train. Shapes: X (n, columns) frame, array or sparse, y (n,), sample_weight (n,), groups (n,)."""
        self._train(X, y, sample_weight, groups, None)
        return self

    def predict(self, X: object) -> np.ndarray:
        """Return (n,) numbers in the target's units."""
        inputs = self._encoded(X)
        return np.full(len(inputs), self._target.mean) if self.model_ is None else self.model_.values(inputs)


def _check(estimator: _TableEstimator) -> None:
    """Refuse arguments here, at fit, because scikit-learn's constructors only store."""
    name = type(estimator).__name__
    parse_budget(estimator.budget)
    whole(f"{name}.seed", estimator.seed, 0, "The same seed gives the same model.")
    whole(f"{name}.width", estimator.width, 1, "128 is usual.")
    whole(f"{name}.depth", estimator.depth, 1, "3 is usual.")
    choice(f"{name}.embedding", estimator.embedding, ("piecewise", "periodic", "none"), "piecewise is usual.")
    choice(f"{name}.device", estimator.device, ("auto", "cpu"), "Populations on a GPU are not supported yet.")
    if estimator.jobs is not None:
        whole(f"{name}.jobs", estimator.jobs, 1, "None takes one worker a core where that pays.")
    if isinstance(estimator.parts, str):
        raise ArgumentError(f"`{name}.parts` must be a list of names; got {shown(estimator.parts)}. Put it in a list.")


def _kind(y: object) -> str:
    return np.asarray(y).dtype.kind if isinstance(y, np.ndarray | list | tuple) else "O"


def _row_weights(weights: object, rows: int) -> np.ndarray | None:
    if weights is None:
        return None
    values = numbers_of(as_vector(weights))
    check_lengths(X=rows, sample_weight=len(values))
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        row = first_row(wrong)
        raise DataError(f"`sample_weight` must be finite and 0 or more; got {values[row]} in row {row}.")
    if not (values > 0).any():
        raise DataError(f"`sample_weight` must hold a weight above zero; all {rows} weights are zero.")
    return values


def _row_groups(groups: object, rows: int) -> np.ndarray | None:
    if groups is None:
        return None
    values = as_vector(groups)
    check_lengths(X=rows, groups=len(values))
    gone = values.isna().to_numpy()
    if gone.any():
        raise DataError(f"groups, row {first_row(gone)}: the group is missing. Fill it or drop the row.")
    return np.asarray(values.to_numpy(dtype=object))


def _without_zeros(
    encoder: Encoder, X: object, labels: pd.Series, weights: np.ndarray | None
) -> tuple[np.ndarray, pd.Series]:
    """Return encoded inputs and labels without the rows of weight 0."""
    if weights is None or bool((weights > 0).all()):
        return encoder.transform(X), labels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PoiseWarning)  # only the rows that are left out can hold anything unseen
        inputs = encoder.transform(X)
    kept = weights > 0
    return inputs[kept], labels[kept].reset_index(drop=True)


def _standardised(numbers: np.ndarray, weights: np.ndarray | None) -> Target:
    """Return the target of rows that are already merged: their weights count in the mean and the deviation."""
    target = Target.fit(numbers, task="regression")
    if weights is None:
        return target
    mean = float(np.average(numbers, weights=weights))
    scale = float(np.sqrt(np.average(np.square(numbers - mean), weights=weights)))
    return dataclasses.replace(target, mean=mean, scale=scale if scale > 1e-12 * abs(mean) else 1.0)


def _class_weights(asked: Any, target: Target, codes: np.ndarray, weights: np.ndarray | None) -> np.ndarray | None:
    """Return one weight a class. "balanced" counts rows by their weights; a class may be missing from this fit."""
    rare = np.bincount(codes) < 3
    if rare.any():
        place = first_row(rare)
        told = f"class {shown(target.labels[place])} has fewer than 3 rows: not every fold of the search can hold it."
        warnings.warn(told, PoiseWarning, stacklevel=4)
    if asked is None:
        return None
    if isinstance(asked, str) and asked == "balanced":
        counts = np.bincount(codes, weights)
        return np.asarray(counts.sum() / (len(counts) * counts))
    own = target.labels.tolist()
    if isinstance(asked, Mapping) and all(label in asked for label in own):
        asked = {label: asked[label] for label in own}  # cross-validation may leave out all rows of a class
    found = target.class_weights(asked)
    wrong = ~(np.isfinite(found) & (found > 0))
    if wrong.any():
        place = first_row(wrong)
        raise ArgumentError(f"`class_weight` must be finite and above 0; got {found[place]} for class "
                            f"{shown(own[place])}. Leave its rows out instead.")  # fmt: skip
    return found
