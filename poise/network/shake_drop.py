"""ShakeDrop: residual branches scaled at random while training, forward by one number and backward by another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from poise.core.dial import dial
from poise.core.kinds import Inserted
from poise.network.branches import BranchLayer, ByDepth, scaled

__all__ = ["ShakeDrop", "ShakeDropLayer"]


class ShakeDropLayer(BranchLayer):
    """Scales the branch of each row; in evaluation by the mean factor."""

    p: Tensor

    def forward(self, x: Tensor) -> Tensor:
        rate = self.p * self.depth
        if not self.training:
            return x * (1 - rate).to(x.dtype)
        rng, shape = self.rng(), self.row_shape(x)
        kept = rng.margin("keep", shape, rate) > 0
        # b + alpha - b alpha, without its rounding where b = 1.
        alpha, beta = 2 * rng.uniform("alpha", shape, x.dtype) - 1, rng.uniform("beta", shape, x.dtype)
        return scaled(x, torch.where(kept, 1.0, alpha), torch.where(kept, 1.0, beta))

    def settings(self) -> dict[str, float]:
        return {"p": float(self.p) * self.depth}


@dataclass(frozen=True)
class ShakeDrop(ByDepth):
    """Scale each residual branch at random, for each row, by other numbers in the forward and the backward pass.

    Forward x + (b + alpha - b alpha) branch, backward b + beta - b beta in its place; b ~ Bernoulli(1 - p_l), alpha ~
    U(-1, 1), beta ~ U(0, 1), each drawn for each row; p_l = p l / L for branch l of L (depth="linear"). Evaluation
    multiplies the branch by the mean 1 - p_l. A strong disturbance, for long training of deep residual networks whose
    branches end in a batch normalisation. Costs three passes over the end of each branch. The backward pass is not
    the derivative of the forward pass, by design.

    Neutral: p = 0.
    Shapes: (B, ...) at the end of a residual branch, one draw of b, alpha and beta for each row.
    Units: p is the share of rows that are shaken at the last branch: 1 - p_L in the paper's notation.
    Raises: ArgumentError if p is outside [0, 1], or depth is neither "linear" nor "uniform".
    Source: Yamada, Iwamura, Akiba, Kise 2019, "ShakeDrop regularization for deep residual learning", with one of the
        two pairs of ranges of alpha and beta that the paper found the most effective.

    >>> layer = ShakeDrop(0.25).layer(nn.Identity()).eval()
    >>> layer(torch.tensor([4.0]))
    tensor([3.])
    """

    rank: ClassVar[int] = 40
    formula: ClassVar[str] = "x + (b + alpha - b alpha) branch forward, b + beta - b beta backward, P(b = 0) = p l / L"
    cost: ClassVar[str] = "three passes over the end of each branch"
    own_gradient: ClassVar[bool] = True

    p: float = dial(0.5, neutral=0.0, low=0.0, high=1.0, unit="share of rows", search=(0.0, 0.7))

    def layer(self, host: nn.Module) -> Inserted:
        return ShakeDropLayer(self)
