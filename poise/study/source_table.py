"""A study of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from poise.core.errors import ArgumentError, DataError, shown
from poise.data import Encoder, Table, read
from poise.data.target import Task
from poise.study.choices import Choices
from poise.study.prepare import Prepared, prepare
from poise.study.source import Arguments, NewRows, Source, Weighting
from poise.study.table_network import Design

__all__ = ["TableSource"]


@dataclass(frozen=True)
class TableSource(Source):
    """A table with its target columns; see `poise.study.Study` for the arguments."""

    table: Table
    task: Task | Mapping[str, Task] | None
    groups: str | None
    time: str | None
    class_weight: Weighting
    design: Design

    kind: ClassVar[str] = "table model"
    noun: ClassVar[str] = "a table"
    plural: ClassVar[str] = "tables"
    arguments: ClassVar[frozenset[str]] = frozenset(
        {"target", "groups", "time", "task", "encoding", "delimiter", "width", "depth"}
    )
    encoder: ClassVar[type[Encoder]] = Encoder
    designs: ClassVar[type[Design]] = Design

    def __post_init__(self) -> None:
        if self.table.targets is None:
            raise ArgumentError(
                f"`Study.target` must name a column; the table has {shown(list(self.table.frame), 400)}."
            )
        for argument, column in (("groups", self.groups), ("time", self.time)):
            if column is not None and column not in list(self.table.frame):
                there = shown(list(self.table.frame), 400)
                raise DataError(f"`Study.{argument}`: no column {column!r}; there are {there}.")
        targets = list(map(str, self.table.targets))
        for name in self.task if isinstance(self.task, Mapping) else ():
            if name not in targets:
                raise ArgumentError(f"`Study.task` must name targets, {shown(targets, 400)}; got {shown(name)}.")
        if self.groups is not None and self.time is not None:
            raise ArgumentError(
                f"`Study.groups` and `Study.time` exclude each other; got {self.groups!r} and {self.time!r}. "
                "Use time when rows are ordered."
            )

    @staticmethod
    def takes(given: object, told: Arguments) -> bool:
        """Whatever is of no other kind: a path, a frame, an array, the name of a bundled table."""
        return True

    @classmethod
    def of(cls, given: Any, told: Arguments) -> Self:
        """Read the table."""
        table = read(given, target=told.target, encoding=told.encoding, delimiter=told.delimiter)
        return cls(table, told.task, told.groups, told.time, told.class_weight, cls.designed(told))

    @property
    def name(self) -> str:
        """The table's name."""
        return self.table.name

    @property
    def choices(self) -> Choices:
        """The parts for tables."""
        return self.design.choices

    def prepare(self, seed: int) -> Prepared:
        """Divide and encode the rows. Raises: DataError if nothing can be learned."""
        return prepare(
            self.table,
            seed=seed,
            task=self.task,
            groups=self.groups,
            time=self.time,
            class_weight=self.class_weight,
            design=self.design,
        )

    @classmethod
    def read_new(cls, path: str, encoder: Encoder, *, encoding: str | None, delimiter: str | None) -> NewRows:
        """Read a table with the columns that were learned; others are left out, and said."""
        frame = read(path, encoding=encoding, delimiter=delimiter, readings=encoder.readings).frame
        known = set(encoder.input_names)
        # where no name is known, the encoder tells which it lacks, or, fitted without names, goes by place
        unused = [name for name in frame.columns if name not in known] if known & set(frame.columns) else []
        count = "1 column is" if len(unused) == 1 else f"{len(unused)} columns are"
        note = f"{count} not used: {shown(unused, 200)}" if unused else ""
        return NewRows(frame.drop(columns=unused), note=note)
