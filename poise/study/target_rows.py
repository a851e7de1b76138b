"""A target of the rows of a study: found, checked, and fitted on the development rows alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from poise.core.errors import DataError, shown
from poise.data import Target
from poise.data.target import Task
from poise.study.heads import Head
from poise.study.labels import is_known

__all__ = ["check_parts", "head_of", "of_rows", "target_from", "whole_labels"]


def whole_labels(values: pd.Series) -> pd.Series:
    """Return whole numbers that are floats, because some are missing, as whole numbers: class 1, not 1.0."""
    known = values.dropna()
    gaps = values.dtype == np.float64 and len(known) < len(values)
    return values.astype("Int64") if gaps and bool(((known % 1 == 0) & (known.abs() < 2**53)).all()) else values


def target_from(values: pd.Series, task: Task | None) -> Target:
    """Return the target of a column, in which labels may be missing. Raises: DataError if nothing can be learned."""
    name, values = str(values.name), values.dropna().reset_index(drop=True)
    if not len(values):
        raise DataError(f"column {shown(name)} holds no label at all: there is nothing to learn.")
    target = Target.fit(values, task=task, name=name)
    if target.task == "classification" and len(target.labels) < 2:
        raise DataError(f"column {name!r} has one class only: there is nothing to learn.")
    if target.task == "regression" and values.nunique() < 2:
        raise DataError(f"column {name!r} holds one amount only: there is nothing to learn.")
    return target


def check_parts(targets: Sequence[Target], codes: Sequence[np.ndarray], parts: dict[str, np.ndarray]) -> None:
    """Raise DataError if a target has no label at all in one of the parts (name -> rows)."""
    for target, own in zip(targets, codes, strict=True):
        for part, rows in parts.items():
            if not is_known(own[rows]).any():
                raise DataError(
                    f"column {shown(target.name)}: none of its {int(is_known(own).sum())} labels is in the {part} "
                    "part. Get more labels, or leave the target out."
                )


def of_rows(target: Target, values: pd.Series, codes: np.ndarray, rows: np.ndarray) -> Target:
    """Return the target with the mean and deviation, or the classes' counts, of the development rows.

    Those of all rows would tell of the test rows.
    """
    if target.task == "regression":
        own = values.iloc[rows].dropna().reset_index(drop=True)
        return Target.fit(own, task="regression", name=target.name)
    own_codes = codes[rows]
    counts = np.bincount(own_codes[own_codes >= 0], minlength=len(target.labels))
    return dataclasses.replace(target, counts=np.maximum(counts, 1))


def head_of(target: Target, class_weight: Literal["balanced"] | None) -> Head:
    """Return the head of a target; `class_weight` None weighs all classes alike."""
    if target.task == "regression":
        return Head.of(target.name, None)
    return Head.of(target.name, len(target.labels), target.class_weights(class_weight) if class_weight else None)
