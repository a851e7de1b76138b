"""A network as kernel layers, and the places of its values."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from poise.kernels.chain import KINDS, SCRATCH, Layer

__all__ = ["ChainPlan", "Value"]

_ALIGNED = 16  # floats: values begin at whole cache lines


@dataclass(frozen=True)
class Value:
    """A tensor (rows, width) of one member: its place in the member's scratch, and that of its gradient."""

    place: int
    stride: int
    width: int
    grad: int = -1
    learned: int = 0  # the first of its columns that a gradient is asked of, by a product alone


@dataclass
class ChainPlan:
    """A network as kernel layers, for batches of a given number of rows.

    `buffers` holds, for each layer, which of the population's buffers its pointers are set to before a step.
    """

    rows: int
    columns: int
    layers: list[Layer] = field(default_factory=list)
    buffers: list[dict[str, str]] = field(default_factory=list)
    constants: list[torch.Tensor] = field(default_factory=list)  # kept alive: the layers point to them
    outputs: int = 0
    output: int = 0
    output_grad: int = 0
    size: int = SCRATCH

    @property
    def products(self) -> int:
        """How many layers are products."""
        return sum(layer.kind == KINDS["linear"] for layer in self.layers)

    def reserve(self, floats: int) -> int:
        """Return a place in the scratch for so many floats."""
        place = self.size
        self.size += -(-floats // _ALIGNED) * _ALIGNED
        return place
