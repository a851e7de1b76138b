"""Label smoothing: a little of every target's mass spread over all classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from poise.core.blocks import Blocks
from poise.core.context import Batch, Context
from poise.core.dial import DialValue, dial, like
from poise.core.placed import placed
from poise.core.regularizer import Memory, Regularizer

__all__ = ["LabelSmoothing"]


@dataclass(frozen=True)
class LabelSmoothing(Regularizer):
    """Spread a share of each target distribution evenly over the K classes.

    t' = (1 - amount) t + amount / K. Keeps the logits from growing without end, so it helps against overconfidence
    and label noise; costs one pass over the targets. Switch it off if calibrated log-loss is the goal and the data
    are clean. It commutes with mixup (both are affine, and it is the last part of the stage by rank), so the listing
    order does not matter. Regression targets are left as they are; of several tasks (`ctx.blocks`), each class task
    is smoothed over its own classes, and a label that is not known stays so.

    Neutral: amount = 0.
    Shapes: targets (B, K) distributions, or a dict of targets by task, of which those in `ctx.classes` are.
    Units: amount is the share of the mass that is spread, over all classes, the right one included.
    Raises: ArgumentError if amount is outside [0, 1].
    Source: Szegedy, Vanhoucke, Ioffe, Shlens and Wojna 2016, "Rethinking the Inception architecture for computer
        vision", section 7.

    >>> import torch
    >>> from poise.core.rng import Rng, key
    >>> batch = Batch(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
    >>> smooth, _ = LabelSmoothing(0.2).batch(batch, {}, Context(0, Rng(key(0)), classes=2))
    >>> [round(float(t), 6) for t in smooth.targets[0]]
    [0.9, 0.1]
    """

    rank: ClassVar[int] = 40
    formula: ClassVar[str] = "t' = (1 - amount) t + amount / K"
    cost: ClassVar[str] = "one pass over the targets"

    amount: float = dial(0.1, neutral=0.0, low=0.0, high=1.0, unit="share of mass", search=(0.0, 0.5))

    def batch(self, batch: Batch, memory: Memory, ctx: Context) -> tuple[Batch, Memory]:
        if ctx.classes is None and ctx.blocks is None:
            return batch, memory
        targets: Any = batch.targets
        if isinstance(ctx.classes, Mapping):
            mixed = {task: _spread(targets[task], self.amount) for task in ctx.classes}
            return batch._replace(targets=targets | mixed), memory
        amount = placed(self.amount, targets, targets.dtype)
        if ctx.blocks is not None:
            own = [_smoothed(ctx.blocks, targets, task, amount) for task in range(len(ctx.blocks.classes))]
            return batch._replace(targets=ctx.blocks.joined(targets, own)), memory
        return batch._replace(targets=_spread(targets, amount)), memory


def _spread(targets: Tensor, amount: DialValue) -> Tensor:
    """Return distributions (B, K) with some of the mass spread; a row of NaN, a missing label, stays so."""
    share = placed(like(amount, targets), targets, targets.dtype)
    return (1 - share) * targets + share / targets.shape[-1]


def _smoothed(blocks: Blocks, targets: Tensor, task: int, amount: Tensor) -> Tensor:
    """Return one task's targets: its mass spread over its own classes, none for a label that is not known."""
    own, known, classes = blocks.own(targets, task), blocks.known(targets, task), blocks.classes[task]
    if classes is None:
        return own
    spread = amount / classes if known is None else amount * known.unsqueeze(-1) / classes
    return (1 - amount) * own + spread
