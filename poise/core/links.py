"""How a module tells what its forward pass does, so that a population may run it by kernels instead of by its code."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from torch import nn

__all__ = ["Beside", "Columns", "Embedded", "Feature", "Features", "Levels", "Link", "Linked", "Periodic", "Piecewise",
           "Through", "links_of"]  # fmt: skip


@dataclass(frozen=True)
class Through:
    """hidden <- submodule(hidden)."""

    path: str


@dataclass(frozen=True)
class Beside:
    """hidden <- hidden + submodule(hidden)."""

    path: str


@dataclass(frozen=True)
class Columns:
    """Some of the input's columns as they are."""

    columns: tuple[int, ...]


@dataclass(frozen=True)
class Piecewise:
    """Some of the input's columns, each followed by clamp((x - low) slope, 0, 1) for each of its bins.

    `low` and `slope` are the paths of buffers (columns, bins).
    """

    columns: tuple[int, ...]
    low: str
    slope: str


@dataclass(frozen=True)
class Embedded:
    """Some of the input's columns, each followed by relu([x, clamp((x - low) slope, 0, 1) for each bin] weight + bias).

    `low` and `slope` are the paths of buffers (columns, bins), `weight` and `bias` those of parameters
    (columns, 1 + bins, size) and (columns, size): each column has a linear map of its own.
    """

    columns: tuple[int, ...]
    low: str
    slope: str
    weight: str
    bias: str


@dataclass(frozen=True)
class Periodic:
    """Some of the input's columns, each followed by cos(2 pi (x frequency + phase)) for each of its frequencies.

    `frequency` and `phase` are the paths of parameters (columns, size).
    """

    columns: tuple[int, ...]
    frequency: str
    phase: str


@dataclass(frozen=True)
class Levels:
    """Adjacent columns of the input, from `first`, times the parameter of that path (columns, size)."""

    first: int
    parameter: str


Feature = Columns | Piecewise | Embedded | Periodic | Levels
"""What features of the input may be."""


@dataclass(frozen=True)
class Features:
    """hidden <- features of the input, side by side; a chain may begin so."""

    parts: tuple[Feature, ...]


Link = Through | Beside | Features
"""What one step of a forward pass may be."""


class Linked(nn.Module):
    """A module whose forward pass is a chain of links. Whoever overrides `forward` tells the links anew, or is run as
    written: links count only if they stand in the class that `forward` stands in.
    """

    @abstractmethod
    def links(self) -> tuple[Link, ...]:
        """Return what forward does, in order; () if links cannot tell. Inserted layers are found by the reader."""


def links_of(module: Linked) -> tuple[Link, ...]:
    """Return the module's links, () if another class has overridden its forward pass."""
    for kind in type(module).__mro__:
        if "links" in vars(kind) or "forward" in vars(kind):
            return module.links() if "links" in vars(kind) and "forward" in vars(kind) else ()
    return ()
