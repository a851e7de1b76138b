"""Stochastic depth: whole residual branches switched off at random while training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from poise.core.dial import dial
from poise.core.kinds import Inserted
from poise.network.branches import BranchLayer, ByDepth
from poise.network.dropout import dropped

__all__ = ["DropPath", "DropPathLayer"]


class DropPathLayer(BranchLayer):
    """Zeroes the branch of each row with probability `p depth` while training; does nothing in evaluation."""

    p: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        rate = self.p * self.depth
        return dropped(x, self.rng().margin("keep", self.row_shape(x), rate).expand(x.shape), rate)

    def settings(self) -> dict[str, float]:
        return {"p": float(self.p) * self.depth}


@dataclass(frozen=True)
class DropPath(ByDepth):
    """Leave out each residual branch with probability p_l for each row at every training step (stochastic depth).

    x + branch m / (1 - p_l), m ~ Bernoulli(1 - p_l) for each row; p_l = p l / L for branch l of L (depth="linear"),
    or p (depth="uniform"); evaluation uses the whole branch. The paper drops a branch for the whole batch and scales
    it by 1 - p_l in evaluation; this is the same in the mean. The first thing to try in deep residual networks and
    transformers, 0.1 to 0.5; costs two passes over the end of each branch, and the branch is computed all the same.

    Neutral: p = 0.
    Shapes: (B, ...) at the end of a residual branch, one draw for each row.
    Units: p is the share of rows for which the last branch is dropped, not the share kept.
    Raises: ArgumentError if p is outside [0, 1], or depth is neither "linear" nor "uniform".
    Source: Huang, Sun, Liu, Sedra, Weinberger 2016, "Deep networks with stochastic depth", equations 2 and 4.

    >>> import torch
    >>> class Block(nn.Module):
    ...     residual_branches = ("branch",)
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.branch = nn.Identity()
    ...     def forward(self, x):
    ...         return x + self.branch(x)
    >>> model = DropPath(0.5).network(Block())
    >>> sorted(set(model(torch.ones(100)).tolist()))
    [1.0, 3.0]
    """

    rank: ClassVar[int] = 40
    formula: ClassVar[str] = "x + branch m / (1 - p_l), m ~ Bernoulli(1 - p_l) for each row, p_l = p l / L"
    cost: ClassVar[str] = "two passes over the end of each branch"

    p: float = dial(0.1, neutral=0.0, low=0.0, high=1.0, unit="share of rows", search=(0.0, 0.6))

    def layer(self, host: nn.Module) -> Inserted:
        return DropPathLayer(self)
