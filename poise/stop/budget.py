"""A limit on the number of steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.regularizer import Memory, Regularizer

__all__ = ["Budget"]


@dataclass(frozen=True)
class Budget(Regularizer):
    """Stops at the first evaluation after so many optimizer steps.

    stopped <- stopped or step >= steps, step the number of optimizer steps done. Few steps from small weights act like
    L2 (see `tests/test_textbook.py`): the number of steps is a strength, and a member may have its own. It costs
    nothing.

    Neutral: steps = inf, never stops.
    Shapes: stopped is 0-d bool.
    Units: steps counts optimizer steps, not epochs or evaluations.
    Raises: ArgumentError if steps is neither a number >= 0 nor inf.
    Source: Goodfellow, Bengio and Courville 2016, section 7.8.

    >>> [bool(Budget(steps=2).stop(torch.tensor(False), {}, Context(step, rng=None))[0]) for step in (1, 2)]
    [False, True]
    """

    formula: ClassVar[str] = "stop once step >= steps"
    cost: ClassVar[str] = "nothing"

    steps: DialValue = dial(10_000, neutral=math.inf, low=0.0, log=True, search=(100.0, 100_000.0), unit="steps")

    def stop(self, stopped: Tensor, memory: Memory, ctx: Context) -> tuple[Tensor, Memory]:
        # int64 against float64 on purpose: float32 cannot count beyond 2^24.
        step = torch.as_tensor(ctx.step, dtype=torch.float64).to(stopped.device)
        return stopped | (step >= like(self.steps, step)), memory
