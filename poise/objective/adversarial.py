"""Adversarial training: a share of the loss is that of rows moved to where the loss rises fastest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.regularizer import Memory, Regularizer
from poise.core.terms import data_keys
from poise.objective.rows import batch_of, float_inputs

__all__ = ["Adversarial"]


@dataclass(frozen=True)
class Adversarial(Regularizer):
    """Replaces a share of the data's loss by the loss of rows moved by the fast gradient sign method.

    loss <- (1 - share) data(x) + share data(x + epsilon sign(d data / d x)); the term is the difference from the
    data's loss. The move is a constant: no gradient runs through it. Makes the network hold its answer in a box of
    half-width epsilon around each row; clean accuracy may fall with it. Every column is moved, one-hot columns too.
    Both passes have the masks of the step. Costs two forward and two backward passes.

    Neutral: share = 0, or epsilon = 0.
    Shapes: inputs (B, ...) floats; the term is 0-d. Row weights act as in the data's loss.
    Units: epsilon in units of the inputs, which should be scaled alike; share of the objective (the paper's 1 - alpha).
    Raises: ArgumentError if share is outside [0, 1], epsilon is not a finite number >= 0, or the inputs are not one
        tensor of floats.
    Source: Goodfellow, Shlens and Szegedy 2015, "Explaining and harnessing adversarial examples", section 6.

    >>> from poise.core.context import Batch
    >>> batch = Batch(torch.tensor([[1.0], [-2.0]]), torch.zeros(2))
    >>> ctx = Context(0, rng=None, batch=batch, forward=lambda x: x, loss=lambda out, batch: out.square().mean())
    >>> part, terms = Adversarial(share=0.5, epsilon=1.0), {"data": torch.tensor(2.5)}
    >>> part.objective(terms, {}, ctx)[0]["adversarial"]  # ((2^2 + 3^2) / 2 - 2.5) / 2
    tensor(2.)
    """

    formula: ClassVar[str] = "(1 - share) data(x) + share data(x + epsilon sign(d data / d x))"
    cost: ClassVar[str] = "two forward and two backward passes"

    share: DialValue = dial(0.5, neutral=0.0, low=0.0, high=1.0, search=(0.0, 1.0))
    epsilon: DialValue = dial(0.05, neutral=0.0, low=0.0, log=True, search=(1e-3, 0.5), unit="of an input")

    def objective(self, terms: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        batch, inputs = batch_of(ctx, type(self).__name__), float_inputs(ctx, type(self).__name__)
        with torch.no_grad():  # of everything but the inputs: nothing is differentiated through the move
            slope = torch.func.grad(lambda x: ctx.loss(ctx.forward(x), batch))(inputs)
        moved = inputs + like(self.epsilon, inputs) * slope.detach().sign()
        change = ctx.loss(ctx.forward(moved), batch) - sum(terms[key] for key in data_keys(terms))
        return terms | {self.name: like(self.share, change) * change}, memory
