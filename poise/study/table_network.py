"""The network of a study of a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from poise.data import Encoder
from poise.models.tabular import ColumnPlan, TabularNet, quantile_edges
from poise.study.choices import TABLE, Choices
from poise.study.design import NetworkDesign

__all__ = ["Design"]


@dataclass(frozen=True)
class Design(NetworkDesign):
    """The structure of a table study's network; the same for all members."""

    width: int = 128
    depth: int = 3
    embedding: str = "piecewise"
    bins: int = 8
    activation: str = "relu"
    residual: bool = False

    boosting: ClassVar[bool] = True

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
            embedding=self.embedding,
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
        if self.embedding != "piecewise" or not numeric:
            return None
        # More rows can fill more bins: up to four times as many, one for each thousand rows. Wide tables get fewer:
        # 512 embedded features are enough, and the first layer pays for each.
        bins = max(self.bins, min(4 * self.bins, len(inputs) // 1000))
        bins = max(2, min(bins, 512 // len(numeric)))
        return quantile_edges(inputs.numpy(), numeric, bins)
