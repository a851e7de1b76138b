"""L2: half the squared length of the weights, added to the objective."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.kinds import Penalty, summed

__all__ = ["L2"]


@dataclass(frozen=True)
class L2(Penalty):
    """Adds weight/2 times the sum of squares of the selected parameters to the objective.

    weight/2 sum w^2, with the half, so that its gradient is exactly weight * w. Use it where the penalty must be part
    of the loss (ridge regression, a Gaussian prior of precision `weight`). Adam divides its gradient by sqrt(v) like
    any other: to shrink all weights at one rate there, use `Decay`. It costs one pass over the weights.

    Neutral: weight = 0.
    Shapes: the term is 0-d, float32 at least (an fp16 sum of squares overflows); gradients keep the parameters' dtype.
    Units: objective per squared weight; scikit-learn's Ridge(alpha) on n rows of mean half squared error is alpha / n.
    Raises: ArgumentError if weight is not a finite number >= 0, or `where` is no selection.
    Source: Hoerl and Kennard 1970, "Ridge regression: biased estimation for nonorthogonal problems"; Goodfellow,
        Bengio and Courville 2016, "Deep learning", equation 7.2.

    >>> import torch
    >>> float(L2(weight=0.5).penalty({"w": torch.tensor([[3.0, 4.0]])}, Context(0, rng=None)))
    6.25
    """

    formula: ClassVar[str] = "weight/2 * sum w^2, added to the objective"
    cost: ClassVar[str] = "one pass over the weights"

    weight: DialValue = dial(1e-4, neutral=0.0, low=0.0, log=True, search=(1e-6, 1e-1))

    def penalty(self, params: Mapping[str, Tensor], ctx: Context) -> Tensor:
        # Widened before squaring: 300^2 is already infinite in fp16.
        squares = [(w if w.dtype.itemsize > 2 else w.float()).square().sum() for w in params.values()]
        total = 0.5 * summed(squares)  # half, so that the gradient is exactly weight * w
        return like(self.weight, total) * total
