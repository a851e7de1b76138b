"""Exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.average.shadow import shadow
from poise.core.context import Context
from poise.core.dial import DialValue, dial, double, like
from poise.core.regularizer import Memory, Regularizer

__all__ = ["Ema"]


@dataclass(frozen=True)
class Ema(Regularizer):
    """Evaluates with an exponential moving average of the weights instead of the last weights.

    shadow <- d shadow + (1 - d) w after each step; the shadow begins as the weights before training, and is not
    debiased. d = decay, or with `warmup` the smaller of decay and (1 + step) / (10 + step), step from 0, so that the
    start is soon forgotten. An average over about 1 / (1 - decay) steps: use it with a learning rate that does not
    fall to 0, where the last weights still bounce. It costs one pass over the weights and one copy of them.

    Neutral: decay = 0, the weights themselves. Without warmup, decay = 1 keeps the weights of the start.
    Shapes: weights keep shape and dtype; the shadow is float32 at least, because in bfloat16 it would stop moving.
    Units: decay is the share kept a step.
    Raises: ArgumentError if decay is not in [0, 1].
    Source: Polyak and Juditsky 1992; Tarvainen and Valpola 2017; the warm-up is tf.train.ExponentialMovingAverage's.

    >>> ema, ctx = Ema(decay=0.75, warmup=False), Context(0, rng=None)
    >>> ema.average({"w": torch.tensor([4.0])}, ema.remember({"w": torch.tensor([0.0])}), ctx)[0]
    {'w': tensor([1.])}
    """

    formula: ClassVar[str] = "shadow <- decay shadow + (1 - decay) w; evaluation uses the shadow"
    cost: ClassVar[str] = "one pass over the weights, one copy of them in memory"

    decay: DialValue = dial(0.999, neutral=0.0, low=0.0, high=1.0, search=(0.9, 0.9999), unit="share kept a step")
    warmup: bool = True

    def remember(self, params: Mapping[str, Tensor]) -> Memory:
        return {f"shadow/{name}": shadow(w) for name, w in params.items()}

    def average(self, weights: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        gain = 1 - double(self.decay)
        if self.warmup:
            gain = torch.as_tensor(gain, dtype=torch.float64).clamp(min=9 / (10 + ctx.step))  # 1 - (1 + t) / (10 + t)
        shadows = {name: memory[f"shadow/{name}"] for name in weights}
        new = {name: torch.lerp(s, weights[name].to(s), like(gain, s)) for name, s in shadows.items()}
        return (
            {name: s.to(weights[name].dtype) for name, s in new.items()},
            memory | {f"shadow/{name}": s for name, s in new.items()},
        )
