"""Half precision with a gradient scaler: gradients are unscaled once, and a step that overflowed is left out whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from poise.gradient.values import values_of
from poise.train.groups import parameters_of

__all__ = ["as_list", "finite", "unscaled"]


def as_list(optimizer: Optimizer | Sequence[Optimizer]) -> list[Optimizer]:
    """Return one optimizer or several as a list."""
    return [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer)


def unscaled(scaler: torch.amp.GradScaler, optimizers: Sequence[Optimizer], params: Mapping[str, Tensor]) -> bool:
    """Divide the gradients by the scale; where one has overflowed, lower the scale and return False.

    A clip before this would clip scaled ones. Gradients that no optimizer holds are divided too: a common norm counts
    them.
    """
    for one in optimizers:
        scaler.unscale_(one)
    held = {id(p): p for one in optimizers for p in parameters_of(one)}  # the loss's, too: the scaler looks at all
    rest = [p for p in params.values() if id(p) not in held]
    for p in rest:
        if p.grad is not None:
            p.grad.div_(scaler.get_scale())
    if not _all_finite(held.values()):
        scaler.update()  # `unscale_` has recorded the overflow
        return False
    return finite(scaler, rest)


def finite(scaler: torch.amp.GradScaler, params: Iterable[Tensor]) -> bool:
    """Whether no gradient has overflowed; lower the scale where one has that the scaler has not looked at."""
    found = _all_finite(params)
    if not found:
        scaler.update(scaler.get_scale() * scaler.get_backoff_factor())
    return found


def _all_finite(params: Iterable[Tensor]) -> bool:
    return all(bool(torch.isfinite(values_of(p.grad)).all()) for p in params if p.grad is not None)
