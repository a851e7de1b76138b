"""What builds the networks of a study: one record for each kind of data, saved with the model."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from torch import Tensor, nn

from poise.core.errors import ArgumentError, shown
from poise.study.choices import Choices

__all__ = ["SEARCH", "DataEncoder", "NetworkDesign"]

SEARCH = 0.7
"""Of the time for search and retraining, what the search has."""


class DataEncoder(Protocol):
    """What turns data of one kind into a network's inputs, the same way for new data as for what was learned."""

    def transform(self, data: Any, /) -> np.ndarray:
        """Return the inputs (N, ...): float32, or int64 where they are numbers of things, as tokens are."""

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return what `from_state` takes: plain values, and arrays by name."""

    @classmethod
    def from_state(cls, facts: dict[str, Any], arrays: Mapping[str, np.ndarray], /) -> Self:
        """Return the encoder that `state` told of."""


class NetworkDesign(ABC):
    """The structure of a study's networks, the same for all members: a frozen dataclass of plain fields.

    A design knows its kind of data: what its networks must know of the inputs (the plan), and what may regularize
    them. Concrete ones stand beside their networks; `poise.study.sources.SOURCES` lists the kinds.
    """

    boosting: ClassVar[bool] = False
    """Whether gradient boosting can learn from the same inputs, and so is a rival."""
    bagged: ClassVar[bool] = False
    """Whether retrained networks leave rows out, in turn, for a temperature that fits them."""
    networks: ClassVar[int] = 32
    """Networks of an ensemble at most, where there is time."""

    described: ClassVar[str] = "the manifest describes"
    """What describes the networks of a saved model."""

    @property
    def pictures(self) -> bool:
        """Whether the inputs are pictures (C, H, W) in [0, 1], C 1 or 3."""
        return False

    @property
    @abstractmethod
    def choices(self) -> Choices:
        """What may regularize such a network, and where a search begins."""

    @abstractmethod
    def build(self, plan: Any, outputs: int, edges: Tensor | None) -> nn.Module:
        """Return a new network; `plan` and `edges` are what the methods of these names returned."""

    def plan(self, encoder: Any) -> Any:
        """Return what the networks must know of the inputs that an encoder makes: the encoder itself."""
        return encoder

    def columns(self, plan: Any) -> Tensor | None:
        """Return the group of each input column, (F,) int64, for batch parts; None where inputs are no columns."""
        return None

    def effort(self, rows: int) -> tuple[int, int] | None:
        """Return the rows of a step and the epochs of a full training on `rows`; None for what is usual of tables."""
        return None

    def search_share(self, rows: int) -> float:
        """Return what share of the time for search and retraining a search on `rows` has where the retraining can use
        the rest: to train all networks for as long as may be best. Where it cannot, the search has `SEARCH`.
        """
        return SEARCH

    def edges(self, plan: Any, inputs: Tensor) -> Tensor | None:
        """Return what the networks take from the training inputs beyond the plan, saved with the model; or None."""
        return None

    def settled(self, plan: Any, rows: int) -> NetworkDesign:
        """Return the design with everything decided that the inputs and the number of rows decide."""
        return self

    def alternatives(self, plan: Any, rows: int) -> tuple[NetworkDesign, ...]:
        """Return other structures that may suit `rows` rows better, of which a look before the search chooses."""
        return ()

    @property
    def told(self) -> str:
        """What a report says of the design where it was chosen among alternatives: a sentence."""
        return ""

    def facts(self) -> dict[str, Any]:
        """Return what a saved model's manifest tells of the design, as plain values: its fields."""
        return dataclasses.asdict(self)  # type: ignore[call-overload, no-any-return]  # concrete ones are dataclasses

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any], model: Callable[[], nn.Module] | None) -> Self:
        """Return the design that `facts` told of; `model` makes a network that a manifest cannot describe.

        Raises: ArgumentError if such a function is given, but not needed.
        """
        if model is not None:
            raise ArgumentError(
                f"`load_model.model` is for studies of your own network; got {shown(model)} for a {cls.__name__}, "
                "whose networks the folder describes. Leave it out."
            )
        return cls(**facts)
