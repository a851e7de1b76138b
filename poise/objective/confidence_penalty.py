"""Confidence penalty: predictions of low entropy cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.errors import ArgumentError
from poise.core.means import row_mean
from poise.core.regularizer import Memory, Regularizer
from poise.objective.rows import check_logits, outputs_of, tasks_of, weights_of

__all__ = ["ConfidencePenalty"]


@dataclass(frozen=True)
class ConfidencePenalty(Regularizer):
    """Adds minus weight times the mean entropy of the predictions, so that certainty costs.

    -weight H(p), H(p) = -sum_k p_k log p_k, p = softmax(outputs): up to a constant weight KL(p || uniform), where
    label smoothing is KL(uniform || p). Use it in classification where a network is sure of its errors; beside label
    smoothing it does the same thing twice. It costs one softmax of the outputs. The term is negative.

    Neutral: weight = 0.
    Shapes: outputs (B, ..., K) logits, classes last, K >= 2; the term is 0-d, float32 at least; the mean over rows
        takes the rows' weights; of several tasks, the mean over those with classes.
    Units: objective per nat; the entropy is between 0 and log K.
    Raises: ArgumentError if weight is not a finite number >= 0, or the outputs are not logits of two classes or more.
    Source: Pereyra, Tucker, Chorowski, Kaiser and Hinton 2017, "Regularizing neural networks by penalizing confident
        output distributions".

    >>> ctx = Context(0, rng=None, outputs=torch.zeros(1, 4), classes=4)
    >>> round(float(ConfidencePenalty(weight=0.5).objective({}, {}, ctx)[0]["confidence_penalty"]), 4)
    -0.6931
    """

    formula: ClassVar[str] = "-weight * mean H(softmax(outputs)), added to the objective"
    cost: ClassVar[str] = "one softmax of the outputs"

    weight: DialValue = dial(0.1, neutral=0.0, low=0.0, log=True, search=(1e-3, 10.0), unit="1 / nat")

    def objective(self, terms: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        outputs = outputs_of(ctx, type(self).__name__)
        alone = isinstance(outputs, Tensor) and ctx.blocks is None
        tasks = [logits for logits, classes in tasks_of(outputs, ctx) if classes or alone]
        if not tasks or any(logits.dim() < 2 or logits.shape[-1] < 2 for logits in tasks):
            shapes = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else f"tasks {', '.join(outputs)}"
            raise ArgumentError(
                f"`ConfidencePenalty` must see logits of at least two classes, in the last dimension; got outputs of "
                f"{shapes}. A prediction of numbers has no entropy: leave the part out."
            )
        for logits in tasks:
            check_logits(logits, ctx)
        logs = [F.log_softmax(logits, -1) for logits in tasks]
        total = torch.stack([row_mean((log.exp() * log).sum(-1), weights_of(ctx)) for log in logs]).mean()
        return terms | {self.name: like(self.weight, total) * total}, memory
