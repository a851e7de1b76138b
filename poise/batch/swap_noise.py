"""Swap noise for tables: single values exchanged for those of other rows, labels kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.batch.column_groups import table_of
from poise.core.context import Batch, Context
from poise.core.dial import dial
from poise.core.kinds import Transform
from poise.core.rng import Rng

__all__ = ["SwapNoise"]

Draw = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class SwapNoise(Transform):
    """Replace each value with probability p by the value of another row in the same column; targets stay.

    x'_ik = x_jk with probability p, else x_ik; j is a uniformly random other row of the batch, drawn for each row
    and column; the one-hot columns of a category are replaced as one. The noise has each column's own law, so it
    needs no scale and works for categories, counts and skewed columns alike. Costs two uniforms a value.

    Neutral: p = 0.
    Shapes: inputs (B, F) of any dtype; a batch of one row stays as it is.
    Units: p is the share of values replaced; the replacement may be equal to what stood there.
    Raises: ArgumentError if p is outside [0, 1], or the inputs are not a table.
    Source: Jahrer 2017, first place in Kaggle's Porto Seguro competition (forum post 44629), "swap noise".

    >>> batch = Batch(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0.0, 1.0]))
    >>> draw = (torch.tensor([[True, False], [False, False]]), torch.tensor([[1, 1], [0, 0]]))
    >>> SwapNoise().apply(batch, draw, Context(0, Rng(torch.zeros(3, dtype=torch.int64)))).inputs.tolist()
    [[3.0, 2.0], [3.0, 4.0]]
    """

    rank: ClassVar[int] = 20
    formula: ClassVar[str] = "x'_ik = x_jk with probability p, j another row"
    cost: ClassVar[str] = "two uniforms and one gather for each input value"

    p: float = dial(0.1, neutral=0.0, low=0.0, high=1.0, unit="share of values", search=(0.0, 0.5))

    def draw(self, rng: Rng, batch: Batch, ctx: Context) -> Draw:
        """Return (swapped, partner): for each row and group id, whether it is replaced and by which row's value."""
        inputs, _ = table_of("SwapNoise", batch, ctx)
        rows, count = inputs.shape
        swapped = rng.uniform("swapped", (rows, count)) < self.p
        # A step of 1 .. rows - 1 along the batch never ends at the row itself.
        steps = 1 + (rng.uniform("partner", (rows, count), torch.float64) * (rows - 1)).floor().to(torch.int64)
        own = torch.arange(rows, device=steps.device)[:, None]
        return swapped, (own + steps) % max(rows, 1)

    def apply(self, batch: Batch, draw: Draw, ctx: Context) -> Batch:
        swapped, partner = draw
        inputs, groups = table_of("SwapNoise", batch, ctx)
        others = inputs.gather(0, partner[:, groups.of_column])
        return batch._replace(inputs=torch.where(swapped[:, groups.of_column], others, inputs))
