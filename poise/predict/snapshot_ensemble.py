"""Snapshots: several networks out of one training run, one at the end of each cycle of the learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from poise.core.context import Context
from poise.core.errors import ArgumentError, shown
from poise.core.regularizer import Memory, Regularizer
from poise.predict.averaged import check_count, check_space
from poise.predict.copies import copies_with
from poise.predict.ensemble import Ensemble

__all__ = ["SnapshotEnsemble"]


@dataclass(frozen=True)
class SnapshotEnsemble(Regularizer):
    """Keeps the weights at the end of each cycle of the learning rate, and predicts with the mean of those networks.

    Copies are taken after steps steps, 2 steps, ..., cycles steps; the predictor is log of the mean over the last m
    copies of softmax(f), or the mean of f. Train with a rate that falls to 0 and starts again, `CosineCycles` of as
    many steps, so that each cycle ends in a minimum of its own: an ensemble for the price of one run, whose members
    are more alike than those trained apart. It costs `last` copies of the weights in memory and, each cycle, one pass
    over all of them; at prediction `last` forward passes, and with batch norm a pass over the training inputs for each.

    Neutral: leave it out. Before the first cycle ends it changes nothing.
    Shapes: outputs keep theirs, (N, ..., K), classes last; copies keep the weights' dtype.
    Units: steps counts optimizer steps of one cycle; last counts copies (0: all cycles). The raw weights are
    copied, also beside a part that averages.
    Raises: ArgumentError if cycles or steps is not an int >= 1, last not one in [0, cycles], or space is no space.
    Source: Huang, Li, Pleiss, Liu, Hopcroft and Weinberger 2017, "Snapshot ensembles: train 1, get M for free".

    >>> part = SnapshotEnsemble(cycles=2, steps=1, space="output")
    >>> memory = part.remember({"weight": torch.zeros(1, 1)})
    >>> for step, weight in enumerate([1.0, 4.0]):
    ...     params = {"weight": torch.tensor([[weight]])}
    ...     _, memory = part.average(params, memory, Context(step, rng=None, params=params))
    >>> part.predict(nn.Linear(1, 1, bias=False), Context(2, rng=None, memory=memory))(torch.ones(1, 1))
    tensor([[2.5000]])
    """

    rank: ClassVar[int] = 10
    formula: ClassVar[str] = "mean over the last m cycles of f(x; weights at the end of the cycle)"
    cost: ClassVar[str] = "m copies of the weights in memory; m forward passes at each prediction"

    cycles: int
    steps: int
    last: int = 0
    space: str = "probability"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, low in (("cycles", 1), ("steps", 1), ("last", 0)):
            check_count("SnapshotEnsemble", name, getattr(self, name), low)
        if self.kept > self.cycles:
            raise ArgumentError(
                f"`SnapshotEnsemble.last` must be at most cycles ({self.cycles}); got {shown(self.last)}. "
                "There is one copy a cycle."
            )
        check_space("SnapshotEnsemble", self.space)

    @property
    def kept(self) -> int:
        """How many copies are kept."""
        return self.last or self.cycles

    def remember(self, params: Mapping[str, Tensor]) -> Memory:
        return {f"copy/{name}": w.detach().new_zeros(self.kept, *w.shape) for name, w in params.items()}

    def average(self, weights: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        """Copy the weights where a cycle ends; the weights that evaluation uses stay."""
        # A branch, because the step is a plain number that all members share: the other steps then cost nothing.
        cycle, rest = divmod(ctx.step + 1, self.steps)
        if rest or cycle > self.cycles:
            return weights, memory
        place = (cycle - 1) % self.kept  # over the oldest copy
        new = {}
        for name, w in ctx.params.items():
            copies = memory[f"copy/{name}"]
            new[f"copy/{name}"] = torch.cat([copies[:place], w.detach()[None], copies[place + 1 :]])
        return weights, memory | new

    def predict(self, predictor: nn.Module, ctx: Context) -> nn.Module:
        count = min(ctx.step // self.steps, self.kept)
        if count == 0:
            return predictor
        members = [
            {key.removeprefix("copy/"): copies[place] for key, copies in ctx.memory.items()} for place in range(count)
        ]
        return Ensemble(copies_with(predictor, members, self.name, ctx), space=self.space).eval()
