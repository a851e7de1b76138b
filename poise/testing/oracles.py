"""Slow twins: the same mathematics written a second time, by other means, to hold fast code to."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "chi_square",
    "kolmogorov",
    "mean_p_value",
    "philox_words",
    "prox_by_search",
    "rate_p_value",
    "tail_of_kolmogorov",
]


def philox_words(key: Sequence[int], counter: Sequence[int], count: int) -> list[int]:
    """Return words of Philox4x64-10 in plain integers, as NumPy orders them: the counter is raised before each block.

    Source: Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3.

    >>> philox_words([0, 0], [0, 0, 0, 0], 1) == np.random.Philox(key=0).random_raw(1).tolist()
    True
    """
    word = (1 << 64) - 1
    place, found = sum(part << (64 * i) for i, part in enumerate(counter)), list[int]()
    while len(found) < count:
        place = (place + 1) & ((1 << 256) - 1)
        x0, x1, x2, x3 = ((place >> (64 * i)) & word for i in range(4))
        k0, k1 = (part & word for part in key)
        for _ in range(10):
            first, second = 0xD2E7470EE14C6C93 * x0, 0xCA5A826395121157 * x2
            x0, x1, x2, x3 = (second >> 64) ^ x1 ^ k0, second & word, (first >> 64) ^ x3 ^ k1, first & word
            k0, k1 = (k0 + 0x9E3779B97F4A7C15) & word, (k1 + 0xBB67AE8584CAA73B) & word
        found += [x0, x1, x2, x3]
    return found[:count]


def tail_of_kolmogorov(distance: float, count: int) -> float:
    """Return the p-value of a Kolmogorov-Smirnov distance at `count` draws, by the limit law.

    Source: Kolmogorov 1933; P(K > x) = 2 sum (-1)^(k-1) exp(-2 k^2 x^2), x with Stephens' 1970 correction.

    >>> round(tail_of_kolmogorov(1.36 / 1000, 1_000_000), 2)
    0.05
    """
    x = distance * (math.sqrt(count) + 0.12 + 0.11 / math.sqrt(count))
    terms = (2 * (-1) ** (k - 1) * math.exp(-2 * k * k * x * x) for k in range(1, 101))
    return min(1.0, max(0.0, sum(terms))) if x > 0.2 else 1.0


def kolmogorov(probabilities: Tensor) -> float:
    """Return the p-value that draws passed through their own distribution function are uniform on (0, 1).

    >>> kolmogorov(torch.arange(1000) / 1000) > 0.99, kolmogorov(torch.zeros(1000)) < 1e-6
    (True, True)
    """
    ordered = np.sort(probabilities.detach().double().numpy().ravel())
    ranks = np.arange(1, ordered.size + 1) / ordered.size
    distance = float(np.maximum(ranks - ordered, ordered - ranks + 1 / ordered.size).max())
    return tail_of_kolmogorov(distance, ordered.size)


def chi_square(counts: Sequence[int], expected: Sequence[float]) -> float:
    """Return the p-value of Pearson's chi-square for counts against expected counts.

    >>> round(chi_square([60, 40], [50.0, 50.0]), 4)
    0.0455
    """
    statistic = sum((c - e) ** 2 / e for c, e in zip(counts, expected, strict=True))
    half = torch.tensor([(len(expected) - 1) / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half, torch.tensor([statistic / 2], dtype=torch.float64)))


def rate_p_value(hits: Tensor, rate: float) -> float:
    """Return the p-value that the hits (bool, independent) have the rate.

    >>> round(rate_p_value(torch.arange(100) < 60, 0.5), 4)
    0.0455
    """
    found, count = int(hits.sum()), hits.numel()
    return chi_square([found, count - found], [rate * count, (1 - rate) * count])


def mean_p_value(values: Tensor, mean: float, deviation: float) -> float:
    """Return the p-value that many independent values of known deviation have the mean, by the normal law.

    >>> round(mean_p_value(torch.full((100,), 0.5196), 0.5, 0.1), 2)
    0.05
    """
    z = (float(values.double().mean()) - mean) / (deviation / math.sqrt(values.numel()))
    return math.erfc(abs(z) / math.sqrt(2))


def prox_by_search(weight: Tensor, penalty: Tensor, scale: float, grid: Tensor) -> Tensor:
    """Return argmin over the grid of penalty(z) + (z - w)^2 / (2 scale) for each weight; `penalty` lies on the grid.

    >>> grid = torch.arange(-8, 9) / 4
    >>> prox_by_search(torch.tensor([1.0, 0.1]), grid.abs(), 0.5, grid).tolist()
    [0.5, 0.0]
    """
    cost = penalty + (grid - weight[..., None]).square() / (2 * scale)
    return grid[cost.argmin(-1)]
