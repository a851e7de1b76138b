"""How a network reads a text: what each window's characters cost it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["Readings", "statistic_of_readings"]


@dataclass(frozen=True)
class Readings:
    """Scores of n windows. Shapes: all (n,): mean cross-entropy in nats, share predicted right, characters.

    Windows are what intervals draw: characters of one window depend on each other.
    """

    losses: np.ndarray
    right: np.ndarray
    counts: np.ndarray

    def __len__(self) -> int:
        return len(self.losses)


def statistic_of_readings(metric: str, found: Readings) -> Callable[[np.ndarray], np.ndarray]:
    """Return what takes how often each window was drawn (R, n) to the metric of each resample (R,)."""

    def mean(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        return lambda drawn: (drawn * found.counts) @ values / (drawn @ found.counts)

    losses = mean(found.losses)
    known: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "cross_entropy": losses,
        "bits": lambda drawn: losses(drawn) / math.log(2),
        "perplexity": lambda drawn: np.exp(losses(drawn)),
        "accuracy": mean(found.right),
    }
    return known[metric]
