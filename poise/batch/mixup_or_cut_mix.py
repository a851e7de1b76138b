"""Mixup or CutMix: each row mixed by one of the two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from poise.batch.cut_mix import box_of, cut_images
from poise.batch.images import images_of, rows_where
from poise.core.context import Batch, Context
from poise.core.dial import dial
from poise.core.kinds import Transform
from poise.core.mixing import blend, blend_labels
from poise.core.placed import placed
from poise.core.rng import Rng

__all__ = ["Mixture", "MixupOrCutMix"]


class Mixture(NamedTuple):
    """The other row (B,), its weight 1 - lambda where it is mixed (B,), and the box taken from it (B, 4), or empty."""

    partner: Tensor
    taken: Tensor
    box: Tensor


@dataclass(frozen=True)
class MixupOrCutMix(Transform):
    """Mix each image with another one, by mixup or by CutMix, and the targets likewise.

    With probability `share` a row is mixed at all: with probability `cut` by a box of another image, as CutMix(alpha=
    cut_alpha) does it, else by a convex combination, as Mixup(mixup_alpha). The other row is one random permutation.
    The usual mixture of long trainings on photographs; both parts in one recipe would mix some rows twice. Costs two
    passes over the batch. Drawn for each row: by sample and epoch, or by place.

    Neutral: share = 0 (the alphas at 0 switch off their own half; cut = 0 is mixup alone).
    Shapes: inputs (B, C, H, W), bytes or floats of any scale; targets (B, K), (B,) or (B, T), or a dict of these by
        task; weights (B,).
    Units: share and cut are probabilities, the alphas shapes of the beta laws.
    Raises: ArgumentError if share or cut is outside [0, 1], an alpha < 0, the inputs are no images of bytes or floats,
        or targets not float.
    Source: Wightman, Touvron and Jégou 2021, "ResNet strikes back: an improved training procedure in timm", which
        draws one of the two for each batch; here for each row.

    >>> batch = Batch(torch.tensor([2.0, 4.0]).reshape(2, 1, 1, 1), torch.tensor([0.0, 1.0]))
    >>> draw = Mixture(torch.tensor([1, 0]), torch.tensor([0.5, 0.0]), torch.tensor([[0, 0, 0, 0], [0, 0, 1, 1]]))
    >>> mixed = MixupOrCutMix().apply(batch, draw, Context(0, Rng(torch.zeros(3, dtype=torch.int64))))
    >>> mixed.inputs.flatten().tolist(), mixed.targets.tolist()
    ([3.0, 2.0], [0.5, 0.0])
    """

    rank: ClassVar[int] = 30
    formula: ClassVar[str] = "x', y' by CutMix with probability cut, else by mixup, with probability share"
    cost: ClassVar[str] = "two passes over the batch"

    share: float = dial(1.0, neutral=0.0, low=0.0, high=1.0, unit="probability", search=(0.0, 1.0))
    cut: float = dial(0.5, neutral=0.0, low=0.0, high=1.0, unit="probability", search=(0.0, 1.0))
    mixup_alpha: float = dial(0.2, neutral=0.0, low=0.0, log=True, unit="beta shape", search=(0.05, 2.0))
    cut_alpha: float = dial(1.0, neutral=0.0, low=0.0, log=True, unit="beta shape", search=(0.1, 2.0))

    def draw(self, rng: Rng, batch: Batch, ctx: Context) -> Mixture:
        """Return the other row of each, and how much of it is taken, or which box."""
        rows, _, height, width = images_of("MixupOrCutMix", batch).shape
        places = rng.uniform("choice", (rows, 2))
        mixed, cut = places[:, 0] < self.share, places[:, 1] < self.cut
        kept = rng.symmetric_beta("lambda", (rows,), self.mixup_alpha, torch.float64)
        area = rng.symmetric_beta("area", (rows,), self.cut_alpha)
        # Beta(0, 0) would exchange whole rows; the limit that users mean by alpha = 0 is "off".
        blends = mixed & ~cut & (placed(self.mixup_alpha, cut) > 0)
        cuts = mixed & cut & (placed(self.cut_alpha, cut) > 0)
        box = box_of(rng, torch.where(cuts, area, 0.0), height, width)
        return Mixture(rng.permutation("partner", rows), torch.where(blends, 1 - kept, 0.0), box)

    def apply(self, batch: Batch, draw: Mixture, ctx: Context) -> Batch:
        images = images_of("MixupOrCutMix", batch)
        cut = cut_images(batch, draw.partner, draw.box)
        mixed = draw.taken > 0
        # A row is one or the other: the share of the box, or the weight of the other row.
        sides = (draw.box[:, 2:] - draw.box[:, :2]).to(torch.float64)
        amount = torch.where(mixed, draw.taken, sides.prod(-1) / (images.shape[-2] * images.shape[-1]))
        labelled = blend_labels(batch, draw.partner, amount)
        return labelled._replace(inputs=rows_where(mixed, blend(images, draw.partner, draw.taken), cut.inputs))
