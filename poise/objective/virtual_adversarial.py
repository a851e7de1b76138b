"""Virtual adversarial training: predictions should hold in the direction in which they are least stable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.errors import ArgumentError, shown
from poise.core.means import row_mean
from poise.core.regularizer import Memory, Regularizer
from poise.core.trees import map_tree
from poise.objective.rows import batch_of, divergence, float_inputs, outputs_of

__all__ = ["VirtualAdversarial"]


@dataclass(frozen=True)
class VirtualAdversarial(Regularizer):
    """Adds weight times the divergence between predictions at each row and at its most sensitive neighbour.

    weight mean over rows of KL(p(x) || p(x + r)), r = epsilon d / |d|, d the direction in which the divergence curves
    most at the row: `iterations` of the power method d <- H d from a random start, H the Hessian of KL(p(x) || p(x +
    r)) at r = 0. H d is exact, the limit of the paper's difference over a small step xi, which float32 does not
    resolve. p(x) and r are constants. No label is needed, so rows whose targets are guesses do no harm; use it with
    few labels. For numbers squared differences take the place of the divergence. Costs a forward and a double
    backward pass for each iteration, and a forward and a backward pass.

    Neutral: weight = 0, or epsilon = 0.
    Shapes: inputs (B, ...) floats; outputs (B, ..., K) logits, classes last, or numbers; the term is 0-d, float32 at
        least; the mean over rows takes the rows' weights.
    Units: objective per nat; epsilon is a length in the space of one row's inputs, which should be scaled alike.
    Raises: ArgumentError if weight or epsilon is not a finite number >= 0, iterations not an int >= 1, or the inputs
        are not one tensor of floats.
    Source: Miyato, Maeda, Koyama and Ishii 2018, "Virtual adversarial training: a regularization method for supervised
        and semi-supervised learning", algorithm 1.

    >>> from poise.core.context import Batch
    >>> from poise.core.rng import Rng, key
    >>> x = torch.tensor([[1.0, 0.0]])
    >>> ctx = Context(0, Rng(key(0)), batch=Batch(x, torch.ones(1, 2)), outputs=3 * x, forward=lambda x: 3 * x)
    >>> terms, _ = VirtualAdversarial(weight=0.5, epsilon=2.0).objective({}, {}, ctx)
    >>> round(float(terms["virtual_adversarial"]), 4)  # 0.5 (3 * 2)^2 / 2
    9.0
    """

    formula: ClassVar[str] = "weight * mean KL(p(x) || p(x + r)), |r| = epsilon, r the least stable direction"
    cost: ClassVar[str] = "a double backward pass for each iteration, a forward and a backward pass"
    detached: ClassVar[str] = "the direction"

    weight: DialValue = dial(1.0, neutral=0.0, low=0.0, log=True, search=(0.01, 10.0))
    epsilon: DialValue = dial(1.0, neutral=0.0, low=0.0, log=True, search=(0.01, 10.0), unit="length of a row")
    iterations: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.iterations, bool) or not isinstance(self.iterations, int) or self.iterations < 1:
            raise ArgumentError(
                f"`VirtualAdversarial.iterations` must be an int >= 1; got {shown(self.iterations)}. "
                "1 is the default and the paper's."
            )

    def objective(self, terms: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        batch, inputs = batch_of(ctx, type(self).__name__), float_inputs(ctx, type(self).__name__)
        expected = map_tree(torch.Tensor.detach, outputs_of(ctx, type(self).__name__))

        def gap(move: Tensor) -> Tensor:
            return divergence(expected, ctx.forward(inputs + move), ctx)

        def slope(move: Tensor, along: Tensor) -> Tensor:
            rise: Tensor = torch.func.grad(lambda move: gap(move).sum())(move)
            return (rise * along).sum()

        direction = _unit(ctx.rng.normal("direction", tuple(inputs.shape), inputs.dtype).to(inputs))
        with torch.no_grad():  # of everything but the move: nothing is differentiated through it
            for _ in range(self.iterations):
                direction = _unit(torch.func.grad(slope)(torch.zeros_like(inputs), direction).detach())
        total = row_mean(gap(like(self.epsilon, inputs) * direction), batch.weights)
        return terms | {self.name: like(self.weight, total) * total}, memory


def _unit(values: Tensor) -> Tensor:
    """Return each row at length 1; a row of zeros, where nothing depends on the inputs, stays. Shapes: (B, ...)."""
    rows = values.flatten(1) if values.dim() > 1 else values[:, None]
    # First by the largest number: the squares of a curvature of 1e-20 would be 0 in float32.
    rows = rows / rows.abs().amax(1, keepdim=True).clamp(min=torch.finfo(values.dtype).tiny)
    size: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp(min=torch.finfo(values.dtype).tiny)
    return (rows / size).reshape(values.shape)
