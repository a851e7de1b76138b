"""What a study is of: a table, or labelled images. Each knows its own checks, its search space and its preparation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from poise.core.errors import ArgumentError, DataError, shown
from poise.data import Table
from poise.data.images import Images
from poise.data.target import Task
from poise.study.choices import IMAGE, TABLE, Choices
from poise.study.image_network import ImageDesign
from poise.study.prepare import Prepared, prepare
from poise.study.prepare_images import prepare_images
from poise.study.problem import Design

__all__ = ["ImageSource", "Source", "TableSource"]

Weighting = Literal["balanced"] | None


@dataclass(frozen=True)
class TableSource:
    """A table with its target columns; see `poise.study.Study` for the arguments."""

    table: Table
    task: Task | Mapping[str, Task] | None
    groups: str | None
    time: str | None
    class_weight: Weighting
    design: Design

    choices: ClassVar[Choices] = TABLE
    folds: ClassVar[int | None] = None  # by the number of rows

    def __post_init__(self) -> None:
        if self.table.targets is None:
            raise ArgumentError(f"`Study.target` must name a column; the table has {shown(list(self.table.frame))}.")
        for argument, column in (("groups", self.groups), ("time", self.time)):
            if column is not None and column not in list(self.table.frame):
                raise DataError(f"`Study.{argument}`: no column {column!r}; there are {shown(list(self.table.frame))}.")
        if self.groups is not None and self.time is not None:
            raise ArgumentError(
                f"`Study.groups` and `Study.time` exclude each other; got {self.groups!r} and {self.time!r}. "
                "Use time when rows are ordered."
            )

    @property
    def name(self) -> str:
        """The table's name."""
        return self.table.name

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


@dataclass(frozen=True)
class ImageSource:
    """Labelled images; of each class at most `per_class` are developed on, drawn by the seed, all if None."""

    images: Images
    class_weight: Weighting
    design: ImageDesign
    per_class: int | None = None

    folds: ClassVar[int | None] = 1  # a convolution costs too much to be trained three times

    def __post_init__(self) -> None:
        if self.per_class is not None and (
            isinstance(self.per_class, bool) or not isinstance(self.per_class, int) or self.per_class < 4
        ):
            raise ArgumentError(
                f"`Study.per_class` must be None or an int >= 4; got {shown(self.per_class)}. Training, stopping and "
                "choosing need some images each."
            )

    @property
    def name(self) -> str:
        """The folder's or file's name."""
        return self.images.name

    @property
    def choices(self) -> Choices:
        """The parts for images; grey ones have no colours to jitter."""
        return IMAGE if self.images.pixels.shape[1] == 3 else IMAGE.without("color_jitter")

    def prepare(self, seed: int) -> Prepared:
        """Divide and encode the images."""
        return prepare_images(
            self.images, seed=seed, class_weight=self.class_weight, design=self.design, per_class=self.per_class
        )


Source = TableSource | ImageSource
"""What a study is of."""
