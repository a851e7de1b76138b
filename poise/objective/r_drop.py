"""R-Drop: two passes with different masks must agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.means import row_mean
from poise.core.regularizer import Memory, Regularizer
from poise.objective.rows import batch_of, divergence, outputs_of

__all__ = ["RDrop"]


@dataclass(frozen=True)
class RDrop(Regularizer):
    """Adds weight times the disagreement of two passes over the same rows with different dropout masks.

    weight mean over rows of (KL(p || q) + KL(q || p)) / 2, p and q the predictions of the two passes; for numbers
    their squared difference. Needs dropout or noise in the network (without, it is 0), and makes the network with
    masks agree with the one that predicts, which has none. The data's loss is that of the first pass, where the paper
    takes the sum of both, in expectation twice as much. Costs a second forward and backward pass.

    Neutral: weight = 0.
    Shapes: outputs (B, ..., K) logits, classes last, or numbers of any shape; the term is 0-d, float32 at least; the
        mean over rows takes the rows' weights.
    Units: objective per nat, or per squared unit of the target; half of the paper's alpha.
    Raises: ArgumentError if weight is not a finite number >= 0, or the run is not given rows and outputs.
    Source: Liang, Wu, Li, Wang, Meng, Qin, Chen, Zhang and Liu 2021, "R-Drop: regularized dropout for neural
        networks", equation 2.

    >>> import torch
    >>> from poise.core.context import Batch
    >>> batch = Batch(torch.zeros(1, 1), torch.zeros(1, 1))
    >>> ctx = Context(0, rng=None, batch=batch, outputs=torch.ones(1, 1), forward=lambda x, draw: x + 4)
    >>> RDrop(weight=2.0).objective({}, {}, ctx)[0]
    {'r_drop': tensor(18.)}
    """

    formula: ClassVar[str] = "weight * mean (KL(p || q) + KL(q || p)) / 2, p and q two passes"
    cost: ClassVar[str] = "a second forward and backward pass"

    weight: DialValue = dial(1.0, neutral=0.0, low=0.0, log=True, search=(0.05, 10.0))

    def objective(self, terms: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        batch, first = batch_of(ctx, type(self).__name__), outputs_of(ctx, type(self).__name__)
        second = ctx.forward(batch.inputs, draw=1)
        gaps = 0.5 * (divergence(first, second, ctx) + divergence(second, first, ctx))
        total = row_mean(gaps, batch.weights)
        return terms | {self.name: like(self.weight, total) * total}, memory
