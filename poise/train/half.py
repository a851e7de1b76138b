"""Half precision with a gradient scaler: gradients are unscaled once, and a step that overflowed is left out whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["all_finite", "as_list", "skip_step", "unscaled"]


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


def skip_step(scaler: torch.amp.GradScaler, optimizers: Sequence[Optimizer]) -> None:
    """Tell the scaler of an overflow: it steps no optimizer that overflowed, and lowers its scale.

    With several optimizers, one that did not overflow is not stepped either: half of a step is none.
    """
    for one in optimizers:
        finite = all(
            bool(torch.isfinite(p.grad).all()) for g in one.param_groups for p in g["params"] if p.grad is not None
        )
        if finite:
            for group in one.param_groups:
                for p in group["params"]:
                    p.grad = None
        scaler.step(one)
    scaler.update()
