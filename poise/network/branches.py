"""Layers at the ends of residual branches: they know how deep they stand, and they act on whole rows."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from poise.core.errors import ArgumentError, shown
from poise.core.kinds import Inserted, count_calls
from poise.core.regularizer import Regularizer
from poise.network.attach import AfterHost
from poise.network.residual import Join, residual, unread

__all__ = ["AtBranches", "BranchLayer", "ByDepth", "scaled"]

_DEPTHS = ("linear", "uniform")


def scaled(x: Tensor, forward: Tensor, backward: Tensor) -> Tensor:
    """Return x forward; the gradient that comes back is multiplied by `backward` instead, as if that were the factor.

    Shapes: x any, the factors broadcast against it and have its number of dimensions.
    """
    result: Tensor = _Scaled.apply(x, forward, backward)  # type: ignore[no-untyped-call]  # torch has no types there
    return result


class _Scaled(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, forward: Tensor, backward: Tensor) -> Tensor:
        return x * forward

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        (backward,) = ctx.saved_tensors
        return gradient * backward, None, None


class BranchLayer(Inserted):
    """`depth` is the share of the part's strength that holds at this branch; `rows` the dimension that counts rows."""

    def __init__(self, part: Regularizer) -> None:
        super().__init__(part)
        self.depth = 1.0
        self.rows = 0

    def row_shape(self, x: Tensor) -> tuple[int, ...]:
        """Return the shape that broadcasts one number for each row against x."""
        return tuple(size if place == self.rows else 1 for place, size in enumerate(x.shape))


@dataclass(frozen=True, kw_only=True)
class AtBranches(AfterHost, abstract=True):
    """Layers at the ends of residual branches."""

    sites: ClassVar[str] = "at the end of every residual branch"

    def joins(self, module: nn.Module) -> list[Join]:
        """Return the joins whose branches get a layer."""
        return list(residual(module).joins)

    def find(self, module: nn.Module) -> list[tuple[str, nn.Module]]:
        return [site for join in self.joins(module) for site in join.branches]

    def notes(self, module: nn.Module) -> list[str]:
        return unread(module)

    def network(self, module: nn.Module) -> nn.Module:
        joins = self.joins(module)
        for number, join in enumerate(joins, start=1):
            for side, (path, host) in enumerate(join.branches):
                layer = self.layer(host)
                assert isinstance(layer, BranchLayer)
                layer.rows = join.rows
                self.place(path, host, layer)
                self.tell(layer, join, side, number / len(joins))
        return count_calls(module)

    @abstractmethod
    def tell(self, layer: BranchLayer, join: Join, side: int, depth: float) -> None:
        """Tell the layer where it stands: the join, which of its branches, and l / L, the share of the way in."""


@dataclass(frozen=True, kw_only=True)
class ByDepth(AtBranches, abstract=True):
    """Layers whose strength may grow with depth.

    depth = "linear": branch l of L (counted in module order, branches of one sum together) gets l / L of the dial, so
    the last branch gets all of it. "uniform": every branch gets all of it.
    """

    depth: str = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth not in _DEPTHS:
            raise ArgumentError(
                f"`{type(self).__name__}.depth` must be one of {', '.join(_DEPTHS)}; got {shown(self.depth)}. "
                '"linear" spares the early branches.'
            )

    def tell(self, layer: BranchLayer, join: Join, side: int, depth: float) -> None:
        layer.depth = depth if self.depth == "linear" else 1.0
