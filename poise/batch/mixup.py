"""Mixup: rows replaced by convex combinations of two rows, inputs and targets alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from poise.core.context import Batch, Context
from poise.core.dial import dial
from poise.core.kinds import Transform
from poise.core.mixing import blend, blend_labels, draw_partners
from poise.core.rng import Rng
from poise.core.trees import leaves, map_tree

__all__ = ["Mixup"]


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
    Source: Zhang, Cisse, Dauphin and Lopez-Paz 2018, "mixup: beyond empirical risk minimization"; here with one
        lambda for each row.

    >>> import torch
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
        return draw_partners(rng, rows, self.alpha, self.share, self.majority)

    def apply(self, batch: Batch, draw: tuple[Tensor, Tensor], ctx: Context) -> Batch:
        partner, taken = draw

        def mix(values: Any) -> Any:
            return blend(values, partner, taken)

        return blend_labels(batch, partner, taken)._replace(inputs=map_tree(mix, batch.inputs))
