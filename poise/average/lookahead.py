"""Lookahead: slow weights that follow the optimizer's in steps of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.average.shadow import shadow
from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.errors import ArgumentError, shown
from poise.core.regularizer import Memory, Regularizer

__all__ = ["Lookahead"]


@dataclass(frozen=True)
class Lookahead(Regularizer):
    """Every `every` steps, the weights go back to a point between where they were then and where they are now.

    slow <- slow + share (w - slow), w <- slow, after steps every, 2 every, ...; slow begins as the weights before
    training. It damps the optimizer's bounce across a valley, so a larger learning rate is safe; the optimizer's own
    momentum is left as it is. Evaluate after a multiple of `every` steps, where the weights are the slow ones. It
    costs one copy of the weights and, on every `every`-th step only, two passes over them. Ranks after thresholds and
    limits, so a soft threshold's exact zeros become small numbers.

    Neutral: share = 1, the optimizer's own weights.
    Shapes: weights keep shape and dtype; the slow ones are float32 at least.
    Units: every counts optimizer steps; share is the part of the way that is kept: 0 stays at the start for ever.
    Raises: ArgumentError if every is not an int >= 1, or share not in [0, 1].
    Source: Zhang, Lucas, Hinton and Ba 2019, "Lookahead optimizer: k steps forward, 1 step back", algorithm 1.

    >>> part = Lookahead(every=1, share=0.25)
    >>> memory = part.remember({"w": torch.tensor([0.0])})
    >>> part.update({"w": torch.tensor([4.0])}, memory, Context(0, rng=None))[0]
    {'w': tensor([1.])}
    """

    rank: ClassVar[int] = 85
    conditional: ClassVar[bool] = True
    formula: ClassVar[str] = "every k steps: slow <- slow + share (w - slow), w <- slow"
    cost: ClassVar[str] = "one copy of the weights in memory; two passes over them every k steps"

    every: int = 5
    share: DialValue = dial(0.5, neutral=1.0, low=0.0, high=1.0, search=(0.2, 1.0), unit="share of the way kept")

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.every, bool) or not isinstance(self.every, int) or self.every < 1:
            raise ArgumentError(
                f"`Lookahead.every` must be an int >= 1; got {shown(self.every)}. It counts optimizer steps."
            )

    def remember(self, params: Mapping[str, Tensor]) -> Memory:
        return {f"slow/{name}": shadow(w) for name, w in params.items()}

    def update(self, params: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        # A branch, because the step is a plain number that all members share: the other steps then cost nothing.
        if (ctx.step + 1) % self.every:
            return params, memory
        slow = {name: memory[f"slow/{name}"] for name in params}
        slow = {name: torch.lerp(s, params[name].to(s), like(self.share, s)) for name, s in slow.items()}
        return (
            {name: s.to(params[name].dtype) for name, s in slow.items()},
            memory | {f"slow/{name}": s for name, s in slow.items()},
        )
