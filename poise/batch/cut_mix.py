"""CutMix for tables: some columns of a row taken from another row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.batch.column_groups import table_of
from poise.batch.mixup import blend, blend_targets
from poise.core.context import Batch, Context
from poise.core.dial import dial
from poise.core.kinds import Transform
from poise.core.rng import Rng

__all__ = ["CutMix"]

Draw = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class CutMix(Transform):
    """Take some columns of each row from another row, and the same share of its target.

    x'_ik = x_jk for the columns k taken, else x_ik; y'_i = (1 - a) y_i + a y_j with a the realised share of columns
    (a group of one-hot columns counts as one column). The planned share is Beta(alpha, alpha) for each row, each
    group is taken with that probability, j is a random permutation; `share` is the probability that a row is mixed
    at all. Every value stays one that the column really has, which mixup does not keep; it breaks the relations
    between columns, so try both. Costs one gather of the batch and one uniform a value.

    Neutral: share = 0, or alpha = 0.
    Shapes: inputs (B, F); targets (B, K), (B,) or (B, T); weights (B,).
    Units: share is a probability; alpha is the shape of the beta law of the planned share, 1 is uniform.
    Raises: ArgumentError if share is outside [0, 1] or alpha < 0, if the inputs are not a table, or targets not float.
    Source: Yun et al. 2019, "CutMix", equations 1 and 2, with columns for pixels; Kadra et al. 2021, for tables.

    >>> batch = Batch(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0.0, 1.0]))
    >>> draw = (torch.tensor([1, 0]), torch.tensor([[True, False], [False, False]]))
    >>> mixed = CutMix().apply(batch, draw, Context(0, Rng(torch.zeros(3, dtype=torch.int64))))
    >>> mixed.inputs.tolist(), mixed.targets.tolist()
    ([[3.0, 2.0], [3.0, 4.0]], [0.5, 1.0])
    """

    rank: ClassVar[int] = 30
    formula: ClassVar[str] = "x'_ik = x_jk for a share a of the columns k, y' = (1 - a) y_i + a y_j"
    cost: ClassVar[str] = "one gather and one uniform for each input value"

    share: float = dial(1.0, neutral=0.0, low=0.0, high=1.0, unit="probability", search=(0.0, 1.0))
    alpha: float = dial(1.0, neutral=0.0, low=0.0, log=True, unit="beta shape", search=(0.1, 2.0))

    def draw(self, rng: Rng, batch: Batch, ctx: Context) -> Draw:
        """Return (partner, taken): the other row (B,), and whether each group id is taken from it (B, F)."""
        inputs, _ = table_of("CutMix", batch, ctx)
        rows, count = inputs.shape
        planned = rng.symmetric_beta("columns", (rows,), self.alpha)
        mixed = rng.uniform("share", (rows,)) < self.share
        # Beta(0, 0) would exchange whole rows; the limit that users mean by alpha = 0 is "off".
        mixed = mixed & (torch.as_tensor(self.alpha, device=mixed.device) > 0)
        taken = (rng.uniform("taken", (rows, count)) < planned[:, None]) & mixed[:, None]
        return rng.permutation("partner", rows), taken

    def apply(self, batch: Batch, draw: Draw, ctx: Context) -> Batch:
        partner, taken = draw
        inputs, groups = table_of("CutMix", batch, ctx)
        columns = taken[:, groups.of_column]
        # Counts in float64: for less than 2^53 columns the realised share is one division of exact integers.
        exists = groups.exists.to(torch.float64)
        realised = (taken.to(torch.float64) * exists).sum(-1) / exists.sum()
        weights = None if batch.weights is None else blend(batch.weights, partner, realised)
        return Batch(
            torch.where(columns, inputs[partner], inputs), blend_targets(batch.targets, partner, realised), weights
        )
