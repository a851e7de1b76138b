"""The generalization gap of any trained network: scores on seen and unseen rows, their difference, with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from poise.core.errors import ArgumentError, shown
from poise.core.interval import Interval
from poise.diagnosis.advice import Advice, advice
from poise.diagnosis.answers import Answers, Data, RowLoss, answers
from poise.diagnosis.constant import constant_loss

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["GapReport", "Measure", "gap", "measures"]


@dataclass(frozen=True)
class Measure:
    """One measure of error on seen and unseen rows; lower is better, so a positive gap is overfitting."""

    name: str
    train: Interval
    validation: Interval
    gap: Interval


@dataclass(frozen=True)
class GapReport:
    """What `gap` found: measures (the loss first), numbers of rows and parameters, and what is worth trying first.

    `verdict` is "overfits", "no gap" (the interval of the loss's gap holds 0) or "underfits" (no gap, and no better on
    the training rows than `baseline`, the loss of always giving the mean answer).
    """

    measures: tuple[Measure, ...]
    rows: tuple[int, int]
    parameters: int
    baseline: float
    verdict: str
    advice: tuple[Advice, ...]

    def __str__(self) -> str:
        lines = [f"{'':<18}{'train':>14}{'validation':>14}{'gap (95 %)':>30}"]
        for one in self.measures:
            cells = f"{one.train.value:>14.4g}{one.validation.value:>14.4g}"
            gap = f"{one.gap.value:.3g} ({one.gap.low:.3g} to {one.gap.high:.3g})"
            lines.append(f"{one.name:<18}{cells}{gap:>30}")
        counts = f"{self.rows[0]:,} training rows, {self.rows[1]:,} unseen, {self.parameters:,} parameters"
        lines += [counts, f"verdict: {self.verdict}", ""]
        lines += [f"{place}. {one}" for place, one in enumerate(self.advice, start=1)]
        return "\n".join(lines).rstrip()

    def plot(self) -> Figure:
        """Return a matplotlib figure of the measures with their intervals."""
        from poise.diagnosis.plots import plot_gap

        return plot_gap(self)


def gap(
    model: Callable[[Any], Any],
    train: Data,
    validation: Data,
    *,
    loss: RowLoss | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> GapReport:
    """Return how much worse a trained network is on unseen rows than on those it was trained on.

    `train` and `validation` are (inputs, targets) tensors, a `Dataset` or a `DataLoader` without augmentation. For
    classes the measures are cross-entropy, error and calibration error (ECE); for numbers, squared error. Intervals are
    95 % percentiles of the bootstrap over rows, train and validation resampled apart; they tell what other rows would
    have given, not what another seed of the training would have. The network is left as it was.

    Raises: DataError for data of another form; ArgumentError for a loss that is not one number a row.
    Source: Efron 1979, "Bootstrap methods"; Zhang et al. 2017, "Understanding deep learning requires rethinking
    generalization", for the gap as the thing to measure.

    >>> import torch
    >>> seen, unseen = (torch.zeros(4, 1), torch.zeros(4, 1)), (torch.zeros(4, 1), torch.ones(4, 1))
    >>> gap(torch.nn.Identity(), seen, unseen).measures[0].gap
    Interval(value=1.0, low=1.0, high=1.0)
    """
    if isinstance(resamples, bool) or not isinstance(resamples, int) or resamples < 100:
        raise ArgumentError(f"`gap.resamples` must be an int >= 100; got {shown(resamples)}. 1000 is usual.")
    seen, unseen = answers(model, train, loss), answers(model, validation, loss)
    found = measures(seen, unseen, resamples, seed)
    count = sum(p.numel() for p in model.parameters()) if isinstance(model, nn.Module) else 0
    baseline = constant_loss(train) if loss is None else math.inf
    first = found[0]
    without = "underfits" if first.train.value > 0.9 * baseline else "no gap"
    verdict = "overfits" if first.gap.low > 0 else without
    wanted = advice(verdict, found, model, len(seen))
    return GapReport(found, (len(seen), len(unseen)), count, baseline, verdict, wanted)


def measures(seen: Answers, unseen: Answers, resamples: int = 1000, seed: int = 0) -> tuple[Measure, ...]:
    """Return each measure of the two sets of answers with bootstrap intervals."""
    kinds: dict[str, Callable[[Answers, np.ndarray], np.ndarray]]
    if seen.right is None or unseen.right is None:
        kinds = {"loss": _mean_loss}
    else:
        kinds = {"cross-entropy": _mean_loss, "error": _error, "calibration error": _calibration}
    found = []
    for name, kind in kinds.items():
        own = np.random.default_rng(seed)
        one, two = (_bootstrap(kind, part, resamples, own) for part in (seen, unseen))
        difference = Interval(two[0].value - one[0].value, *_ends(two[1] - one[1]))
        found.append(Measure(name, one[0], two[0], difference))
    return tuple(found)


def _bootstrap(
    kind: Callable[[Answers, np.ndarray], np.ndarray], part: Answers, resamples: int, own: np.random.Generator
) -> tuple[Interval, np.ndarray]:
    rows = len(part)
    values = np.empty(resamples)
    for start in range(0, resamples, 50):
        some = min(50, resamples - start)
        counts = np.stack([np.bincount(own.integers(0, rows, rows), minlength=rows) for _ in range(some)])
        values[start : start + some] = kind(part, counts / rows)
    return Interval(float(kind(part, np.full((1, rows), 1 / rows))[0]), *_ends(values)), values


def _ends(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _mean_loss(part: Answers, weights: np.ndarray) -> np.ndarray:
    found: np.ndarray = weights @ part.loss
    return found


def _error(part: Answers, weights: np.ndarray) -> np.ndarray:
    assert part.right is not None
    found: np.ndarray = weights @ (1 - part.right)
    return found


def _calibration(part: Answers, weights: np.ndarray) -> np.ndarray:
    """Expected calibration error over 15 bins of equal width: sum_b |sum of weights (right - sure)|."""
    assert part.right is not None
    assert part.sure is not None
    bins = np.clip(np.ceil(part.sure * 15).astype(int) - 1, 0, 14)
    apart = weights * (part.right - part.sure)
    return sum((np.abs(apart[:, bins == b].sum(1)) for b in range(15)), np.zeros(len(weights)))
