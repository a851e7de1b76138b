"""Activation penalty: what hidden units answer is kept small, or mostly zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.kinds import Inserted, Recorder, summed
from poise.core.means import row_mean, wide
from poise.core.regularizer import Memory
from poise.network.attach import AfterActivations

__all__ = ["ActivationPenalty"]


@dataclass(frozen=True)
class ActivationPenalty(AfterActivations):
    """Adds the mean size of hidden activations to the objective: `l1` makes them sparse, `l2` keeps them small.

    sum over sites of l1 mean |h| + l2/2 mean h^2, h what passes the site, before dropout and noise that other parts
    put there. L1 on activations gives representations in which few units speak for a row; L2 keeps activations out of
    ranges where the loss is steep. A site that is called several times counts with the mean of its calls. Costs two
    passes over the activations.

    Neutral: l1 = 0 and l2 = 0.
    Shapes: activations (B, ...); the term is 0-d, float32 at least; the mean over rows takes the rows' weights where
        the first dimension is the rows.
    Units: objective per activation, and per squared activation with the half.
    Raises: ArgumentError if l1 or l2 is not a finite number >= 0, or `where` is no rule.
    Source: Goodfellow, Bengio and Courville 2016, "Deep learning", section 7.10, equation 7.48; Glorot, Bordes and
        Bengio 2011, "Deep sparse rectifier neural networks", for L1.

    >>> part = ActivationPenalty(l1=0.5, l2=1.0)
    >>> ctx = Context(0, rng=None, activations={"1": (torch.tensor([[3.0, -1.0]]),)})
    >>> part.objective({}, {}, ctx)[0]["activation_penalty"]  # 0.5 * 2 + 0.5 * 5
    tensor(3.5000)
    """

    rank: ClassVar[int] = 10  # its layers see what the activation answers, before noise and dropout
    formula: ClassVar[str] = "sum over sites of l1 mean |h| + l2/2 mean h^2, added to the objective"
    cost: ClassVar[str] = "two passes over the activations"

    l1: DialValue = dial(1e-3, neutral=0.0, low=0.0, log=True, search=(1e-5, 1e-1))
    l2: DialValue = dial(0.0, neutral=0.0, low=0.0, log=True, search=(1e-5, 1e-1))

    def layer(self, host: nn.Module) -> Inserted:
        return Recorder(self)

    def objective(self, terms: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        sizes, squares = [], []
        for calls in ctx.activations.values():
            if calls:
                sizes.append(torch.stack([mean_over_rows(wide(h).abs(), ctx) for h in calls]).mean())
                squares.append(torch.stack([mean_over_rows(wide(h).square(), ctx) for h in calls]).mean())
        size, square = summed(sizes), 0.5 * summed(squares)
        return terms | {self.name: like(self.l1, size) * size + like(self.l2, square) * square}, memory


def mean_over_rows(values: Tensor, ctx: Context) -> Tensor:
    """Return the mean, with the rows' weights if the first dimension is the rows."""
    weights = None if ctx.batch is None else ctx.batch.weights
    fits = weights is not None and values.dim() > 0 and values.shape[0] == weights.shape[0]
    return row_mean(values, weights if fits else None)
