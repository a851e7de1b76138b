"""Input gradient penalty (double backpropagation): the loss should move little when inputs do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.means import wide
from poise.core.regularizer import Memory, Regularizer
from poise.objective.rows import batch_of, float_inputs

__all__ = ["InputGradientPenalty"]


@dataclass(frozen=True)
class InputGradientPenalty(Regularizer):
    """Adds weight/2 times the squared gradient of each row's loss by its inputs.

    weight/2 mean over rows of |d loss_i / d x_i|^2. A weight of 1 bounds to first order how much the loss of a row
    rises with its inputs; where `JacobianPenalty` flattens all outputs, this flattens only what the loss sees. Costs
    a forward pass and a double backward pass. The data's loss must be a mean over rows, as it is here; in batch norm
    the gradient also runs through the other rows' statistics.

    Neutral: weight = 0.
    Shapes: inputs (B, ...) floats; the term is 0-d, float32 at least; the mean over rows takes the rows' weights.
    Units: objective per squared (loss / input); depends on the scale of the inputs.
    Raises: ArgumentError if weight is not a finite number >= 0, or the inputs are not one tensor of floats.
    Source: Drucker and LeCun 1992, "Improving generalization performance using double backpropagation"; Ross and
        Doshi-Velez 2018, "Improving the adversarial robustness and interpretability of deep neural networks by
        regularizing their input gradients".

    >>> from poise.core.context import Batch
    >>> batch = Batch(torch.tensor([[1.0], [2.0]]), torch.zeros(2))
    >>> ctx = Context(0, rng=None, batch=batch, forward=lambda x: x, loss=lambda out, batch: out.square().mean())
    >>> InputGradientPenalty(weight=0.1).objective({}, {}, ctx)[0]  # 0.1 / 2 * (2^2 + 4^2) / 2
    {'input_gradient_penalty': tensor(0.5000)}
    """

    formula: ClassVar[str] = "weight/2 * mean |d loss_i / d x_i|^2, added to the objective"
    cost: ClassVar[str] = "a forward pass and a double backward pass"

    weight: DialValue = dial(1e-2, neutral=0.0, low=0.0, log=True, search=(1e-4, 10.0))

    def objective(self, terms: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        batch, inputs = batch_of(ctx, type(self).__name__), float_inputs(ctx, type(self).__name__)
        slope = torch.func.grad(lambda x: ctx.loss(ctx.forward(x), batch))(inputs)
        squares = wide(slope).flatten(1).square().sum(1)
        # The gradient of the mean is share_i times that of row i, share_i = w_i / sum w; the mean of the rows'
        # squares takes share_i once more: share_i |slope_i / share_i|^2.
        if batch.weights is None:
            total = 0.5 * len(squares) * squares.sum()
        else:
            weights = batch.weights.to(squares)
            # A row of weight 0 is left out, also where batch norm lets the loss of others depend on its inputs.
            shares = torch.where(weights > 0, squares / torch.where(weights > 0, weights, 1.0), 0.0)
            total = 0.5 * weights.sum() * shares.sum()
        return terms | {self.name: like(self.weight, total) * total}, memory
