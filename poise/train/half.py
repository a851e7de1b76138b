"""Half precision with a gradient scaler: gradients are unscaled once, and a step that overflowed is left out whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from poise.train.groups import parameters_of

__all__ = ["all_finite", "as_list", "unscaled"]


def as_list(optimizer: Optimizer | Sequence[Optimizer]) -> list[Optimizer]:
    """Return one optimizer or several as a list."""
    return [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer)


def unscaled(scaler: torch.amp.GradScaler, optimizers: Sequence[Optimizer], params: Mapping[str, Tensor]) -> bool:
    """Divide the gradients by the scale; return whether all are finite. A clip before this would clip scaled ones."""
    for one in optimizers:
        scaler.unscale_(one)
    held = {id(p): p for one in optimizers for p in parameters_of(one)}  # the loss's, too: the scaler looks at all
    return all_finite((held | {id(p): p for p in params.values()}).values())


def all_finite(params: Iterable[Tensor]) -> bool:
    """Whether no gradient has overflowed."""
    return all(bool(torch.isfinite(p.grad).all()) for p in params if p.grad is not None)
