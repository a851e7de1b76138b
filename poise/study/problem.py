"""A prepared table as tensors: what every network of a study sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.core.context import Batch
from poise.data.target import Task
from poise.models.tabular import ColumnPlan, TabularNet, quantile_edges
from poise.train.losses import CrossEntropy, Loss, SquaredError
from poise.train.population import Rows

__all__ = ["Design", "Problem", "network"]


@dataclass(frozen=True)
class Design:
    """The structure of the study's network; the same for all members."""

    width: int = 128
    depth: int = 3
    embedding: str = "piecewise"
    bins: int = 8
    activation: str = "relu"
    residual: bool = False


def network(plan: ColumnPlan, outputs: int, design: Design, edges: Tensor | None) -> TabularNet:
    """Return a new network of a design."""
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
    """The development rows of a study: encoded inputs (N, F), targets (N, K) or (N, 1), row weights (N,) or None.

    `class_weights` (K,) weigh the classes in the loss and in the score, or None; `decision_weights` (K,) are what the
    user asked for, and weigh the decision.
    """

    rows: Rows
    task: Task
    classes: int | None
    plan: ColumnPlan
    class_weights: Tensor | None
    decision_weights: np.ndarray | None
    design: Design

    @property
    def columns(self) -> Tensor:
        """The group of each input column, as batch parts want it."""
        return torch.tensor(self.plan.groups, dtype=torch.int64)

    @property
    def outputs(self) -> int:
        """The width of the network's head."""
        return self.classes or int(self.rows.targets.shape[-1])

    def loss(self) -> Loss:
        """Return the data's loss."""
        return CrossEntropy(self.class_weights) if self.classes else SquaredError()

    def edges(self) -> Tensor | None:
        """Return the quantile edges of the numeric columns, (n, bins + 1), if the design embeds them by bins."""
        numeric = self.plan.numeric()
        if self.design.embedding != "piecewise" or not numeric:
            return None
        # Wide tables get fewer bins: 512 embedded features are enough, and the first layer pays for each.
        bins = max(2, min(self.design.bins, 512 // len(numeric)))
        return quantile_edges(self.rows.inputs.numpy(), numeric, bins)

    def builder(self) -> Callable[[], nn.Module]:
        """Return the function that makes a new network for this table."""
        return partial(network, self.plan, self.outputs, self.design, self.edges())

    def score(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return each member's loss (M,) on its rows: weighted mean cross-entropy or squared error.

        Shapes: outputs (M, n, K), targets (M, n, K), weights (M, n); rows of weight 0 are not looked at.
        """
        weights = batch.weights if batch.weights is not None else torch.ones(outputs.shape[:2])
        if self.classes:
            targets = batch.targets
            if self.class_weights is not None:
                targets = targets * self.class_weights
            # Divided by the weighted rows, as torch's cross-entropy has it: a mean under the classes' weights.
            rows = (weights * targets.sum(-1)).sum(1)
            losses = -(targets * F.log_softmax(outputs, dim=-1)).sum(-1)
        else:
            losses, rows = torch.square(outputs - batch.targets).mean(-1), weights.sum(1)
        return torch.where(weights > 0, losses * weights, 0.0).sum(1) / rows

    @staticmethod
    def of(
        inputs: np.ndarray,
        targets: np.ndarray,
        *,
        task: Task,
        classes: int | None,
        plan: ColumnPlan,
        class_weights: np.ndarray | None = None,
        weights: np.ndarray | None = None,
        design: Design | None = None,
    ) -> Problem:
        """Build the problem from encoded arrays: targets are codes (N,) for classes, else standardised numbers (N,)."""
        x = torch.from_numpy(np.ascontiguousarray(inputs, dtype=np.float32))
        if classes:
            y = F.one_hot(torch.from_numpy(np.asarray(targets, dtype=np.int64)), classes).float()
        else:
            y = torch.from_numpy(np.asarray(targets, dtype=np.float32)).reshape(len(x), -1)
        own = None if weights is None else torch.from_numpy(np.asarray(weights, dtype=np.float32))
        # The square root of what was asked for: full weights let the few rows of a rare class speak too loudly and
        # blur every probability; the decision makes up for the rest.
        scale = (
            None
            if class_weights is None
            else torch.from_numpy(np.sqrt(np.maximum(class_weights, 1e-6)).astype(np.float32))
        )
        return Problem(Rows(x, y, own), task, classes, plan, scale, class_weights, design or Design())
