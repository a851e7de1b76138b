"""CutMix: some columns of a row of a table, or a box of an image, taken from another row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.batch.boxes import inside_boxes
from poise.batch.column_groups import table_of
from poise.core.context import Batch, Context
from poise.core.dial import dial
from poise.core.errors import ArgumentError
from poise.core.kinds import Transform
from poise.core.mapped import behind_vmap
from poise.core.mixing import blend_labels
from poise.core.placed import placed
from poise.core.rng import Rng
from poise.kernels.images import cut_mixed, serves

__all__ = ["CutMix", "box_of", "cut_images"]

Draw = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class CutMix(Transform):
    """Take some columns of a table's row, or a box of an image, from another row, and the same share of its target.

    x'_i = x_j where taken, else x_i; y'_i = (1 - a) y_i + a y_j with a the realised share of columns (a group of
    one-hot columns counts as one) or of pixels. The planned share is Beta(alpha, alpha) for each row, j is a random
    permutation; `share` is the probability that a row is mixed at all. The shape of the inputs decides: in a table each
    column is taken with the planned share, in images a box of that area, with the image's ratio of sides, around a
    uniform pixel and cut off at the border. Every value stays one that the column or pixel really has, which mixup does
    not keep. Costs one gather of the batch, and one uniform a value of a table. Drawn for each row: by sample and
    epoch, or by place.

    Neutral: share = 0, or alpha = 0.
    Shapes: inputs (B, F), or (B, C, H, W) of any scale; targets (B, K), (B,) or (B, T), or a dict of these by task;
        weights (B,).
    Units: share is a probability; alpha is the shape of the beta law of the planned share, 1 is uniform.
    Raises: ArgumentError if share is outside [0, 1] or alpha < 0, if the inputs are neither a table nor images, or
        targets not float.
    Source: Yun et al. 2019, "CutMix: regularization strategy to train strong classifiers with localizable features",
        equations 1 and 2; with columns for pixels Kadra et al. 2021, "Well-tuned simple nets excel on tabular
        datasets", for tables.

    >>> batch = Batch(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0.0, 1.0]))
    >>> draw = (torch.tensor([1, 0]), torch.tensor([[True, False], [False, False]]))
    >>> mixed = CutMix().apply(batch, draw, Context(0, Rng(torch.zeros(3, dtype=torch.int64))))
    >>> mixed.inputs.tolist(), mixed.targets.tolist()
    ([[3.0, 2.0], [3.0, 4.0]], [0.5, 1.0])
    """

    rank: ClassVar[int] = 30
    formula: ClassVar[str] = "x' = x_j for a share a of the columns or pixels, else x_i; y' = (1 - a) y_i + a y_j"
    cost: ClassVar[str] = "one gather; for a table one uniform for each input value"

    share: float = dial(1.0, neutral=0.0, low=0.0, high=1.0, unit="probability", search=(0.0, 1.0))
    alpha: float = dial(1.0, neutral=0.0, low=0.0, log=True, unit="beta shape", search=(0.1, 2.0))

    def draw(self, rng: Rng, batch: Batch, ctx: Context) -> Draw:
        """Return (partner, taken): the other row (B,), and what is taken from it.

        Of a table the group ids (B, F) bool, of images the box (B, 4) int64: top, left, bottom, right, empty for none.
        """
        rows = _size(batch)[0]
        planned = rng.symmetric_beta("columns", (rows,), self.alpha)
        mixed = rng.uniform("share", (rows,)) < self.share
        # Beta(0, 0) would exchange whole rows; the limit that users mean by alpha = 0 is "off".
        mixed = mixed & (placed(self.alpha, mixed) > 0)
        if batch.inputs.dim() == 4:
            taken = box_of(rng, torch.where(mixed, planned, 0.0), *batch.inputs.shape[-2:])
        else:
            inputs, _ = table_of("CutMix", batch, ctx)
            taken = (rng.uniform("taken", tuple(inputs.shape)) < planned[:, None]) & mixed[:, None]
        return rng.permutation("partner", rows), taken

    def apply(self, batch: Batch, draw: Draw, ctx: Context) -> Batch:
        partner, taken = draw
        _size(batch)
        # Counts in float64: for less than 2^53 columns or pixels the realised share is one division of integers.
        if batch.inputs.dim() == 4:
            return cut_images(batch, partner, taken)
        _, groups = table_of("CutMix", batch, ctx)
        exists = groups.exists.to(torch.float64)
        realised = (taken.to(torch.float64) * exists).sum(-1) / exists.sum()
        inputs = torch.where(taken[:, groups.of_column], batch.inputs[partner], batch.inputs)
        return blend_labels(batch, partner, realised)._replace(inputs=inputs)


def cut_images(batch: Batch, partner: Tensor, boxes: Tensor) -> Batch:
    """Return the batch with each row's box (B, 4) taken from its partner's image, and the same share of its target."""
    images, (height, width) = batch.inputs, batch.inputs.shape[-2:]
    sides = (boxes[:, 2:] - boxes[:, :2]).to(torch.float64)
    mixed = blend_labels(batch, partner, sides.prod(-1) / (height * width))
    if serves(images):
        found = behind_vmap(lambda *given: (cut_mixed(*given),), images, partner, boxes)[0]
        return mixed._replace(inputs=found)
    inside = inside_boxes(boxes, height, width)
    return mixed._replace(inputs=torch.where(inside[:, None], images[partner], images))


def _size(batch: Batch) -> torch.Size:
    """Return the inputs' shape. Raises ArgumentError if they are neither a table nor images."""
    inputs = batch.inputs
    if not isinstance(inputs, Tensor) or inputs.dim() not in (2, 4):
        got = f"shape {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else type(inputs).__name__
        raise ArgumentError(
            "`CutMix` must have a table (rows, columns) or images (rows, channels, height, width) as inputs; got "
            f"{got}. Leave this part out for sequences; Mixup takes inputs of any shape."
        )
    return inputs.shape


def box_of(rng: Rng, planned: Tensor, height: int, width: int) -> Tensor:
    """Return each row's box (B, 4), cut off at the border: top, left, bottom, right."""
    centre = rng.uniform("centre", (*planned.shape, 2))
    sides = placed([height, width], centre, centre.dtype)
    middle = (centre * sides).floor()
    half = (0.5 * planned.sqrt()[:, None] * sides).floor()
    ends = torch.cat([middle - half, middle + half], -1)
    return torch.minimum(ends.clamp(min=0), sides.repeat(2)).to(torch.int64)
