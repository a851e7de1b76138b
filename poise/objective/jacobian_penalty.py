"""Jacobian penalty: outputs should move little when inputs do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.errors import ArgumentError, shown
from poise.core.means import row_mean, wide
from poise.core.regularizer import Memory, Regularizer
from poise.objective.rows import Outputs, batch_of, float_inputs

__all__ = ["JacobianPenalty"]


@dataclass(frozen=True)
class JacobianPenalty(Regularizer):
    """Adds weight/2 times the squared size of the outputs' derivatives by the inputs.

    weight/2 mean over rows of |J|^2 (Frobenius), J = d outputs / d inputs of the row, estimated without bias by
    K / projections * sum |v' J|^2 with random unit vectors v, K the number of outputs. For small input noise of
    variance s^2 and squared error it is what that noise adds on average. Makes decisions stable against noise and
    small attacks; use it where inputs are measured with error. Costs one double backward pass a projection. In batch
    norm the derivative also runs through the other rows' statistics.

    Neutral: weight = 0.
    Shapes: inputs (B, ...) floats, outputs (B, ...); the term is 0-d, float32 at least; the mean over rows takes the
        rows' weights.
    Units: objective per squared (output / input); depends on the scale of the inputs.
    Raises: ArgumentError if weight is not a finite number >= 0, projections not an int >= 1, or the inputs are not
        one tensor of floats.
    Source: Hoffman, Roberts and Yaida 2019, "Robust learning with Jacobian regularization", equations 3 and 7 and
        algorithm 1.

    >>> from poise.core.context import Batch
    >>> from poise.core.rng import Rng, key
    >>> ctx = Context(0, Rng(key(0)), batch=Batch(torch.ones(2, 1), torch.ones(2)), forward=lambda x: 3 * x)
    >>> float(JacobianPenalty(weight=0.5).objective({}, {}, ctx)[0]["jacobian_penalty"])
    2.25
    """

    formula: ClassVar[str] = "weight/2 * mean |d outputs / d inputs|^2, by random projections"
    cost: ClassVar[str] = "a forward pass, and a double backward pass for each projection"

    weight: DialValue = dial(1e-2, neutral=0.0, low=0.0, log=True, search=(1e-4, 1.0))
    projections: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.projections, bool) or not isinstance(self.projections, int) or self.projections < 1:
            raise ArgumentError(
                f"`JacobianPenalty.projections` must be an int >= 1; got {shown(self.projections)}. "
                "1 is the default; more make the estimate less noisy."
            )

    def objective(self, terms: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        inputs = float_inputs(ctx, type(self).__name__)
        pulled: tuple[Tensor, Any] = torch.func.vjp(lambda x: _joined(ctx.forward(x)), inputs)  # type: ignore[assignment]  # a pair without has_aux
        outputs, pull = pulled
        found = torch.zeros((), dtype=torch.promote_types(inputs.dtype, torch.float32), device=inputs.device)
        for number in range(self.projections):
            direction = ctx.rng.normal(f"projection/{number}", tuple(outputs.shape), wide(outputs).dtype)
            size = direction.flatten(1).norm(dim=1) if direction.dim() > 1 else direction.abs()
            unit = direction / size.reshape(-1, *[1] * (direction.dim() - 1))
            (slope,) = pull(unit.to(outputs))
            found = found + wide(slope).flatten(1).square().sum(1)
        total = (
            0.5 * outputs[0].numel() / self.projections * row_mean(found, batch_of(ctx, type(self).__name__).weights)
        )
        return terms | {self.name: like(self.weight, total) * total}, memory


def _joined(outputs: Outputs) -> Tensor:
    """Return the outputs of all tasks side by side: (B, ...) of one, (B, K) of several."""
    return torch.cat([own.flatten(1) for own in outputs.values()], 1) if isinstance(outputs, Mapping) else outputs
