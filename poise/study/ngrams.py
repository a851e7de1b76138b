"""What a network of characters must beat: counts of what followed the last few characters."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from poise.data.characters import START
from poise.study.readings import Readings

__all__ = ["NGrams", "best_order"]

_ORDERS = (2, 3, 4, 5, 6, 7, 8)

Counts = dict[bytes, dict[int, int]]


@dataclass(frozen=True)
class NGrams:
    """Of every context of up to `order` - 1 codes, how often each code followed; contexts do not leave their window.

    P(c | h) = (n(h, c) + d(h) P(c | h')) / (n(h) + d(h)), n the counts, d(h) how many different codes followed h, and
    h' the context without its first code; below the empty context all codes but the start are alike. After Witten and
    Bell 1991, "The zero-frequency problem", method C, as Chen and Goodman 1999 interpolate it.

    >>> model = NGrams.fit(np.array([[1, 2, 2, 3]]), order=1, size=4)  # a start, then codes 2, 2, 3
    >>> model.chances([1]).round(3).tolist()  # of 3 codes: (n + 2/3) / (3 + 2)
    [0.133, 0.0, 0.533, 0.333]
    """

    order: int
    size: int
    counts: Counts

    @staticmethod
    def fit(inputs: np.ndarray, *, order: int, size: int) -> NGrams:
        """Count in windows (N, T + 1) of codes below `size`, a start first."""
        counts: Counts = defaultdict(lambda: defaultdict(int))
        for codes in inputs.astype(np.int32):
            for place in range(1, len(codes)):
                for length in range(min(order, place + 1)):
                    counts[codes[place - length : place].tobytes()][int(codes[place])] += 1
        return NGrams(order, size, {context: dict(own) for context, own in counts.items()})

    def chances(self, codes: list[int] | np.ndarray) -> np.ndarray:
        """Return the probabilities (K,) of the code that follows; all codes of the window so far are given."""
        context = np.asarray(codes, np.int32)
        found = np.full(self.size, 1 / (self.size - 1))
        found[START] = 0.0
        for length in range(min(self.order, len(context) + 1)):
            followed = self.counts.get(context[len(context) - length :].tobytes())
            if followed is None:
                break  # longer contexts were not seen either
            total, different = sum(followed.values()), len(followed)
            found *= different / (total + different)
            for code, count in followed.items():
                found[code] += count / (total + different)
        return found

    def read(self, inputs: np.ndarray) -> Readings:
        """Return how it does on windows (N, T + 1), a start first."""
        losses, right = (np.zeros((len(inputs), inputs.shape[1] - 1)) for _ in range(2))
        for row, codes in enumerate(inputs):
            for place in range(1, len(codes)):
                found = self.chances(codes[max(0, place - self.order + 1) : place])
                losses[row, place - 1] = -np.log(found[codes[place]])
                right[row, place - 1] = found.argmax() == codes[place]
        counts = np.full(len(inputs), inputs.shape[1] - 1.0)
        return Readings(losses.mean(1), right.mean(1), counts)


def best_order(train: np.ndarray, validation: np.ndarray, size: int) -> int:
    """Return the order of the lowest cross-entropy on held-out windows, counted in others."""
    best, lowest = _ORDERS[0], np.inf
    for order in _ORDERS:
        loss = float(NGrams.fit(train, order=order, size=size).read(validation).losses.mean())
        if loss >= lowest:
            break  # past its lowest value it only rises
        best, lowest = order, loss
    return best
