"""Early stopping: end training when the validation score no longer improves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.regularizer import Memory, Regularizer

__all__ = ["Patience"]


@dataclass(frozen=True)
class Patience(Regularizer):
    """Stops after so many evaluations in a row without improvement of the validation score.

    An evaluation improves if score < reference - minimum_change; the reference is the score of the last improvement.
    Training stops when `evaluations` in a row did not (0 and 1 both stop at the first). Lower scores are better; a tie
    or a NaN is no improvement. Use it in nearly every run; it costs the evaluations, and a copy of the best weights.

    Contract with the trainer: `best` and `best_step` follow the true minimum, also where it is lower by less than
    minimum_change. Whenever memory["best_step"] == ctx.step after the call, the trainer keeps a copy of the weights
    (of everything that the restored run needs); best_step = -1 says that no score was ever a number.

    Neutral: evaluations = inf, never stops; minimum_change = 0.
    Shapes: ctx.score is 0-d; memory is 0-d: best, reference (float64), best_step, wait (int64).
    Units: evaluations, not steps or epochs; minimum_change is in units of the score.
    Raises: ArgumentError if evaluations is neither a number >= 0 nor inf, or minimum_change not a finite number >= 0.
    Source: Goodfellow, Bengio and Courville 2016, algorithm 7.1; Prechelt 1998, "Early stopping - but when?".

    >>> part, stopped = Patience(evaluations=1), torch.tensor(False)
    >>> memory = part.remember({})
    >>> for step, score in enumerate([3.0, 2.0, 2.5]):
    ...     ctx = Context(step, rng=None, score=torch.tensor(score))
    ...     stopped, memory = part.stop(stopped, memory, ctx)
    >>> bool(stopped), int(memory["best_step"])
    (True, 1)
    """

    formula: ClassVar[str] = "stop after `evaluations` in a row without score < reference - minimum_change"
    cost: ClassVar[str] = "the evaluations, one copy of the weights"

    evaluations: DialValue = dial(10, neutral=math.inf, low=0.0, search=(1.0, 100.0), unit="evaluations")
    minimum_change: DialValue = dial(0.0, neutral=0.0, low=0.0, search=(0.0, 0.01), unit="score")

    def remember(self, params: Mapping[str, Tensor]) -> Memory:
        device = next((w.device for w in params.values()), None)
        return {
            "best": torch.tensor(math.inf, dtype=torch.float64, device=device),
            "reference": torch.tensor(math.inf, dtype=torch.float64, device=device),
            "best_step": torch.tensor(-1, device=device),
            "wait": torch.tensor(0, device=device),
        }

    def stop(self, stopped: Tensor, memory: Memory, ctx: Context) -> tuple[Tensor, Memory]:
        best, reference, wait = memory["best"], memory["reference"], memory["wait"]
        score = torch.as_tensor(ctx.score).to(best)
        step = torch.as_tensor(ctx.step).to(wait)
        better = score < best  # False for NaN
        improved = score < reference - like(self.minimum_change, best)
        wait = torch.where(improved, torch.zeros_like(wait), wait + 1)
        tired = ~improved & (wait >= like(self.evaluations, best))
        return stopped | tired.to(stopped.device), {
            "best": torch.where(better, score, best),
            "reference": torch.where(improved, score, reference),
            "best_step": torch.where(better, step, memory["best_step"]),
            "wait": wait,
        }
