"""Prepared data as tensors: what every network of a study sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from poise.core.blocks import Blocks
from poise.core.context import Batch
from poise.study.design import NetworkDesign
from poise.study.heads import Head
from poise.study.sequence_head import SequenceHead
from poise.train.losses import Loss, SeveralLosses
from poise.train.population import Rows

__all__ = ["AnyHead", "Problem", "as_inputs"]

AnyHead = Head | SequenceHead
"""The answer of a network to one target."""


@dataclass(frozen=True)
class Problem:
    """The development rows of a study: inputs (N, ...), targets (N, W), row weights (N,) or None.

    The targets of all `heads` stand side by side: K columns of a distribution for classes, one for a number; of a text
    they are codes (N, T, 1). Where
    some label is missing, one more column a head says whose is known (see `poise.core.blocks`). `plan` is what the
    design's networks must know of the inputs.
    """

    rows: Rows
    heads: tuple[AnyHead, ...]
    plan: Any
    design: NetworkDesign

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
        """The group of each input column, as batch parts want it; None where inputs are no columns."""
        return self.design.columns(self.plan)

    @property
    def outputs(self) -> int:
        """The width of the network's heads together."""
        return self.blocks.width

    def to(self, device: str) -> Problem:
        """Return the problem with its rows and its heads on a device."""
        return replace(self, rows=self.rows.to(device), heads=tuple(head.to(device) for head in self.heads))

    def loss(self) -> Loss:
        """Return the data's loss: the head's own, or the mean over heads."""
        if self.plain:
            return self.heads[0].loss()
        # A column's name may hold anything; a term's may not.
        names = tuple(f"{place}:{head.name.replace('/', ':')}" for place, head in enumerate(self.heads))
        return SeveralLosses(names, self.blocks, tuple(head.loss() for head in self.heads))

    def edges(self) -> Tensor | None:
        """Return what the networks take from the inputs beyond the plan, if anything."""
        return self.design.edges(self.plan, self.rows.inputs)

    def builder(self) -> Callable[[], nn.Module]:
        """Return the function that makes a new network for these rows."""
        return partial(self.design.build, self.plan, self.outputs, self.edges())

    def of_heads(
        self, values: Tensor, targets: Tensor, weights: Tensor
    ) -> list[tuple[AnyHead, Tensor, Tensor, Tensor]]:
        """Return each head with its columns of values (outputs or answers) and targets, and its rows' weights."""
        blocks = self.blocks
        found: list[tuple[AnyHead, Tensor, Tensor, Tensor]] = []
        for place, head in enumerate(self.heads):
            known = blocks.known(targets, place)
            own = weights if known is None else weights * known
            found.append((head, blocks.own(values, place), blocks.own(targets, place), own))
        return found

    def weights_of(self, rows: Tensor) -> Tensor:
        """Return the weights (n,) of rows, by number or by mask (N,); 1 where rows have none."""
        own = self.rows.weights
        return torch.ones(len(self.rows.targets[rows])) if own is None else own[rows]

    def score(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return each member's loss (M,) on its rows: the mean over heads of weighted cross-entropy or squared error.

        A head none of whose labels is known in a member's rows does not count there.
        Shapes: outputs (M, n, W), targets (M, n, W or W + T), weights (M, n); rows of weight 0 are not looked at.
        """
        weights = batch.weights
        if weights is None:
            weights = torch.ones(outputs.shape[:2], device=outputs.device)
        return _mean_over_heads([head.score(*own) for head, *own in self.of_heads(outputs, batch.targets, weights)])

    def answers(self, outputs: Tensor) -> Tensor:
        """Return what an ensemble takes the mean of, (..., W): each head's probabilities, or its number."""
        blocks = self.blocks
        return torch.cat([head.answers(blocks.own(outputs, place)) for place, head in enumerate(self.heads)], dim=-1)

    def answer_score(
        self, answers: Tensor, targets: Tensor, weights: Tensor, temperatures: Sequence[float] | None = None
    ) -> Tensor:
        """Return the loss (C,) of answers (C, n, W) on rows with targets (n, W or W + T) and weights (n,).

        Probabilities are scored after each head's temperature, or after the best of each answer.
        """
        scores = []
        for place, (head, own, wanted, counted) in enumerate(self.of_heads(answers, targets, weights)):
            temperature = None if temperatures is None else temperatures[place]
            scores.append(head.answer_score(own, wanted, counted, temperature))
        return _mean_over_heads(scores)

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
        plan: Any,
        design: NetworkDesign,
        weights: np.ndarray | None = None,
    ) -> Problem:
        """Build the problem from encoded arrays: of each head the labels (N,), -1 or NaN where one is missing."""
        targets, known = zip(*(head.encode(own) for head, own in zip(heads, labels, strict=True)), strict=True)
        presence = torch.stack(known, dim=-1)
        y = torch.cat([*targets] if bool(presence.all()) else [*targets, presence.float()], dim=-1)
        own = None if weights is None else torch.from_numpy(np.asarray(weights, dtype=np.float32))
        return Problem(Rows(as_inputs(inputs), y, own), tuple(heads), plan, design)


def as_inputs(inputs: np.ndarray) -> Tensor:
    """Return encoded inputs as a network reads them: whole numbers as int64, all others as float32."""
    whole = np.issubdtype(inputs.dtype, np.integer)
    return torch.from_numpy(np.ascontiguousarray(inputs, dtype=np.int64 if whole else np.float32))


def _mean_over_heads(scores: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the mean over heads of loss / rows, (M,), of the heads that have rows."""
    held = torch.stack([rows > 0 for _, rows in scores])
    means = torch.stack([torch.where(rows > 0, total / rows, 0.0) for total, rows in scores])
    return means.sum(0) / held.sum(0)
