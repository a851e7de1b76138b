"""Shake-shake: two parallel residual branches, mixed at random while training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from poise.core.dial import dial
from poise.core.kinds import Inserted
from poise.network.branches import AtBranches, BranchLayer, scaled
from poise.network.residual import Join, residual

__all__ = ["ShakeShake", "ShakeShakeLayer"]


class ShakeShakeLayer(BranchLayer):
    """Scales one of two branches; the layer of the other one draws the same numbers and takes what they leave of 1."""

    share: Tensor

    def __init__(self, part: ShakeShake) -> None:
        super().__init__(part)
        self.second = False

    def forward(self, x: Tensor) -> Tensor:
        share = self.share.to(x.dtype)
        if not self.training:
            return x * (1 - share / 2)
        rng, shape = self.rng(), self.row_shape(x)
        draws = [rng.uniform(label, shape, x.dtype) for label in ("alpha", "beta")]
        alpha, beta = (1 - share + share * (1 - draw if self.second else draw) for draw in draws)
        return scaled(x, alpha, beta)


@dataclass(frozen=True)
class ShakeShake(AtBranches):
    """Mix two parallel residual branches at random, by other numbers in the forward and the backward pass.

    Forward x + alpha first + (1 - alpha) second, backward beta and 1 - beta in their place; alpha, beta ~ U(0, 1),
    drawn for each row. Evaluation uses 1/2 and 1/2, so the model's own x + first + second becomes x + first / 2 +
    second / 2. With share s the factors are 1 - s + s alpha, and so on. Only sums of a skip connection and exactly
    two branches get layers. For long training of networks that are built so. Costs two passes over the end of each
    branch. The backward pass is not the derivative of the forward pass, by design.

    Neutral: share = 0.
    Shapes: (B, ...) at the end of two residual branches, one draw of alpha and beta for each row.
    Units: share is how far the factors go from 1 (the plain sum) to the random mixture.
    Raises: ArgumentError if share is outside [0, 1].
    Source: Gastaldi 2017, "Shake-shake regularization", equation 2; levels "Shake-Shake-Image".

    >>> import torch
    >>> class Block(nn.Module):
    ...     residual_branches = (("one", "two"),)
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.one, self.two = nn.Identity(), nn.Identity()
    ...     def forward(self, x):
    ...         return x + self.one(x) + self.two(x)
    >>> ShakeShake().network(Block())(torch.ones(3))
    tensor([2., 2., 2.])
    """

    rank: ClassVar[int] = 40
    formula: ClassVar[str] = "x + alpha first + (1 - alpha) second forward, beta backward; alpha, beta ~ U(0, 1)"
    cost: ClassVar[str] = "two passes over the end of each branch"
    sites: ClassVar[str] = "at the ends of two residual branches that meet in one sum"
    own_gradient: ClassVar[bool] = True

    share: float = dial(1.0, neutral=0.0, low=0.0, high=1.0, unit="share", search=(0.0, 1.0))

    def joins(self, module: nn.Module) -> list[Join]:
        return [join for join in residual(module).joins if len(join.branches) == 2]

    def layer(self, host: nn.Module) -> Inserted:
        return ShakeShakeLayer(self)

    def tell(self, layer: BranchLayer, join: Join, side: int, depth: float) -> None:
        assert isinstance(layer, ShakeShakeLayer)
        layer.second = side == 1
        layer.label = f"{self.name}/{join.branches[0][0]}"  # the same draws on both sides
