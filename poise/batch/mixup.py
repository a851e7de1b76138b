"""Mixup: rows replaced by convex combinations of two rows, inputs and targets alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from poise.core.context import Batch, Context
from poise.core.dial import dial
from poise.core.errors import ArgumentError
from poise.core.kinds import Transform
from poise.core.rng import Rng
from poise.core.trees import leaves, map_tree

__all__ = ["Mixup", "blend", "blend_targets"]


def blend(values: Tensor, partner: Tensor, taken: Tensor) -> Tensor:
    """Return (1 - taken) values + taken values[partner], row by row; taken = 0 gives the values bit for bit.

    Shapes: values (B, ...), partner (B,) int64, taken (B,).
    """
    if not values.is_floating_point():
        raise ArgumentError(
            f"mixed inputs and targets must be floating-point tensors; got {values.dtype}. "
            "Encode categories as one-hot columns and classes as distributions first."
        )
    amount = taken.to(values.dtype).reshape(-1, *[1] * (values.dim() - 1))
    return torch.lerp(values, values[partner], amount)


def blend_targets(targets: Any, partner: Tensor, taken: Tensor) -> Any:
    """As `blend`, for targets or a dict of them by task; a label that one of two mixed rows lacks (NaN) stays missing.

    >>> blend_targets({"age": torch.tensor([4.0, torch.nan])}, torch.tensor([1, 0]), torch.tensor([0.0, 0.5]))
    {'age': tensor([4., nan])}
    """

    def mix(labels: Tensor) -> Tensor:
        mixed = blend(labels, partner, taken)
        # A row that takes nothing from its partner does not take its NaN either.
        return torch.where(taken.reshape(-1, *[1] * (labels.dim() - 1)) > 0, mixed, labels)

    return map_tree(mix, targets)


@dataclass(frozen=True)
class Mixup(Transform):
    """Replace rows by convex combinations of two rows, inputs, targets and row weights alike.

    x' = lambda x_i + (1 - lambda) x_j, y' likewise, lambda ~ Beta(alpha, alpha) drawn for each row, j a random
    permutation of the batch; `share` is the probability that a row is mixed at all. With `majority`, lambda is
    replaced by max(lambda, 1 - lambda): each row keeps the larger part of itself, and partners of equal rows are
    not exchanged. Good for small data and noisy labels, and for calibration; costs one gather of the batch. Works
    for regression, odd batches, and as the identity for a batch of one row.

    Neutral: share = 0, or alpha = 0.
    Shapes: inputs (B, ...) or a tree of such tensors; targets (B, K), (B,) or (B, T), or a dict of these by task, in
        which a missing label is NaN and stays missing in what it is mixed into; weights (B,).
    Units: alpha is the shape of the beta law: small mixes little, 1 is uniform; share is a probability.
    Raises: ArgumentError if alpha < 0, share is outside [0, 1], or inputs or targets are not floating point.
    Source: Zhang, Cisse, Dauphin, Lopez-Paz 2018, "mixup", equation 1, with one lambda for each row.

    >>> batch = Batch(torch.tensor([[0.0], [1.0]]), torch.tensor([0.0, 2.0]))
    >>> draw = (torch.tensor([1, 0]), torch.tensor([0.25, 0.0]))
    >>> Mixup().apply(batch, draw, Context(0, Rng(torch.zeros(3, dtype=torch.int64)))).targets.tolist()
    [0.5, 2.0]
    """

    rank: ClassVar[int] = 30
    formula: ClassVar[str] = "x' = lambda x_i + (1 - lambda) x_j, y' likewise, lambda ~ Beta(alpha, alpha) for each row"
    cost: ClassVar[str] = "one gather and one pass over the batch"

    alpha: float = dial(0.2, neutral=0.0, low=0.0, log=True, unit="beta shape", search=(0.05, 2.0))
    share: float = dial(1.0, neutral=0.0, low=0.0, high=1.0, unit="probability", search=(0.0, 1.0))
    majority: bool = False

    def draw(self, rng: Rng, batch: Batch, ctx: Context) -> tuple[Tensor, Tensor]:
        """Return (partner, taken): the other row of each row, and its weight 1 - lambda."""
        rows = next(iter(leaves(batch.targets))).shape[0]
        kept = rng.symmetric_beta("lambda", (rows,), self.alpha, torch.float64)
        if self.majority:
            kept = torch.maximum(kept, 1 - kept)
        mixed = rng.uniform("share", (rows,)) < self.share
        # Beta(0, 0) would exchange whole rows; the limit that users mean by alpha = 0 is "off".
        mixed = mixed & (torch.as_tensor(self.alpha, device=kept.device) > 0)
        return rng.permutation("partner", rows), torch.where(mixed, 1 - kept, 0.0)

    def apply(self, batch: Batch, draw: tuple[Tensor, Tensor], ctx: Context) -> Batch:
        partner, taken = draw

        def mix(values: Any) -> Any:
            return blend(values, partner, taken)

        weights = None if batch.weights is None else mix(batch.weights)
        return Batch(map_tree(mix, batch.inputs), blend_targets(batch.targets, partner, taken), weights)
