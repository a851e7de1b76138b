"""The loss of the best constant answer: what a network reaches that does not look at its inputs."""

from __future__ import annotations

import math

import torch

from poise.diagnosis.answers import Data, batches_of

__all__ = ["constant_loss"]


def constant_loss(data: Data) -> float:
    """Return the entropy of the classes, or the variance of the numbers; infinity where neither is meant.

    >>> round(constant_loss((torch.zeros(4, 1), torch.tensor([0, 0, 1, 1]))), 4) == round(math.log(2), 4)
    True
    """
    targets = torch.cat([targets for _inputs, targets in batches_of(data)])
    if not targets.is_floating_point():
        if targets.dim() != 1:
            return math.inf
        shares = torch.bincount(targets - targets.min()).double() / len(targets)
        return float(-torch.xlogy(shares, shares).sum())
    values = targets.double().reshape(len(targets), -1)
    rows = values.sum(1)
    if values.shape[1] > 1 and bool(
        torch.isclose(rows, torch.ones_like(rows), atol=1e-4).all() and (values >= 0).all()
    ):
        mean = values.mean(0)
        return float(-torch.xlogy(mean, mean).sum())
    return float((values - values.mean(0)).square().mean())
