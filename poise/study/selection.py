"""Choosing an ensemble among trained configurations, on rows that none of them trained on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["greedy_weights"]

MOST_ROWS = 4000
"""Rows of a bag at most: a choice among forty on 20,000 rows of seven classes takes a quarter of the time."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""Takes predictions (C, n, K) and row numbers (n,), returns losses (C,)."""


def greedy_weights(predictions: Tensor, loss: Loss, *, picks: int = 20, bags: int = 10, seed: int = 0) -> Tensor:
    """Return ensemble weights (C,) that sum to 1: greedy selection with replacement, bagged over halves of the rows.

    Each bag draws half of the rows and adds, `picks` times, the member that lowers the loss of the mean prediction
    most, then keeps the best prefix; the weights are the mean of the bags'. One choice on all rows would overfit
    them: bagging is the guard of the source, and the best single member is the start of every bag.

    Shapes: predictions (C, n, K) of rows held out from every member.
    Source: Caruana, Niculescu-Mizil, Crew, Ksikes 2004, "Ensemble selection from libraries of models".
    """
    count, rows = predictions.shape[:2]
    if count == 1:
        return torch.ones(1)
    generator = torch.Generator().manual_seed(seed)
    weights = torch.zeros(count)
    for _ in range(bags):
        chosen = torch.randperm(rows, generator=generator)[: max(1, min(rows // 2, MOST_ROWS))]
        bag = predictions[:, chosen]
        total = torch.zeros_like(bag[0])
        counts = torch.zeros(count)
        best_loss, best_counts = float("inf"), counts
        for pick in range(picks):
            losses = loss((total + bag) / (pick + 1), chosen)
            place = int(losses.argmin())
            total = total + bag[place]
            counts = counts.clone()
            counts[place] += 1
            if float(losses[place]) < best_loss:
                best_loss, best_counts = float(losses[place]), counts
        weights += best_counts / best_counts.sum()
    return weights / bags
