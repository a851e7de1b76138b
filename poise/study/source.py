"""What a study is of: data of one kind, with its own checks, search space, division and preparation."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import pandas as pd

from poise.core.errors import ArgumentError, shown
from poise.data.target import Task
from poise.study.choices import Choices
from poise.study.design import DataEncoder, NetworkDesign
from poise.study.prepare import Prepared

__all__ = ["Arguments", "NewRows", "Source", "Weighting"]

Weighting = Literal["balanced"] | None
"""Whether rare classes weigh more in loss and decision."""


_OF_DESIGNS = frozenset({"network", "window", "width", "depth"})


@dataclass(frozen=True)
class Arguments:
    """What `poise.study.Study` was told of its data, beyond the data; see there. None is not told."""

    target: str | Sequence[str] | None = None
    groups: str | None = None
    time: str | None = None
    task: Task | Mapping[str, Task] | None = None
    encoding: str | None = None
    delimiter: str | None = None
    per_class: int | None = None
    size: int | tuple[int, int] | None = None
    design: NetworkDesign | None = None
    class_weight: Weighting = "balanced"
    bad_images: str = "skip"
    cache: str | Path | None = None
    characters: int | None = None
    network: str | None = None
    window: int | None = None
    width: int | None = None
    depth: int | None = None


@dataclass(frozen=True)
class NewRows:
    """New data that a model is to predict: what its `predict_frame` takes.

    `names` are columns that go before the predictions, `note` what is to be said of the data, if anything.
    """

    data: Any
    names: pd.DataFrame | None = None
    note: str = ""


class Source(ABC):
    """One kind of data that a study can be of: a frozen dataclass of the data and the arguments of this kind.

    To add a kind: a concrete class in a file of its own, and one line in `poise.study.sources.SOURCES`.
    """

    kind: ClassVar[str]
    """What a saved model's manifest calls its kind: "table model"."""

    noun: ClassVar[str]
    """What messages call such data: "a table"."""

    plural: ClassVar[str]
    """What messages call such data in general: "tables"."""

    new: ClassVar[str] = "NEW.csv"
    """What stands for new data in a command that predicts them."""

    arguments: ClassVar[frozenset[str]]
    """Fields of `Arguments` that are this kind's; others must not be told."""

    encoder: ClassVar[type[DataEncoder]]
    """What encodes such data; saved with the model."""

    designs: ClassVar[type[NetworkDesign]]
    """What builds networks for such data."""

    folds: ClassVar[int | None] = None
    """In how many folds the development rows are divided; None goes by their number."""

    advice: ClassVar[str] = ""
    """What to do where the budget lets networks train for few epochs; empty where nobody need be told."""

    @staticmethod
    @abstractmethod
    def takes(given: object, told: Arguments) -> bool:
        """Whether the first argument of a study is of this kind; the first kind of `SOURCES` that says so has it."""

    @classmethod
    @abstractmethod
    def of(cls, given: Any, told: Arguments) -> Self:
        """Return the source; `told` has passed `check`. Raises: ArgumentError, DataError before any work is done."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What the data are called in the report."""

    @property
    @abstractmethod
    def choices(self) -> Choices:
        """The search space: the design's, without what these data cannot use."""

    @abstractmethod
    def prepare(self, seed: int) -> Prepared:
        """Divide and encode the rows. Raises: DataError if nothing can be learned."""

    @classmethod
    @abstractmethod
    def read_new(cls, path: str, encoder: Any, *, encoding: str | None, delimiter: str | None) -> NewRows:
        """Read what `poise predict` is to predict with a model of this kind."""

    @classmethod
    def designed(cls, told: Arguments) -> Any:
        """Return the design that is told of, whole or by some of its fields; the usual one if nothing is told.

        Raises: ArgumentError if a design is given and a field of it, too.
        """
        fields = {name: getattr(told, name) for name in sorted(cls.arguments & _OF_DESIGNS)}
        fields = {name: value for name, value in fields.items() if value is not None}
        for name, value in fields.items() if told.design is not None else ():
            raise ArgumentError(
                f"`Study.{name}` must be left out where a design is given; got {shown(value)}. Write "
                f"{cls.designs.__name__}({name}={value!r}, ...)."
            )
        return told.design or cls.designs(**fields)

    @classmethod
    def check(cls, told: Arguments, others: Sequence[type[Source]]) -> None:
        """Raise ArgumentError for an argument that is for other kinds of data, or a design of another kind."""
        everywhere = {"design", "class_weight", "bad_images", "cache"}  # the last two are settings of reading
        for field in dataclasses.fields(told):
            value = getattr(told, field.name)
            if value is not None and field.name not in cls.arguments | everywhere:
                users = [other.plural for other in others if field.name in other.arguments]
                raise ArgumentError(
                    f"`Study.{field.name}` is for {' and '.join(users)}; got {shown(value)} with {cls.noun}. "
                    "Leave it out."
                )
        if told.design is not None and not isinstance(told.design, cls.designs):
            own = cls.designs.__name__
            raise ArgumentError(
                f"`Study.design` must be {'an' if own[0] in 'AEIOU' else 'a'} {own} for {cls.noun}; "
                f"got {shown(told.design)}."
            )
