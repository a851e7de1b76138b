"""A prepared table as tensors: what every network of a study sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from poise.core.blocks import Blocks
from poise.core.context import Batch
from poise.data.pixels import PixelEncoder
from poise.models.tabular import ColumnPlan, TabularNet, quantile_edges
from poise.study.heads import Head
from poise.study.image_network import ImageDesign, ImageNetwork
from poise.train.losses import Loss, SeveralLosses
from poise.train.population import Rows

__all__ = ["Design", "Plan", "Problem", "network"]

Plan = ColumnPlan | PixelEncoder
"""What a network must know of its inputs: where the columns of a table belong, or the size of pictures."""


@dataclass(frozen=True)
class Design:
    """The structure of the study's network; the same for all members."""

    width: int = 128
    depth: int = 3
    embedding: str = "piecewise"
    bins: int = 8
    activation: str = "relu"
    residual: bool = False


def network(plan: Plan, outputs: int, design: Design | ImageDesign, edges: Tensor | None) -> nn.Module:
    """Return a new network of a design, for a table or for images."""
    if isinstance(plan, PixelEncoder):
        assert isinstance(design, ImageDesign)
        return ImageNetwork(plan, outputs, design)
    assert isinstance(design, Design)
    return TabularNet(
        plan,
        outputs,
        width=design.width,
        depth=design.depth,
        embedding=design.embedding,
        activation=design.activation,
        residual=design.residual,
        edges=edges,
    )


@dataclass(frozen=True)
class Problem:
    """The development rows of a study: inputs (N, F) or (N, C, H, W), targets (N, W), row weights (N,) or None.

    The targets of all `heads` stand side by side: K columns of a distribution for classes, one for a number. Where
    some label is missing, one more column a head says whose is known (see `poise.core.blocks`).
    """

    rows: Rows
    heads: tuple[Head, ...]
    plan: Plan
    design: Design | ImageDesign

    @property
    def blocks(self) -> Blocks:
        """Where the heads' columns stand in outputs and targets."""
        classes = tuple(head.classes for head in self.heads)
        return Blocks(classes, presence=int(self.rows.targets.shape[-1]) > Blocks(classes).width)

    @property
    def plain(self) -> bool:
        """Whether there is one head whose label every row has: its targets are then all columns there are."""
        return len(self.heads) == 1 and not self.blocks.presence

    @property
    def lead(self) -> int:
        """The head by which rows are divided: the first of classes, else the first."""
        return next((place for place, head in enumerate(self.heads) if head.classes), 0)

    @property
    def columns(self) -> Tensor | None:
        """The group of each input column, as batch parts want it; None of pictures."""
        return None if isinstance(self.plan, PixelEncoder) else torch.tensor(self.plan.groups, dtype=torch.int64)

    @property
    def outputs(self) -> int:
        """The width of the network's heads together."""
        return self.blocks.width

    def loss(self) -> Loss:
        """Return the data's loss: the head's own, or the mean over heads."""
        if self.plain:
            return self.heads[0].loss()
        # A column's name may hold anything; a term's may not.
        names = tuple(f"{place}:{head.name.replace('/', ':')}" for place, head in enumerate(self.heads))
        return SeveralLosses(names, self.blocks, tuple(head.loss() for head in self.heads))

    def edges(self) -> Tensor | None:
        """Return the quantile edges of the numeric columns, (n, bins + 1), if the design embeds them by bins."""
        if isinstance(self.plan, PixelEncoder) or isinstance(self.design, ImageDesign):
            return None
        numeric = self.plan.numeric()
        if self.design.embedding != "piecewise" or not numeric:
            return None
        # Wide tables get fewer bins: 512 embedded features are enough, and the first layer pays for each.
        bins = max(2, min(self.design.bins, 512 // len(numeric)))
        return quantile_edges(self.rows.inputs.numpy(), numeric, bins)

    def builder(self) -> Callable[[], nn.Module]:
        """Return the function that makes a new network for these rows."""
        return partial(network, self.plan, self.outputs, self.design, self.edges())

    def of_heads(self, values: Tensor, targets: Tensor, weights: Tensor) -> list[tuple[Head, Tensor, Tensor, Tensor]]:
        """Return each head with its columns of values (outputs or answers) and targets, and its rows' weights."""
        blocks, found = self.blocks, []
        for place, head in enumerate(self.heads):
            known = blocks.known(targets, place)
            own = weights if known is None else weights * known
            found.append((head, blocks.own(values, place), blocks.own(targets, place), own))
        return found

    def score(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return each member's loss (M,) on its rows: the mean over heads of weighted cross-entropy or squared error.

        A head none of whose labels is known in a member's rows does not count there.
        Shapes: outputs (M, n, W), targets (M, n, W or W + T), weights (M, n); rows of weight 0 are not looked at.
        """
        weights = batch.weights if batch.weights is not None else torch.ones(outputs.shape[:2])
        return _mean_over_heads([head.score(*own) for head, *own in self.of_heads(outputs, batch.targets, weights)])

    def answers(self, outputs: Tensor) -> Tensor:
        """Return what an ensemble takes the mean of, (..., W): each head's probabilities, or its number."""
        blocks = self.blocks
        return torch.cat([head.answers(blocks.own(outputs, place)) for place, head in enumerate(self.heads)], dim=-1)

    def answer_score(self, answers: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Return the loss (C,) of answers (C, n, W) on rows with targets (n, W or W + T) and weights (n,)."""
        return _mean_over_heads([head.answer_score(*own) for head, *own in self.of_heads(answers, targets, weights)])

    def alone(self, place: int) -> Problem:
        """Return the problem of one head: the same rows, of which those without its label teach nothing."""
        blocks, targets = self.blocks, self.rows.targets
        own, known = blocks.own(targets, place), blocks.known(targets, place)
        if known is not None and not bool((known > 0).all()):
            own = torch.cat([own, known[:, None]], dim=-1)
        rows = Rows(self.rows.inputs, own.contiguous(), self.rows.weights)
        return replace(self, rows=rows, heads=(self.heads[place],))

    @staticmethod
    def of(
        inputs: np.ndarray,
        labels: Sequence[np.ndarray],
        heads: Sequence[Head],
        *,
        plan: Plan,
        weights: np.ndarray | None = None,
        design: Design | ImageDesign | None = None,
    ) -> Problem:
        """Build the problem from encoded arrays: of each head the labels (N,), -1 or NaN where one is missing."""
        x = torch.from_numpy(np.ascontiguousarray(inputs, dtype=np.float32))
        targets, known = zip(*(head.encode(own) for head, own in zip(heads, labels, strict=True)), strict=True)
        presence = torch.stack(known, dim=-1)
        y = torch.cat([*targets] if bool(presence.all()) else [*targets, presence.float()], dim=-1)
        own = None if weights is None else torch.from_numpy(np.asarray(weights, dtype=np.float32))
        return Problem(Rows(x, y, own), tuple(heads), plan, design or Design())


def _mean_over_heads(scores: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the mean over heads of loss / rows, (M,), of the heads that have rows."""
    held = torch.stack([rows > 0 for _, rows in scores])
    means = torch.stack([torch.where(rows > 0, total / rows, 0.0) for total, rows in scores])
    return means.sum(0) / held.sum(0)
