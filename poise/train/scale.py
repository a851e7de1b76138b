"""The effective step of a torch optimizer for each coordinate: what a proximal threshold must be scaled by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

from poise.core.errors import ArgumentError
from poise.core.regularizer import Regularizer
from poise.update import L1

__all__ = ["check_effective_step", "effective_step", "thresholding"]


def thresholding(parts: Iterable[Regularizer]) -> list[str]:
    """Return the names of the parts that threshold by the effective step: a bare penalty does not."""
    return [part.name for part in parts if "scale" in part.needs and not (isinstance(part, L1) and part.subgradient)]


def check_effective_step(optimizer: Optimizer) -> None:
    """Raise ArgumentError for an optimizer of another kind than these, because a wrong scale would move the optimum."""
    if isinstance(optimizer, (SGD, Adam, AdamW, Adagrad)):
        return
    odd = isinstance(optimizer, RMSprop) and any(g["centered"] or g["momentum"] for g in optimizer.param_groups)
    if odd or not isinstance(optimizer, RMSprop):
        how = " that is centered or has momentum" if odd else ""
        raise ArgumentError(
            "`Run.update.optimizer` must have a known effective step, by which the recipe thresholds: SGD, Adam, "
            f"AdamW, Adagrad or RMSprop; got {type(optimizer).__name__}{how}. Use one of these with L1, or "
            "L1(subgradient=True), which has no exact zeros."
        )


def effective_step(optimizer: Optimizer, group: dict[str, Any], parameter: Tensor) -> Tensor:
    """Return the factor between a constant gradient and the step, shaped as the parameter, after `optimizer.step()`.

    SGD: lr (1 - dampening) / (1 - momentum). Adam and AdamW: lr / (sqrt(v / (1 - b2^t)) + eps), v the largest so
    far under amsgrad. RMSprop and Adagrad: lr / (sqrt(v) + eps).

    Raises: ArgumentError for another optimizer.
    """
    check_effective_step(optimizer)
    state: dict[str, Tensor] = optimizer.state[parameter]
    lr: Tensor = torch.as_tensor(group["lr"], dtype=parameter.dtype, device=parameter.device)
    eps: float = group.get("eps", 0.0)
    if isinstance(optimizer, SGD):
        momentum = group["momentum"]
        gain = (1 - group["dampening"]) / (1 - momentum) if momentum else 1.0
        return (lr * gain).expand_as(parameter)
    if isinstance(optimizer, (Adam, AdamW)):
        second = state["max_exp_avg_sq"] if group["amsgrad"] else state["exp_avg_sq"]
        grown: float = 1 - group["betas"][1] ** float(state["step"])
        return lr / ((second / grown).sqrt() + eps)
    if isinstance(optimizer, Adagrad):
        falling: float = 1 + (float(state["step"]) - 1) * group["lr_decay"]
        return lr / falling / (state["sum"].sqrt() + eps)
    return lr / (state["square_avg"].sqrt() + eps)
