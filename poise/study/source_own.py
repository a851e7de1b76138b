"""A study of a network of your own, on data of your own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import nn

from poise.core.errors import ArgumentError, shown
from poise.data.target import Task
from poise.study.choices import Choices
from poise.study.choices_images import for_side
from poise.study.own_data import Examples, read_examples
from poise.study.own_network import OwnDesign, OwnEncoder, check_network
from poise.study.prepare import Prepared
from poise.study.prepare_own import prepare_own, target_of
from poise.study.source import Arguments, NewRows, Source, Weighting

__all__ = ["Own", "OwnSource"]


@dataclass(frozen=True, eq=False)
class Own:
    """What a study of a network of your own is given: a function that builds the network, and the data."""

    model: Any
    data: Any


@dataclass(frozen=True, eq=False)
class OwnSource(Source):
    """A network of your own and its examples; see `poise.study.Study` for the arguments."""

    model: Callable[[], nn.Module]
    examples: Examples
    task: Task | None
    class_weight: Weighting
    encoded_by: OwnEncoder

    kind: ClassVar[str] = "own model"
    noun: ClassVar[str] = "a network of your own"
    plural: ClassVar[str] = "networks of your own"
    arguments: ClassVar[frozenset[str]] = frozenset({"task"})
    encoder: ClassVar[type[OwnEncoder]] = OwnEncoder
    designs: ClassVar[type[OwnDesign]] = OwnDesign
    folds: ClassVar[int | None] = 1  # what a step of it costs is not known
    advice: ClassVar[str] = "Give a larger budget, fewer rows or a smaller network."

    @staticmethod
    def takes(given: object, told: Arguments) -> bool:
        """What `Study(model=..., data=...)` was given."""
        return isinstance(given, Own)

    @classmethod
    def of(cls, given: Own, told: Arguments) -> Self:
        """Read the examples."""
        if told.design is not None:
            raise ArgumentError(
                f"`Study.design` must not be given with `model`, which is the design; got {shown(told.design)}."
            )
        if told.task is not None and not isinstance(told.task, str):
            raise ArgumentError(f"`Study.task` must be one task for a network of your own; got {shown(told.task)}.")
        examples = read_examples(given.data)
        encoder = OwnEncoder.fit(examples.inputs)
        check_network(given.model, encoder, examples.inputs, target_of(examples, told.task))
        return cls(given.model, examples, told.task, told.class_weight, encoder)

    @property
    def name(self) -> str:
        """The data set's class."""
        return self.examples.name

    @property
    def choices(self) -> Choices:
        """The parts for such inputs that have a place in the network."""
        design = OwnDesign(self.model, self.encoded_by.inputs)
        return for_side(design.choices, min(self.encoded_by.shape[-2:])) if design.pictures else design.choices

    def prepare(self, seed: int) -> Prepared:
        """Divide the examples, and try the network on some."""
        return prepare_own(
            self.examples,
            self.model,
            seed=seed,
            task=self.task,
            class_weight=self.class_weight,
            encoder=self.encoded_by,
        )

    @classmethod
    def read_new(cls, path: str, encoder: OwnEncoder, *, encoding: str | None, delimiter: str | None) -> NewRows:
        """Refuse: a command cannot know the network."""
        raise ArgumentError("`poise predict` does not know your network. In Python: load_model(path, model=build).")
