"""A fixed weight for the loss of chosen tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.regularizer import Memory
from poise.objective.weighting import Weighting

__all__ = ["TaskWeight"]


@dataclass(frozen=True)
class TaskWeight(Weighting):
    """Multiplies the loss of the named tasks by a number.

    L_t <- weight L_t for each t of `tasks`. The plain way to say how much an auxiliary task counts; as a dial it can
    be searched, scheduled (help from an auxiliary task that fades out) and ablated. Tasks of different weights take
    several parts with names of their own. Costs nothing.

    Neutral: weight = 1; 0 leaves the tasks out.
    Shapes: terms stay 0-d and keep their dtype.
    Units: weight multiplies the loss and with it the gradient; what it means depends on the losses' own units.
    Raises: ArgumentError if weight is not a finite number >= 0, or `tasks` are not tasks of the loss.
    Source: Caruana 1997, "Multitask learning".

    >>> part, ctx = TaskWeight(0.5, tasks=("loops",)), Context(0, rng=None)
    >>> part.objective({"data/digit": torch.tensor(3.0), "data/loops": torch.tensor(4.0)}, {}, ctx)[0]
    {'data/digit': tensor(3.), 'data/loops': tensor(2.)}
    """

    rank: ClassVar[int] = 10  # before the weightings that learn: they see the losses as the user has scaled them
    formula: ClassVar[str] = "L_t <- weight L_t for the named tasks"

    weight: DialValue = dial(0.5, neutral=1.0, low=0.0, log=True, search=(0.05, 2.0))

    def weigh(self, losses: Tensor, memory: Memory, ctx: Context) -> tuple[Tensor, Memory]:
        return like(self.weight, losses) * torch.ones_like(losses), memory
