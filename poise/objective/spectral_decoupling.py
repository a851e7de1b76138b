"""Spectral decoupling: an L2 penalty on the logits instead of the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.means import row_mean
from poise.core.regularizer import Memory, Regularizer
from poise.objective.rows import outputs_of, tasks_of, weights_of

__all__ = ["SpectralDecoupling"]


@dataclass(frozen=True)
class SpectralDecoupling(Regularizer):
    """Adds weight/2 times the mean squared output to the objective.

    weight/2 mean over rows and outputs of z^2. With cross-entropy the features that are learned first take the
    gradient away from the others (gradient starvation); a bound on the logits leaves it to them. Use it in place of
    decay where a shortcut in the data crowds out other features. It costs one pass over the outputs.

    Neutral: weight = 0.
    Shapes: outputs (B, ...); the term is 0-d, float32 at least; the mean over rows takes the rows' weights;
        of several tasks, the mean.
    Units: objective per squared logit, with the half; a sum over K logits in place of their mean is K times as strong.
    Raises: ArgumentError if weight is not a finite number >= 0, or the run is not given the outputs.
    Source: Pezeshki, Kaba, Bengio, Courville, Precup and Lajoie 2021, "Gradient starvation: a learning proclivity in
        neural networks", spectral decoupling.

    >>> ctx = Context(0, rng=None, outputs=torch.tensor([[1.0, 3.0]]))
    >>> SpectralDecoupling(weight=0.2).objective({}, {}, ctx)[0]["spectral_decoupling"]
    tensor(0.5000)
    """

    formula: ClassVar[str] = "weight/2 * mean z^2 of the outputs z, added to the objective"
    cost: ClassVar[str] = "one pass over the outputs"

    weight: DialValue = dial(1e-2, neutral=0.0, low=0.0, log=True, search=(1e-4, 1.0))

    def objective(self, terms: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        tasks = tasks_of(outputs_of(ctx, type(self).__name__), ctx)
        total = 0.5 * torch.stack([row_mean(own.square(), weights_of(ctx)) for own, _ in tasks]).mean()
        return terms | {self.name: like(self.weight, total) * total}, memory
