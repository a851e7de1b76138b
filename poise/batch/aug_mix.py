"""AugMix: images mixed with chains of operations on themselves, and predictions that must agree on them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from poise.batch.images import PixelTransform, images_of
from poise.batch.operations import CORRUPTION_FREE, STANDARD, Choice, choose, operate
from poise.core.context import Batch, Context
from poise.core.dial import dial, like
from poise.core.errors import ArgumentError, shown
from poise.core.means import each_row, row_mean, wide
from poise.core.regularizer import Memory
from poise.core.rng import Rng
from poise.core.visits import draws_of

__all__ = ["AugMix", "Chains", "jensen_shannon"]


class Chains(NamedTuple):
    """What is mixed into each row: operations (B, width, depth), the chains' weights (B, width), their share (B,)."""

    operation: Tensor
    magnitude: Tensor
    weights: Tensor
    taken: Tensor


def jensen_shannon(logits: list[Tensor]) -> Tensor:
    """Return (1/n) sum_k KL(p_k || m), m the mean of the n predictions, for each row. Shapes: (B, ..., K) -> (B,).

    >>> jensen_shannon([torch.tensor([[50.0, 0.0]]), torch.tensor([[0.0, 50.0]])])  # log 2
    tensor([0.6931])
    """
    logs = torch.stack([F.log_softmax(wide(one), -1) for one in logits])
    mean = logs.logsumexp(0) - math.log(len(logits))
    return each_row((logs.exp() * (logs - mean)).sum(-1).mean(0))


@dataclass(frozen=True)
class AugMix(PixelTransform):
    """Ask that the network answer alike for an image and for two mixtures of augmented copies of it.

    Adds weight times the mean over rows of JS(p(x), p(view_1), p(view_2)) to the objective; view = (1 - m) x + m sum_k
    w_k chain_k(x), m ~ Beta(1, 1), w ~ Dirichlet(1, ..., 1) over `width` chains of 1 to `depth` operations. The data's
    loss stays that of x, as in the paper; `share` also puts one such view in the place of x, as the paper's ablation
    without the consistency term and torchvision do (AugMix(weight=0, share=1)). For robustness to corrupted images;
    costs two forward and backward passes, and three views of `width` times `depth` resamplings each. Drawn for each
    row: by sample and epoch, or by place.

    Neutral: weight = 0 and share = 0.
    Shapes: inputs (B, C, H, W), bytes or floats, C = 1 or 3; one output (B, ..., K) of logits, classes last; for
        numbers, the mean squared distance from the mean answer stands for JS. The mean over rows takes the rows'
        weights.
    Units: weight in objective per nat, 12 in the paper; share is a probability; magnitude a share of each operation's
        range, drawn uniformly up to it (RandAugment's ranges; contrast, brightness, saturation and sharpness are left
        out). Pixels in [0, 1], or standardised by `mean` and `deviation`, numbers for each channel.
    Raises: ArgumentError if weight is not a finite number >= 0, magnitude or share is outside [0, 1], width or depth is
        not an int >= 1, mean and deviation do not fit, the inputs are no images of bytes or floats, have other
        channels, or lie outside [0, 1] (seen on a CPU only); if the run is not given rows and outputs, or has several
        tasks.
    Source: Hendrycks, Mu, Cubuk, Zoph, Gilmer and Lakshminarayanan 2020, "AugMix: a simple data processing method to
        improve robustness and uncertainty", section 3 and algorithm 1.

    >>> from poise.batch.operations import OPERATIONS
    >>> inverted = torch.full((1, 1, 1), OPERATIONS.index("solarize"))
    >>> draw = Chains(inverted, torch.ones(1, 1, 1), torch.ones(1, 1), torch.tensor([0.5]))
    >>> AugMix(width=1, depth=1).edit(torch.tensor([[[[0.25, 1.0]]]]), draw)
    tensor([[[[0.5000, 0.5000]]]])
    """

    rank: ClassVar[int] = 14
    formula: ClassVar[str] = "weight * mean JS(p(x), p(view_1), p(view_2)), view = (1 - m) x + m sum_k w_k chain_k(x)"
    cost: ClassVar[str] = "two forward and backward passes, and 3 width depth resamplings of the batch"

    weight: float = dial(12.0, neutral=0.0, low=0.0, log=True, unit="objective per nat", search=(0.5, 50.0))
    magnitude: float = dial(0.3, neutral=0.0, low=0.0, high=1.0, unit="share of the range", search=(0.1, 1.0))
    share: float = dial(0.0, neutral=0.0, low=0.0, high=1.0, unit="probability", search=(0.0, 1.0))
    width: int = 3
    depth: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("width", "depth"):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ArgumentError(
                    f"`AugMix.{field}` must be an int >= 1; got {shown(value)}. "
                    "width is the number of chains, depth the most operations of one."
                )

    def draw(self, rng: Rng, batch: Batch, ctx: Context) -> Chains:
        """Return the chains of each row; where it is not replaced, their share is 0."""
        chains = self._chains(rng, images_of("AugMix", batch).shape[0])
        replaced = rng.uniform("share", tuple(chains.taken.shape)) < self.share
        return chains._replace(taken=torch.where(replaced, chains.taken, 0.0))

    def _chains(self, rng: Rng, rows: int) -> Chains:
        shape = (rows, self.width, self.depth)
        drawn = choose(rng, shape, CORRUPTION_FREE, rng.uniform("magnitude", shape) * self.magnitude)
        length = 1 + (rng.uniform("length", shape[:2]) * self.depth).floor()
        within = torch.arange(self.depth, device=length.device) < length[..., None]
        # Exponentials over their sum are Dirichlet(1, ..., 1).
        parts = -rng.uniform("weights", shape[:2]).log()
        taken = rng.uniform("taken", (rows,))
        operation = torch.where(within, drawn.operation, 0)
        return Chains(operation, drawn.magnitude, parts / parts.sum(-1, keepdim=True), taken)

    def edit_pixels(self, pixels: Tensor, draw: Chains) -> Tensor:
        mixture = torch.zeros_like(pixels)
        for k in range(self.width):
            chain = pixels
            for turn in range(self.depth):
                chain = operate(chain, Choice(draw.operation[:, k, turn], draw.magnitude[:, k, turn]), STANDARD)
            mixture = mixture + draw.weights[:, k].to(pixels.dtype).reshape(-1, 1, 1, 1) * chain
        return torch.lerp(pixels, mixture, draw.taken.to(pixels.dtype).reshape(-1, 1, 1, 1))

    def objective(self, terms: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        if ctx.batch is None or ctx.outputs is None:
            raise ArgumentError(
                "`AugMix` must see rows and outputs; got none. "
                "Pass them: x, y = run.batch(x, y) and run.objective(loss, outputs=out)."
            )
        if not isinstance(ctx.outputs, Tensor) or ctx.blocks is not None or isinstance(ctx.classes, Mapping):
            raise ArgumentError(
                "`AugMix` must have one output tensor, of one task; got several. "
                "RandAugment and TrivialAugment suit any number of tasks."
            )
        images = images_of("AugMix", ctx.batch)
        # Other draws: the masks of two views must not be the same by chance of the key.
        rng = draws_of(ctx.rng, ctx.batch)
        views = [ctx.forward(self._view(images, rng, number), draw=number) for number in (1, 2)]
        gaps = self._disagreement([ctx.outputs, *views], ctx)
        total = row_mean(gaps, ctx.batch.weights)
        return terms | {self.name: like(self.weight, total) * total}, memory

    def _view(self, images: Tensor, rng: Rng, number: int) -> Tensor:
        draw = self._chains(rng.fold(f"view {number}"), images.shape[0])
        # Noise of other parts may have left [0, 1] by now: such pixels are clamped in the views.
        return self.edited(images, self.pixels(images), draw)

    def _disagreement(self, outputs: list[Any], ctx: Context) -> Tensor:
        if ctx.classes is not None:
            return jensen_shannon(outputs)
        answers = torch.stack([wide(one) for one in outputs])
        return each_row((answers - answers.mean(0)).square().mean(0))
