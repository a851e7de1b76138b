"""Half precision with a gradient scaler: gradients are unscaled once, and a step that overflowed is left out whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["all_finite", "as_list", "unscaled"]


def as_list(optimizer: Optimizer | Sequence[Optimizer]) -> list[Optimizer]:
    """Return one optimizer or several as a list."""
    return [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer)


def unscaled(scaler: torch.amp.GradScaler, optimizers: Sequence[Optimizer], params: Mapping[str, Tensor]) -> bool:
    """Divide the gradients by the scale; return whether all are finite. A clip before this would clip scaled ones."""
    for one in optimizers:
        scaler.unscale_(one)
    return all_finite(params)


def all_finite(params: Mapping[str, Tensor]) -> bool:
    """Whether no gradient has overflowed."""
    return all(bool(torch.isfinite(p.grad).all()) for p in params.values() if p.grad is not None)
