"""A table made ready for a study: read, looked over, divided, encoded on the development rows alone."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from poise.core.errors import DataError, PoiseWarning
from poise.data import Encoder, Split, Table, Target, inspect, split
from poise.data.target import Task
from poise.study.problem import Design, Problem
from poise.study.table_model import plan_of

__all__ = ["Prepared", "prepare"]


@dataclass(frozen=True)
class Prepared:
    """The table divided and encoded: row positions refer to `table`, `inputs` holds every row of it encoded."""

    table: Table  # the rows whose target is known
    origin: np.ndarray  # their positions in the table that was given
    target: Target
    parts: Split
    development: np.ndarray  # all rows but the test part
    inputs: np.ndarray
    codes: np.ndarray
    encoder: Encoder
    problem: Problem
    columns: dict[str, str]
    warnings: tuple[str, ...]
    groups: np.ndarray | None  # of the development rows
    time: np.ndarray | None


def prepare(
    table: Table,
    *,
    seed: int,
    task: Task | None,
    groups: str | None,
    time: str | None,
    class_weight: Literal["balanced"] | None,
    design: Design,
) -> Prepared:
    """Divide and encode a table. The test rows are encoded, but nothing is fitted on them.

    What is said and decided of columns, too, is of the development rows alone.

    Raises: DataError if nothing can be learned: one class, equal amounts, or no usable column.
    """
    frame = table.frame
    assert table.target is not None
    known = table.target.notna().to_numpy()
    notes = [] if known.all() else [f"{int((~known).sum())} rows without a target were left out."]
    frame, values = frame.loc[known].reset_index(drop=True), table.target.loc[known].reset_index(drop=True)
    target = Target.fit(values, task=task, name=str(table.target_name))
    if target.task == "classification" and len(target.labels) < 2:
        raise DataError(f"column {table.target_name!r} has one class only: there is nothing to learn.")
    if target.task == "regression" and values.nunique() < 2:
        raise DataError(f"column {table.target_name!r} holds one amount only: there is nothing to learn.")
    codes = target.encode(values)
    order = {name: None if column is None else frame[column].to_numpy()
             for name, column in (("groups", groups), ("time", time))}  # fmt: skip
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PoiseWarning)
        parts = split(codes, task=target.task, seed=seed, groups=order["groups"], time=order["time"])
        development = np.sort(np.concatenate([parts.train, parts.stop, parts.validation]))
        own = frame.iloc[development].reset_index(drop=True)
        seen = inspect(own, values.iloc[development].reset_index(drop=True))
        notes += list(seen.warnings)
        dropped = {*seen.identifiers, *seen.constants, *seen.empty, *filter(None, (groups, time))}
        kept = [column for column in frame if column not in dropped]
        if not kept:
            raise DataError("no usable column is left: all are identifiers, constant or empty.")
        encoder = Encoder().fit(own[kept], values.iloc[development])
        inputs = encoder.transform(frame[kept])
    notes += [str(warning.message) for warning in caught if issubclass(warning.category, PoiseWarning)]
    # Mean and deviation, or the classes' shares, of the development rows: those of all would tell of the test rows.
    if target.task == "regression":
        target = Target.fit(values.iloc[development], task="regression", name=str(table.target_name))
        codes = target.encode(values)
    else:
        counts = np.bincount(codes[development], minlength=len(target.labels))
        target = dataclasses.replace(target, counts=np.maximum(counts, 1))
    classes = len(target.labels) if target.task == "classification" else None
    problem = Problem.of(
        inputs[development],
        codes[development],
        task=target.task,
        classes=classes,
        plan=plan_of(encoder),
        class_weights=target.class_weights(class_weight) if classes and class_weight else None,
        design=design,
    )
    shortened = Table(table.name, frame, values, table.target_name)
    return Prepared(
        shortened,
        np.flatnonzero(known),
        target,
        parts,
        development,
        inputs,
        codes,
        encoder,
        problem,
        seen.kinds,
        tuple(notes),
        None if order["groups"] is None else pd.factorize(order["groups"][development])[0],
        None if order["time"] is None else order["time"][development],
    )
