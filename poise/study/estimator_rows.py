"""What the estimators are given beside X: targets, row weights, groups and class weights, checked and in order."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from poise.core.errors import ArgumentError, DataError, PoiseWarning, shown
from poise.data import Encoder, Target
from poise.data.frames import as_frame, as_vector, check_lengths, first_row
from poise.data.kinds import numbers_of
from poise.data.target import Task
from poise.study.labels import is_known

__all__ = [
    "asked_of_each",
    "class_weights_of",
    "compared",
    "outputs_of",
    "row_groups",
    "row_weights",
    "standardised",
    "target_of",
    "without_zeros",
]


def outputs_of(y: object) -> list[Any]:
    """Return the columns of a 2-d y, each a named series; y as it was given, if it has one column only."""
    if isinstance(y, list | tuple) and len(y) and isinstance(y[0], list | tuple | np.ndarray):
        y = as_frame(y)
    if isinstance(y, np.ndarray) and y.ndim == 2 and y.shape[1] > 1:
        return [pd.Series(y[:, place], name=f"y{place}").infer_objects() for place in range(y.shape[1])]
    if isinstance(y, pd.DataFrame) and y.shape[1] > 1:
        frame = as_frame(y)
        return [frame[name] for name in frame]
    return [y]


def target_of(y: object, task: Task, *, several: bool) -> Target:
    """Return the target of one column; where it is one of several, some labels may be missing."""
    if not several:
        return Target.fit(y, task=task)
    values = as_vector(y)
    held = values.dropna().reset_index(drop=True)
    if not len(held):
        raise DataError(f"column {shown(values.name)} of y holds no label at all: there is nothing to learn.")
    return Target.fit(held, task=task, name=str(values.name))


def compared(plain: list[np.ndarray]) -> np.ndarray:
    """Return what makes rows equal, (N,) or (N, C): the labels, and which of them are missing."""
    known = [is_known(own) for own in plain]
    if all(own.all() for own in known):
        return plain[0] if len(plain) == 1 else np.column_stack(plain)
    return np.column_stack([*(np.where(held, own, 0) for held, own in zip(known, plain, strict=True)), *known])


def row_weights(weights: object, rows: int) -> np.ndarray | None:
    """Return the rows' weights (n,), or None if all count alike."""
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


def row_groups(groups: object, rows: int) -> np.ndarray | None:
    """Return the rows' groups (n,), or None."""
    if groups is None:
        return None
    values = as_vector(groups)
    check_lengths(X=rows, groups=len(values))
    gone = values.isna().to_numpy()
    if gone.any():
        raise DataError(f"groups, row {first_row(gone)}: the group is missing. Fill it or drop the row.")
    return np.asarray(values.to_numpy(dtype=object))


def without_zeros(
    encoder: Encoder, X: object, labels: list[pd.Series], weights: np.ndarray | None
) -> tuple[np.ndarray, list[pd.Series]]:
    """Return encoded inputs and labels without the rows of weight 0."""
    if weights is None or bool((weights > 0).all()):
        return encoder.transform(X), labels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PoiseWarning)  # only the rows that are left out can hold anything unseen
        inputs = encoder.transform(X)
    kept = weights > 0
    return inputs[kept], [own[kept].reset_index(drop=True) for own in labels]


def standardised(name: str, numbers: np.ndarray, weights: np.ndarray | None) -> Target:
    """Return the target of rows that are already merged: their weights count in the mean and the deviation."""
    target = Target.fit(numbers, task="regression", name=name)
    if weights is None:
        return target
    mean = float(np.average(numbers, weights=weights))
    scale = float(np.sqrt(np.average(np.square(numbers - mean), weights=weights)))
    return dataclasses.replace(target, mean=mean, scale=scale if scale > 1e-12 * abs(mean) else 1.0)


def class_weights_of(asked: Any, target: Target, codes: np.ndarray, weights: np.ndarray | None) -> np.ndarray | None:
    """Return one weight a class. "balanced" counts rows by their weights; a class may be missing from this fit."""
    rare = np.bincount(codes) < 3
    if rare.any():
        label = target.labels.tolist()[first_row(rare)]
        told = f"class {shown(label)} has fewer than 3 rows: not every fold of the search can hold it."
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


def asked_of_each(class_weight: Any, targets: int) -> list[Any]:
    """Return what was asked for each target: one answer for all, or a list of them."""
    if isinstance(class_weight, list | tuple):
        if len(class_weight) != targets:
            raise ArgumentError(
                f"`class_weight` must be a list of one entry for each of {targets} targets; got {len(class_weight)}."
            )
        return list(class_weight)
    if isinstance(class_weight, Mapping) and targets > 1:
        raise ArgumentError(
            f"`class_weight` must be None, 'balanced' or a list with one entry for each of {targets} targets; got "
            f"{shown(class_weight)}. Put one mapping a target into a list."
        )
    return [class_weight] * targets
