"""Distillation: a student learns from the softened predictions of a teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.means import row_mean
from poise.core.regularizer import Memory, Regularizer
from poise.core.terms import data_keys
from poise.core.trees import map_tree
from poise.objective.rows import batch_of, divergence, outputs_of

__all__ = ["Distillation"]


@dataclass(frozen=True)
class Distillation(Regularizer):
    """Replaces a share of the data's loss by the divergence from a teacher's softened predictions.

    loss <- (1 - share) data + share T^2 mean KL(softmax(t / T) || softmax(z / T)), t the teacher's logits, z the
    network's, T the temperature; the term is the difference from the data's loss, and may be negative. T^2 keeps the
    gradient of the soft part at one size for all T. For numbers the mean squared difference takes the place of the
    divergence, at any temperature. Use it to put an ensemble or a large network into a small one, and against noisy
    labels; the teacher is what `recipe.start(model, teacher=...)` is given. It sees the rows after the batch stage.
    Costs a forward pass of the teacher.

    Neutral: share = 0; a temperature of 1 does not soften.
    Shapes: outputs and the teacher's (B, ..., K) logits, classes last, or numbers; the term is 0-d, float32 at least;
        the mean over rows takes the rows' weights.
    Units: share of the objective; temperature divides logits.
    Raises: ArgumentError if share is outside [0, 1], temperature is not a finite number > 0, or the run has no teacher,
        rows or outputs.
    Source: Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network", section 2.

    >>> import torch
    >>> from poise.core.context import Batch
    >>> batch, logits = Batch(torch.zeros(1, 2), torch.tensor([0])), torch.tensor([[0.75, 0.25]]).log()
    >>> ctx = Context(0, rng=None, batch=batch, outputs=logits, teacher=lambda x: x)
    >>> terms, _ = Distillation(share=0.5, temperature=1.0).objective({"data": torch.tensor(0.04)}, {}, ctx)
    >>> round(float(terms["distillation"]), 4)  # 0.5 (0.1438 - 0.04)
    0.0519
    """

    needs: ClassVar[tuple[str, ...]] = ("teacher",)
    formula: ClassVar[str] = "(1 - share) data + share T^2 mean KL(softmax(t / T) || softmax(z / T))"
    cost: ClassVar[str] = "a forward pass of the teacher"

    share: DialValue = dial(0.5, neutral=0.0, low=0.0, high=1.0, search=(0.0, 1.0))
    temperature: DialValue = dial(2.0, neutral=1.0, low=0.0, open_low=True, log=True, search=(1.0, 10.0))

    def objective(self, terms: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        batch, outputs = batch_of(ctx, type(self).__name__), outputs_of(ctx, type(self).__name__)
        expected = map_tree(Tensor.detach, ctx.teacher(batch.inputs))
        gaps = divergence(expected, outputs, ctx, self.temperature)
        change = row_mean(gaps, batch.weights) - sum(terms[key] for key in data_keys(terms))
        return terms | {self.name: like(self.share, change) * change}, memory
