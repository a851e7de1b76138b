"""Networks for tables: a plain MLP, and one with numeric and categorical embeddings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from poise.core.errors import ArgumentError, shown
from poise.core.links import (
    Beside,
    Columns,
    Embedded,
    Feature,
    Features,
    Levels,
    Link,
    Linked,
    Periodic,
    Piecewise,
    Through,
)

__all__ = ["ColumnPlan", "Mlp", "TabularNet"]

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "selu": nn.SELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "gelu": nn.GELU,
}


@dataclass(frozen=True)
class ColumnPlan:
    """Where the columns of an encoded table belong.

    `groups` (F,): the group of each encoded column; `kinds`: "numeric" or "category" for each group. The columns of a
    group are adjacent: the levels of a category, or the several numbers that a date or a text became.

    Raises: ArgumentError otherwise.
    """

    groups: tuple[int, ...]
    kinds: tuple[str, ...]

    def __post_init__(self) -> None:
        if unknown := set(self.kinds) - {"numeric", "category"}:
            raise ArgumentError(f"`ColumnPlan.kinds` must be numeric or category; got {shown(sorted(unknown))}.")
        if any(not 0 <= group < len(self.kinds) for group in self.groups):
            raise ArgumentError(
                f"`ColumnPlan.groups` must hold numbers from 0 to {len(self.kinds) - 1}; got {shown(self.groups)}."
            )
        runs = [group for place, group in enumerate(self.groups) if place == 0 or self.groups[place - 1] != group]
        if len(runs) != len(set(runs)):
            raise ArgumentError(
                f"`ColumnPlan.groups` must have a group's columns side by side; got {shown(self.groups)}."
            )

    def numeric(self) -> list[int]:
        """Return the columns of all numeric groups, in order."""
        return [column for _, first, past in self.spans("numeric") for column in range(first, past)]

    def spans(self, kind: str) -> list[tuple[int, int, int]]:
        """Return (group, first column, past the last column) of each group of a kind."""
        found = []
        for group, its in enumerate(self.kinds):
            if its == kind:
                places = [place for place, owner in enumerate(self.groups) if owner == group]
                if places:
                    found.append((group, places[0], places[-1] + 1))
        return found


def _runs(columns: Sequence[int]) -> list[tuple[int, int]]:
    """Return columns, in their order, as runs (first, past the last).

    >>> _runs([0, 1, 4])
    [(0, 2), (4, 5)]
    """
    starts = [place for place, column in enumerate(columns) if place == 0 or columns[place - 1] != column - 1]
    return [(columns[a], columns[b - 1] + 1) for a, b in pairwise([*starts, len(columns)])] if columns else []


class NumericEmbedding(nn.Module):
    """Turns each numeric column into several features.

    "piecewise": the column itself, and how far the value is through each quantile bin, clamped to [0, 1] (after
    Gorishniy, Rubachev, Babenko 2022, "On embeddings for numerical features in tabular deep learning", section 3.2).
    With `units`, the bins do not enter as they are, but both through a linear map of each column's own to so many
    features, and a ReLU (Q-LR of the same paper). "periodic": the column, and cos(2 pi (w x + b)) with learned w, b
    (section 3.3; w ~ N(0, sigma^2)). "none": the column alone. Without `units`, the linear map that the paper puts
    behind a column's features is left to the network's first layer, which is linear too.

    Shapes: (B, n) -> (B, n * size).
    """

    def __init__(
        self, kind: str, columns: int, edges: Tensor | None, size: int, sigma: float = 0.5, units: int = 0
    ) -> None:
        super().__init__()
        self.kind, self.units = kind, units if kind == "piecewise" else 0
        self.size = 1 + (self.units or (size if kind != "none" else 0))
        if kind == "piecewise":
            if edges is None:
                raise ArgumentError("`TabularNet.edges` must be given for piecewise embeddings: see quantile_edges.")
            if edges.shape[0] != columns:
                raise ArgumentError(
                    f"`TabularNet.edges` must have a row for each of {columns} numeric columns; got {edges.shape[0]}."
                )
            self.low: Tensor
            self.slope: Tensor
            self.register_buffer("low", edges[:, :-1].clone())
            self.register_buffer("slope", 1 / (edges[:, 1:] - edges[:, :-1]))
            if units:
                scale = edges.shape[1] ** -0.5  # nn.Linear's, of the column and its bins
                self.weight = nn.Parameter(torch.empty(columns, edges.shape[1], units).uniform_(-scale, scale))
                self.bias = nn.Parameter(torch.empty(columns, units).uniform_(-scale, scale))
                self.parameter_roles = {"weight": "weight", "bias": "bias"}
        elif kind == "periodic":
            self.frequency = nn.Parameter(torch.randn(columns, size) * sigma)
            self.phase = nn.Parameter(torch.rand(columns, size))
            self.parameter_roles = {"frequency": "embedding", "phase": "embedding"}

    def forward(self, x: Tensor) -> Tensor:
        column = x.unsqueeze(-1)
        if self.kind == "none":
            return x
        if self.kind == "piecewise":
            features = ((column - self.low) * self.slope).clamp(0.0, 1.0)
        else:
            features = torch.cos(2 * math.pi * (column * self.frequency + self.phase))
        features = torch.cat([column, features], dim=-1)
        if self.units:
            own = torch.relu(torch.einsum("bnk,nku->bnu", features, self.weight) + self.bias)
            features = torch.cat([column, own], dim=-1)
        return features.flatten(-2)


class TabularNet(Linked):
    """An MLP over embedded columns, worth regularizing.

    Numeric columns go through `NumericEmbedding`, whose `units` are `numeric_size` where it is piecewise; one-hot
    groups of more than `embed_above` levels are multiplied into `embedding_size` dimensions (a soft one-hot, as mixup
    makes it, works too); smaller groups enter as they are. Then `depth` hidden layers of `width` units, with the input
    added to each block's output if `residual`, and a linear head. Scaling and clipping of the columns is the encoder's
    (`poise.data.Encoder`).

    Shapes: (B, F) -> (B, outputs).
    Raises: ArgumentError for an unknown embedding or activation, or sizes < 1.
    Source: Holzmueller, Grinsztajn, Steinwart 2024, "Better by default" (RealMLP): one-hot up to 9 levels (a missing
    one among them), else 8 dimensions.
    """

    def __init__(
        self,
        plan: ColumnPlan,
        outputs: int,
        *,
        width: int = 128,
        depth: int = 3,
        embedding: str = "piecewise",
        numeric_size: int = 0,
        embedding_size: int = 8,
        embed_above: int = 9,
        activation: str = "relu",
        residual: bool = False,
        edges: Tensor | None = None,
    ) -> None:
        super().__init__()
        _check(embedding, activation, width=width, depth=depth, outputs=outputs, embedding_size=embedding_size)
        if isinstance(numeric_size, bool) or not isinstance(numeric_size, int) or numeric_size < 0:
            raise ArgumentError(f"`numeric_size` must be an int >= 0; got {shown(numeric_size)}.")
        self.numeric_columns = numeric = plan.numeric()
        bins = 8 if edges is None else edges.shape[1] - 1
        kind = embedding if numeric else "none"
        self.numeric = NumericEmbedding(kind, len(numeric), edges, bins, units=numeric_size)
        groups = [plan.groups[column] for column in numeric for _ in range(self.numeric.size)]
        self.plain_columns: list[int] = []
        self.spans: list[tuple[int, int]] = []
        self.levels = nn.ParameterList()
        embedded_groups: list[int] = []
        for group, first, past in plan.spans("category"):
            if past - first > embed_above:
                self.spans.append((first, past))
                self.levels.append(nn.Parameter(torch.randn(past - first, embedding_size)))
                embedded_groups += [group] * embedding_size
            else:
                self.plain_columns += range(first, past)
                groups += [group] * (past - first)
        self.levels.parameter_roles = {str(i): "embedding" for i in range(len(self.levels))}  # type: ignore[assignment]  # read by roles_of
        groups += embedded_groups
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(len(groups) if i == 0 else width, width), _ACTIVATIONS[activation]())
            for i in range(depth)
        )
        self.blocks[0][0].column_groups = tuple(groups)  # type: ignore[index]  # a Sequential
        self.residual = residual
        self.head = nn.Linear(width, outputs)
        # Taken by a list of numbers, columns would wait for the list to reach the device, at every step.
        self._numeric_runs, self._plain_runs = _runs(numeric), _runs(self.plain_columns)

    def forward(self, x: Tensor) -> Tensor:
        numbers = [x[:, first:past] for first, past in self._numeric_runs] or [x[:, :0]]
        parts = [self.numeric(numbers[0] if len(numbers) == 1 else torch.cat(numbers, dim=-1))]
        parts += [x[:, first:past] for first, past in self._plain_runs]
        parts += [x[:, a:b] @ level for (a, b), level in zip(self.spans, self.levels, strict=True)]
        hidden = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        for number, block in enumerate(self.blocks):
            out = block(hidden)
            hidden = hidden + out if self.residual and number else out
        return self.head(hidden)  # type: ignore[no-any-return]  # nn.Module's call is untyped

    def links(self) -> tuple[Link, ...]:
        parts: list[Feature] = []
        if self.numeric_columns and self.numeric.units:
            own = ("numeric.low", "numeric.slope", "numeric.weight", "numeric.bias")
            parts.append(Embedded(tuple(self.numeric_columns), *own))
        elif self.numeric_columns and self.numeric.kind == "piecewise":
            parts.append(Piecewise(tuple(self.numeric_columns), "numeric.low", "numeric.slope"))
        elif self.numeric_columns and self.numeric.kind == "periodic":
            parts.append(Periodic(tuple(self.numeric_columns), "numeric.frequency", "numeric.phase"))
        elif self.numeric_columns:
            parts.append(Columns(tuple(self.numeric_columns)))
        if self.plain_columns:
            parts.append(Columns(tuple(self.plain_columns)))
        parts += [Levels(first, f"levels.{place}") for place, (first, _past) in enumerate(self.spans)]
        blocks = [
            Beside(f"blocks.{number}") if self.residual and number else Through(f"blocks.{number}")
            for number in range(len(self.blocks))
        ]
        return (Features(tuple(parts)), *blocks, Through("head"))


class Mlp(Linked):
    """A plain multilayer perceptron: `depth` hidden layers of `width` units and a linear head.

    Shapes: (B, inputs) -> (B, outputs).
    """

    def __init__(
        self, inputs: int, outputs: int, *, width: int = 128, depth: int = 3, activation: str = "relu"
    ) -> None:
        super().__init__()
        _check("none", activation, inputs=inputs, width=width, depth=depth, outputs=outputs)
        layers: list[nn.Module] = []
        for number in range(depth):
            layers += [nn.Linear(inputs if number == 0 else width, width), _ACTIVATIONS[activation]()]
        self.layers = nn.Sequential(*layers, nn.Linear(width, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)  # type: ignore[no-any-return]  # nn.Module's call is untyped

    def links(self) -> tuple[Link, ...]:
        return (Through("layers"),)


def _check(embedding: str, activation: str, **sizes: int) -> None:
    if embedding not in ("piecewise", "periodic", "none"):
        raise ArgumentError(f"`TabularNet.embedding` must be piecewise, periodic or none; got {shown(embedding)}.")
    if activation not in _ACTIVATIONS:
        raise ArgumentError(f"`activation` must be one of {', '.join(_ACTIVATIONS)}; got {shown(activation)}.")
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ArgumentError(f"`{name}` must be an int >= 1; got {shown(size)}.")
