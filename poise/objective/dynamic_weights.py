"""Weighting of tasks by how fast their losses fall."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.errors import ArgumentError, shown
from poise.core.placed import placed
from poise.core.regularizer import Memory
from poise.objective.weighting import Weighting, wide

__all__ = ["DynamicWeights"]


@dataclass(frozen=True)
class DynamicWeights(Weighting):
    """Gives more weight to the tasks whose losses fall more slowly (dynamic weight average).

    w_t = T exp(r_t / temperature) / sum_i exp(r_i / temperature), r_t = the mean loss of the last window over that of
    the window before; every weight is 1 during the first two windows. Costs nothing: no gradient of a single task is
    needed. The ratio is free of the losses' units, and so are the weights: for tasks of different scale combine it
    with `TaskWeight`.

    Neutral: temperature = inf, every weight is 1.
    Shapes: memory holds the means of two windows and the running one (T,), float32 at least.
    Units: temperature is in units of the ratio; window in optimizer steps (an epoch in the paper). Losses must be >= 0.
    Raises: ArgumentError if temperature is not > 0, window is no int >= 1, or `tasks` are not tasks of the loss.
    Source: Liu, Johns and Davison 2019, "End-to-end multi-task learning with attention", equation 7.

    >>> part, memory = DynamicWeights(1.0, tasks=("a", "b"), window=1), None
    >>> memory = part.remember({"w": torch.zeros(1)})
    >>> for step, losses in enumerate([[4.0, 4.0], [4.0, 2.0], [3.0, 1.0]]):
    ...     weights, memory = part.weigh(torch.tensor(losses), memory, Context(step, rng=None))
    >>> weights  # 2 / (1 + exp(-0.5)) and its rest to 2: the ratios are 1 and 0.5
    tensor([1.2449, 0.7551])
    """

    rank: ClassVar[int] = 20
    formula: ClassVar[str] = "w_t = T softmax(r / temperature)_t, r_t = last window's mean loss / that before"

    temperature: DialValue = dial(
        2.0, neutral=math.inf, low=0.0, open_low=True, log=True, unit="ratio of losses", search=(0.1, 10.0)
    )
    window: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.window, bool) or not isinstance(self.window, int) or self.window < 1:
            raise ArgumentError(
                f"`DynamicWeights.window` must be an int >= 1; got {shown(self.window)}. Give the steps of an epoch."
            )

    def remember(self, params: Mapping[str, Tensor]) -> Memory:
        zeros = torch.zeros(len(self.tasks), dtype=wide(params), device=next(iter(params.values())).device)
        window = torch.zeros((), dtype=torch.int64, device=zeros.device)
        return {"window": window} | {name: zeros.clone() for name in ("sum", "count", "last", "before")}

    def weigh(self, losses: Tensor, memory: Memory, ctx: Context) -> tuple[Tensor, Memory]:
        losses = losses.to(memory["sum"])
        number = torch.zeros_like(memory["window"]) + placed(ctx.step // self.window, memory["window"]).to(
            memory["window"]
        )
        over = number > memory["window"]
        # A task without a label in the whole window keeps the means that it has.
        ended = over & (memory["count"] > 0)
        before = torch.where(ended, memory["last"], memory["before"])
        last = torch.where(ended, memory["sum"] / memory["count"].clamp(min=1), memory["last"])
        both = (before > 0) & (last > 0)
        ratio = torch.where(both, last / torch.where(both, before, 1.0), 1.0)
        # The largest is subtracted, so that no exponential overflows; at an infinite temperature all are exactly 1.
        powers = torch.exp((ratio - ratio.max()) / like(self.temperature, ratio))
        new = {
            "window": number,
            "sum": torch.where(over, 0.0, memory["sum"]) + losses,
            "count": torch.where(over, 0.0, memory["count"]) + (losses > 0),
            "last": last,
            "before": before,
        }
        return len(self.tasks) * powers / powers.sum(), new
