"""Several tasks in one network: where the outputs and the targets of each stand."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Blocks"]


@dataclass(frozen=True)
class Blocks:
    """The layout of outputs and targets that hold several tasks side by side.

    `classes[t]` is K for a task of K classes, None for one number. Outputs are (B, W), W the sum of the widths; a
    number's width is 1. Targets are the same, and with `presence` T more columns follow, one a task: how far the
    row's label is known, 1 or 0. A label that is not known is 0 in its whole block. Mixing two rows mixes these
    columns too, so a mixed row counts for each task by the share of it whose label is known.

    >>> blocks = Blocks((2, None), presence=True)
    >>> blocks.spans, blocks.width
    (((0, 2), (2, 3)), 3)
    >>> targets = torch.tensor([[0.0, 1.0, 0.5, 1.0, 1.0], [0.0, 0.0, 2.0, 0.0, 1.0]])
    >>> blocks.own(targets, 0).tolist(), blocks.known(targets, 0).tolist()
    ([[0.0, 1.0], [0.0, 0.0]], [1.0, 0.0])
    """

    classes: tuple[int | None, ...]
    presence: bool = False

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """Return the first and the past-the-last column of each task."""
        found, start = [], 0
        for classes in self.classes:
            found.append((start, start + (classes or 1)))
            start += classes or 1
        return tuple(found)

    @property
    def width(self) -> int:
        """Return the number of outputs."""
        return self.spans[-1][1]

    def own(self, values: Tensor, task: int) -> Tensor:
        """Return one task's columns of outputs or targets. Shapes: (..., W or W + T) -> (..., width)."""
        first, past = self.spans[task]
        return values[..., first:past]

    def known(self, targets: Tensor, task: int) -> Tensor | None:
        """Return how far each row's label of one task is known, (...,) in [0, 1], or None if all are."""
        return targets[..., self.width + task] if self.presence else None

    def joined(self, targets: Tensor, own: list[Tensor]) -> Tensor:
        """Return the targets with each task's columns replaced by those given."""
        return torch.cat([*own, targets[..., self.width :]], dim=-1)
