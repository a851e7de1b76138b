"""A table made ready for a study: read, looked over, divided, encoded on the development rows alone."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from poise.core.errors import DataError, PoiseWarning, counted, shown
from poise.data import Encoder, Split, Table, Target, inspect, split
from poise.data.kinds import check_values
from poise.data.target import Task
from poise.study.design import DataEncoder
from poise.study.labels import encoded, strata
from poise.study.problem import Problem
from poise.study.table_network import Design
from poise.study.target_rows import check_parts, head_of, of_rows, target_from, whole_labels

__all__ = ["Prepared", "lead_of", "prepare"]


@dataclass(frozen=True)
class Prepared:
    """The rows divided and encoded: positions refer to `table`, `inputs` holds every row of it encoded.

    Of other data than tables, `table` names each row, and `inputs` holds the data.

    `codes` holds the labels of every row for each target, -1 or NaN where one is missing.
    """

    table: Table  # the rows of which some target is known
    origin: np.ndarray  # their positions in the table that was given
    targets: tuple[Target, ...]
    parts: Split
    development: np.ndarray  # all rows but the test part
    inputs: np.ndarray
    codes: tuple[np.ndarray, ...]
    encoder: DataEncoder
    problem: Problem
    columns: dict[str, str]
    warnings: tuple[str, ...]
    groups: np.ndarray | None  # of the development rows
    time: np.ndarray | None
    names: str | None = None  # the column of `table` that says where each row came from, if one does

    @property
    def strata(self) -> np.ndarray:
        """By what the development rows are divided: the labels of the leading target."""
        return strata(self.codes[self.problem.lead][self.development])

    def alone(self, place: int) -> Prepared:
        """Return the same rows, divided alike, with one of the targets."""
        problem = self.problem.alone(place)
        return dataclasses.replace(self, targets=(self.targets[place],), codes=(self.codes[place],), problem=problem)


def lead_of(targets: Sequence[Target]) -> int:
    """Return the target by which rows are divided: the first of classes, else the first."""
    return next((place for place, target in enumerate(targets) if target.task == "classification"), 0)


def prepare(
    table: Table,
    *,
    seed: int,
    task: Task | Mapping[str, Task] | None,
    groups: str | None,
    time: str | None,
    class_weight: Literal["balanced"] | None,
    design: Design,
) -> Prepared:
    """Divide and encode a table. The test rows are encoded, but nothing is fitted on them.

    What is said and decided of columns, too, is of the development rows alone.

    Raises: DataError if nothing can be learned: no label, one class, equal amounts, or no usable column.
    """
    assert table.targets is not None
    known = table.targets.notna().any(axis=1).to_numpy()
    frame, values = (own.loc[known].reset_index(drop=True) for own in (table.frame, table.targets.apply(whole_labels)))
    for column in frame.drop(columns=[name for name in (groups, time) if name]):
        check_values(table.frame[column][known])  # later, rows would be counted among some of them
    notes = _missing(table.targets, known)
    tasks = task if isinstance(task, Mapping) else dict.fromkeys(map(str, values), task)
    targets = [target_from(values[name], tasks.get(name)) for name in map(str, values)]
    codes = [encoded(target, values[target.name]) for target in targets]
    lead = lead_of(targets)
    order = {name: None if column is None else _complete(table.frame[column][known], name).to_numpy()
             for name, column in (("groups", groups), ("time", time))}  # fmt: skip
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PoiseWarning)
        parts = split(
            strata(codes[lead]), task=targets[lead].task, seed=seed, groups=order["groups"], time=order["time"]
        )
        development = np.sort(np.concatenate([parts.train, parts.stop, parts.validation]))
        check_parts(targets, codes, {"development": development, "test": parts.test})
        dividers = {column: f"{what} (no feature)" for column, what in ((groups, "groups"), (time, "time")) if column}
        own = frame.drop(columns=list(dividers)).iloc[development].reset_index(drop=True)
        kinds, dropped, told = _looked_over(own, values.iloc[development].reset_index(drop=True))
        notes += told
        if dropped:
            useless = [name for name in kinds if name in dropped]
            notes.append(f"{counted(len(useless), 'column')} left out, of no use to a model: {shown(useless, 200)}.")
        kinds = {name: dividers.get(name) or kinds[name] for name in map(str, frame)}
        kept = [column for column in own if column not in dropped]
        if not kept:
            raise DataError("no usable column is left: all are identifiers, constant or empty.")
        encoder = Encoder().fit(own[kept])
        inputs = encoder.transform(frame[kept])
    notes += [str(warning.message) for warning in caught if issubclass(warning.category, PoiseWarning)]
    targets = [
        of_rows(target, values[target.name], own, development) for target, own in zip(targets, codes, strict=True)
    ]
    codes = [encoded(target, values[target.name]) for target in targets]
    problem = Problem.of(
        inputs[development],
        [own[development] for own in codes],
        [head_of(target, class_weight) for target in targets],
        plan=design.plan(encoder),
        design=design,
    )
    return Prepared(
        Table(table.name, frame, values),
        np.flatnonzero(known),
        tuple(targets),
        parts,
        development,
        inputs,
        tuple(codes),
        encoder,
        problem,
        kinds,
        tuple(notes),
        None if order["groups"] is None else pd.factorize(order["groups"][development])[0],
        None if order["time"] is None else order["time"][development],
    )


def _complete(column: pd.Series, what: str) -> pd.Series:
    """Return the column that rows are divided by. Raises: DataError naming the first row of the table that lacks it."""
    gone = column.index[column.isna()]
    if len(gone):
        told = f"column {shown(column.name)}, row {gone[0]}: the value is missing, but rows are divided by {what}."
        raise DataError(f"{told} Fill it or drop the row.")
    return column


def _missing(targets: pd.DataFrame, known: np.ndarray) -> list[str]:
    """Return what is to be said of labels that are missing."""
    gone = int((~known).sum())
    notes = [f"{gone} rows without a target were left out."] if gone else []
    for name in targets if len(targets.columns) > 1 else ():
        holes = int(targets[name][known].isna().sum())
        if holes:
            notes.append(
                f"target {shown(name)} is missing in {holes} of {int(known.sum())} rows; they teach the others."
            )
    return notes


def _looked_over(frame: pd.DataFrame, values: pd.DataFrame) -> tuple[dict[str, str], set[str], list[str]]:
    """Return the columns' kinds, those of no use, and what is to be said of them and of each target."""
    looked = []
    for name in map(str, values):
        known = values[name].notna().to_numpy()
        looked.append(inspect(frame.assign(**{name: values[name]}).loc[known].reset_index(drop=True), name))
    # Where a label may be missing, the rows with one target's labels are not all rows.
    seen = looked[0] if len(looked) == 1 else inspect(frame)
    told = dict.fromkeys([*seen.warnings, *(line for one in looked for line in one.warnings)])
    return seen.kinds, {*seen.identifiers, *seen.constants, *seen.empty}, list(told)
