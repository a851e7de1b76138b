"""`poise.Classifier` and `poise.Regressor`: a searched recipe behind scikit-learn's contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from poise.core.errors import DataError
from poise.core.recipe import Recipe
from poise.data import Encoder
from poise.data.frames import as_frame, as_vector, check_lengths, check_size, has_names
from poise.data.kinds import numbers_of
from poise.study.answer import Answer
from poise.study.canonical import canonical
from poise.study.clock import Clock, parse_budget
from poise.study.device import device_of
from poise.study.estimator_arguments import check_arguments
from poise.study.estimator_rows import (
    asked_of_each,
    class_weights_of,
    compared,
    outputs_of,
    row_groups,
    row_weights,
    standardised,
    target_of,
    without_zeros,
)
from poise.study.fit import Fitted, Settings, fit
from poise.study.gap import answers_of
from poise.study.heads import Head
from poise.study.labels import encoded, is_known, strata
from poise.study.model import StudyModel
from poise.study.problem import Problem
from poise.study.space import Space
from poise.study.table_network import Design
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
        embedding: str = "auto",
        checkpoint: str | None = None,
        search: str = "halving",
    ) -> None:
        self.budget = budget
        self.seed = seed
        self.parts = parts
        self.device = device
        self.jobs = jobs
        self.width = width
        self.depth = depth
        self.embedding = embedding
        self.checkpoint = checkpoint
        self.search = search

    def _train(self, X: object, y: object, sample_weight: object, groups: object, class_weight: Any) -> None:
        check_arguments(self)
        columns = outputs_of(y)
        several = len(columns) > 1
        frame, targets = as_frame(X), [target_of(column, self._task, several=several) for column in columns]
        check_size(frame)
        vectors = [as_vector(column) for column in columns]
        check_lengths(X=len(frame), y=len(vectors[0]))
        own = row_weights(sample_weight, len(frame))
        owners = row_groups(groups, len(frame))
        labelled = np.any([vector.notna() for vector in vectors], axis=0)
        if not labelled.all():
            own = labelled * (np.ones(len(frame)) if own is None else own)
        encoder = Encoder(empty="drop").fit(X, weights=own)
        inputs, labels = without_zeros(encoder, X, vectors, own)
        if own is not None:
            # A class whose rows all weigh nothing is none.
            targets = [target_of(values, self._task, several=several) for values in labels]
            owners, own = None if owners is None else owners[own > 0], own[own > 0]
        of_classes = self._task == "classification"
        plain = [
            encoded(t, values) if of_classes else numbers_of(values) for t, values in zip(targets, labels, strict=True)
        ]
        rows_owners = None if owners is None else pd.factorize(owners, sort=True)[0]
        places, own = canonical(inputs, compared(plain), own, rows_owners)
        inputs, plain = inputs[places], [values[places] for values in plain]
        known = [is_known(values) for values in plain]
        if not of_classes:
            targets = [standardised(target.name, values[held], None if own is None else own[held])
                       for target, values, held in zip(targets, plain, known, strict=True)]  # fmt: skip
        codes = [values if of_classes else np.asarray((values - target.mean) / target.scale, np.float32)
                 for target, values in zip(targets, plain, strict=True)]  # fmt: skip

        self.n_features_in_, self.n_outputs_ = frame.shape[1], len(targets)
        if has_names(X):
            self.feature_names_in_ = np.asarray(encoder.input_names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self._encoder, self._targets = encoder, targets
        self.model_: StudyModel | None = None
        self.fitted_: Fitted | None = None
        self.recipe_ = Recipe()
        # What is always the same is predicted, as scikit-learn's classifiers have it, and needs no head.
        self._learned = [place for place, (values, held) in enumerate(zip(plain, known, strict=True))
                         if not bool((values[held] == values[held][0]).all())]  # fmt: skip
        if not self._learned:
            return

        heads, asked = [], asked_of_each(class_weight, len(targets))
        for place in self._learned:
            target, held = targets[place], known[place]
            weights = None
            if of_classes:
                own_codes, shares = codes[place][held], None if own is None else own[held]
                weights = class_weights_of(asked[place], target, own_codes, shares)
            heads.append(Head.of(target.name, len(target.labels) if of_classes else None, weights))
        design = Design(width=int(self.width), depth=int(self.depth), embedding=self.embedding)
        learned = [codes[place] for place in self._learned]
        problem = Problem.of(inputs, learned, heads, plan=design.plan(encoder), weights=own, design=design)
        space = Space(self.parts, classification=of_classes, several=len(heads) > 1)
        clock = Clock(parse_budget(self.budget))
        device = device_of("device", self.device)
        several = clock.budget.seconds >= 15 and clock.budget.trials > 30 and device == "cpu"
        jobs = self.jobs or (default_jobs() if several else 1)
        owners = None if owners is None else pd.factorize(owners[places], sort=True)[0]
        settings = Settings(int(self.seed), int(jobs), checkpoint=self.checkpoint, search=self.search, device=device)
        fitted = fit(problem, strata(learned[problem.lead]), space, clock, settings, groups=owners)
        self.fitted_ = fitted
        self.recipe_ = space.recipe_of(fitted.best)
        self.model_ = StudyModel(
            fitted.stack,
            fitted.shares,
            answers_of([targets[place] for place in self._learned], problem.heads, fitted.temperatures),
            encoder,
            Recipe(*space.recipe.stage("network")),
            fitted.problem.design,
            fitted.problem.edges(),
        )

    def _answered(self, X: object) -> tuple[int, dict[int, tuple[Answer, Tensor]]]:
        """Return the number of rows, and for each target that was learned its answer and the networks' outputs."""
        check_is_fitted(self, "model_")
        inputs = self._encoder.transform(X)
        if self.model_ is None:
            return len(inputs), {}
        return len(inputs), dict(
            zip(self._learned, zip(self.model_.answers, self.model_.outputs(inputs), strict=True), strict=True)
        )

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
        tags.target_tags.multi_output = True
        return tags


class Classifier(ClassifierMixin, _TableEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A regularized network for classes: recipes are searched as one population, and an ensemble of them predicts.

    `budget`: wall clock ("90s", "2m") or configurations ("50trials"), `seed`, `parts`: names of the regularizers to
    search (all of `poise.study.TABLE.parts`; () is the unregularized network), `class_weight`: None, "balanced" or
    {label: weight} as in scikit-learn, `device`: "auto" or "cpu" (the CPU), "cuda", "cuda:1", `jobs`: worker processes,
    `width`, `depth`, `embedding`: the network. `checkpoint`: a folder; a fit with a budget in configurations that was
    cut goes on there when it is made again with the same data and arguments, equal bit for bit. `search`: "halving" or
    "pbt".

    A y of several columns is learned by one network with a head a column, as in scikit-learn's multi-output estimators:
    `predict` is (n, T), `predict_proba` and `classes_` are lists. A row may lack labels (NaN, None), and then teaches
    the others. `class_weight` is one for all columns, or a list.

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
        class_weight: str | Mapping[Any, float] | Sequence[Any] | None = None,
        device: str = "auto",
        jobs: int | None = None,
        width: int = 128,
        depth: int = 3,
        embedding: str = "auto",
        checkpoint: str | None = None,
        search: str = "halving",
    ) -> None:
        super().__init__(budget, seed, parts, device, jobs, width, depth, embedding, checkpoint, search)
        self.class_weight = class_weight

    def fit(self, X: object, y: object, sample_weight: object = None, groups: object = None) -> Self:
        """Search and train. Shapes: X (n, columns) frame, array or sparse, y (n,) or (n, T)."""
        self._train(X, y, sample_weight, groups, self.class_weight)
        # scikit-learn keeps the type of the labels; the target keeps text as objects.
        text = isinstance(y, np.ndarray | list | tuple) and np.asarray(y).dtype.kind == "U"
        classes = [target.labels.astype(str) if text else target.labels for target in self._targets]
        self.classes_ = classes[0] if len(classes) == 1 else classes
        return self

    def predict_proba(self, X: object) -> np.ndarray | list[np.ndarray]:
        """Return (n, K) probabilities in the order of `classes_`; a list of these for a y of several columns."""
        rows, answered = self._answered(X)
        found = [self._chances(answered, place, rows) for place in range(self.n_outputs_)]
        return found[0] if len(found) == 1 else found

    def predict(self, X: object) -> np.ndarray:
        """Return (n,) labels; (n, T) for a y of T columns."""
        rows, answered = self._answered(X)
        found = []
        for place in range(self.n_outputs_):
            chances = self._chances(answered, place, rows)
            decided = answered[place][0].decide(chances) if place in answered else np.zeros(rows, np.int64)
            found.append((self.classes_ if self.n_outputs_ == 1 else self.classes_[place])[decided])
        if len(found) == 1:
            return np.asarray(found[0])
        # Text beside numbers would turn the numbers into text.
        kinds = {labels.dtype.kind for labels in found}
        return np.column_stack(found if len(kinds) == 1 else [labels.astype(object) for labels in found])

    def _chances(self, answered: dict[int, tuple[Answer, Tensor]], place: int, rows: int) -> np.ndarray:
        if place not in answered or self.model_ is None:
            return np.ones((rows, 1))
        answer, outputs = answered[place]
        return answer.probabilities(outputs, self.model_.shares)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class Regressor(RegressorMixin, _TableEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A regularized network for numbers; arguments and attributes as `Classifier` has them, without classes."""

    _task = "regression"

    def fit(self, X: object, y: object, sample_weight: object = None, groups: object = None) -> Self:
        """Search and train. Shapes: X (n, columns) frame, array or sparse, y (n,) or (n, T)."""
        self._train(X, y, sample_weight, groups, None)
        return self

    def predict(self, X: object) -> np.ndarray:
        """Return (n,) numbers in the target's units; (n, T) for a y of T columns."""
        rows, answered = self._answered(X)
        found = []
        for place, target in enumerate(self._targets):
            if place in answered and self.model_ is not None:
                answer, outputs = answered[place]
                found.append(answer.values(outputs, self.model_.shares))
            else:
                found.append(np.full(rows, target.mean))
        return found[0] if len(found) == 1 else np.column_stack(found)
