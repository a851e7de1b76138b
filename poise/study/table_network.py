"""The network of a study of a table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from poise.data import Encoder
from poise.models.edges import quantile_edges
from poise.models.tabular import ColumnPlan, TabularNet
from poise.study.choices import TABLE, Choices
from poise.study.design import NetworkDesign

__all__ = ["EMBEDDINGS", "MOST_COLUMNS", "UNITS", "Design"]

EMBEDDINGS = ("auto", "piecewise", "periodic", "none")
"""How numeric columns may enter."""

FINEST = 64
"""Bins of a column at most, where nothing was looked at: of 20,640 houses, 64 for 13 lost 8.6 % less."""

FINER = 4
"""Times as many bins as usual, for an alternative: of 36,250 hours of a market 256 for 64 lost 20 % less, of 39,074
people 2.3 % more, so a look must tell."""

MANY = 6_000
"""Rows from which on there are as many."""

LEAST = 0.45
"""Of the time for search and retraining, what a search on that many rows has in any case."""

UNITS = 16
"""Features of each numeric column behind its bins."""

MOST_COLUMNS = 32
"""Numeric columns up to which they have these: on four tables of 35 to 57 they gained nothing on the mean, for up to
twice the time."""


@dataclass(frozen=True)
class Design(NetworkDesign):
    """The structure of a table study's network; the same for all members.

    `embedding`: how numeric columns enter (`poise.models.TabularNet`), or "auto": by bins and, if they are not too
    many, a layer of each column's own, unless a look before the search finds something else better. `bins` a column;
    None: by the number of rows. `numeric_size`: features of that layer, 0 where there is none.
    """

    width: int = 128
    depth: int = 3
    embedding: str = "auto"
    bins: int | None = None
    numeric_size: int = 0
    activation: str = "relu"
    residual: bool = False

    boosting: ClassVar[bool] = True
    bagged: ClassVar[bool] = True
    # Of six tables, 60 networks for 30 lost 0.3 % less on the mean, and on each of the six.
    networks: ClassVar[int] = 64

    @property
    def choices(self) -> Choices:
        """The parts for tables."""
        return TABLE

    def build(self, plan: ColumnPlan, outputs: int, edges: Tensor | None) -> nn.Module:
        """Return a new `TabularNet`."""
        return TabularNet(
            plan,
            outputs,
            width=self.width,
            depth=self.depth,
            embedding="piecewise" if self.embedding == "auto" else self.embedding,
            numeric_size=self.numeric_size,
            activation=self.activation,
            residual=self.residual,
            edges=edges,
        )

    def plan(self, encoder: Encoder) -> ColumnPlan:
        """Return where the encoded columns belong."""
        return ColumnPlan(tuple(int(group) for group in encoder.groups), tuple(encoder.kinds))

    def columns(self, plan: ColumnPlan) -> Tensor:
        """Return the group of each column."""
        return torch.tensor(plan.groups, dtype=torch.int64)

    def edges(self, plan: ColumnPlan, inputs: Tensor) -> Tensor | None:
        """Return the quantile edges of the numeric columns, (n, bins + 1), if the design embeds them by bins."""
        numeric = plan.numeric()
        if self.embedding not in ("auto", "piecewise") or not numeric:
            return None
        bins = _usual_bins(len(numeric), len(inputs)) if self.bins is None else self.bins
        return quantile_edges(inputs.numpy(), numeric, bins)

    def search_share(self, rows: int) -> float:
        """Return a smaller share of many rows: what regularizes is seen soon, and longer trainings pay there."""
        return LEAST if rows >= MANY else super().search_share(rows)

    def settled(self, plan: ColumnPlan, rows: int) -> Design:
        """Return the design with a layer for each numeric column, if nothing else was told."""
        numeric = len(plan.numeric())
        told = self.embedding != "auto" or self.bins is not None or self.numeric_size
        return self if told or not 0 < numeric <= MOST_COLUMNS else replace(self, numeric_size=UNITS)

    def alternatives(self, plan: ColumnPlan, rows: int) -> tuple[Design, ...]:
        """Return the same with finer bins, and on few rows with numbers as they are and with bins alone.

        Of many rows, each structure more takes a good part of a short search, and the others do not pay: with bins
        alone, networks of six tables of 6,500 to 46,400 rows lost more on each, on five clearly.
        """
        numeric = len(plan.numeric())
        if self.embedding != "auto" or self.bins is not None or not numeric:
            return ()
        usual = _usual_bins(numeric, rows)
        told = replace(self, embedding="piecewise")
        most = (4096 if rows >= MANY else 1024) // numeric
        fine = min(FINER * usual, most)
        finer = (replace(told, bins=fine),) if fine >= 2 * usual else ()
        if rows >= MANY:
            return finer
        alone = (replace(told, bins=usual, numeric_size=0),) if self.numeric_size else ()
        return (replace(self, embedding="none", numeric_size=0), *finer, *alone)

    @property
    def told(self) -> str:
        """How numbers enter."""
        if self.embedding == "none":
            return "Numbers enter the network as they are, without bins."
        own = ", and a layer of each column's own" if self.numeric_size else ""
        return f"Numbers enter the network through {self.bins} bins a column{own}."


def _usual_bins(columns: int, rows: int) -> int:
    """Return the bins of a column: 8, or of many rows 64; fewer where there are many columns."""
    return max(2, min(FINEST, 1024 // columns) if rows >= MANY else min(8, 512 // columns))
