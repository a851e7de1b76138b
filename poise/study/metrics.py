"""Measures of error with bootstrap intervals over rows, and intervals over seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from poise.data import Target
from poise.study.readings import Readings, statistic_of_readings
from poise.study.result import Interval, Metric

__all__ = [
    "MEAN_LOSS",
    "METRICS",
    "Found",
    "Predictions",
    "Several",
    "bootstrap",
    "measure",
    "metrics_of",
    "over_seeds",
    "range_of",
]

METRICS: dict[str, tuple[Metric, ...]] = {
    "classification": (
        Metric("log_loss", "log-loss", lower_is_better=True, primary=True),
        Metric("balanced_accuracy", "balanced accuracy", lower_is_better=False, primary=False),
    ),
    "regression": (
        Metric("rmse", "RMSE", lower_is_better=True, primary=True),
        Metric("r2", "R²", lower_is_better=False, primary=False),
    ),
    "text": (
        Metric("cross_entropy", "cross-entropy", lower_is_better=True, primary=True),
        Metric("bits", "bits/char", lower_is_better=True, primary=False),
        Metric("perplexity", "perplexity", lower_is_better=True, primary=False),
        Metric("accuracy", "accuracy", lower_is_better=False, primary=False),
    ),
}
"""The metrics of each task; the first is the one that contributions are measured in."""

MEAN_LOSS = Metric("mean_loss", "mean loss", lower_is_better=True, primary=True)
"""Of several targets: the mean over them of log-loss, or of the squared error over the target's variance."""

_RESAMPLES = 500
_CHUNK = 50  # resamples at a time: (50, 50,000 rows) of counts is 20 MB


@dataclass(frozen=True)
class Predictions:
    """Predictions on rows whose truth is known.

    Classification: `chances` (n, K) calibrated probabilities, `decided` (n,) codes, `truth` (n,) codes.
    Regression: `decided` and `truth` (n,) numbers in the target's units, whose deviation `scale` is.
    """

    truth: np.ndarray
    decided: np.ndarray
    chances: np.ndarray | None = None
    scale: float = 1.0

    def __len__(self) -> int:
        return len(self.truth)


@dataclass(frozen=True)
class Several:
    """Predictions of several targets on the same n rows, by the target's name.

    `known[name]` (n,) says which rows' truth is known; `parts[name]` holds the predictions of those.
    """

    parts: dict[str, Predictions]
    known: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(next(iter(self.known.values())))

    def of_known(self) -> Several:
        """Return this without the targets of which no row's truth is known, unless that leaves none."""
        return self.only([name for name, part in self.parts.items() if len(part)] or list(self.parts))

    def only(self, names: Sequence[str]) -> Several:
        """Return this with these targets alone."""
        return Several({name: self.parts[name] for name in names}, {name: self.known[name] for name in names})


def metrics_of(targets: Sequence[Target]) -> tuple[Metric, ...]:
    """Return the metrics of a study: those of its only target, or the mean loss and then each target's own."""
    if len(targets) == 1:
        return METRICS[targets[0].task]
    own = [
        Metric(f"{metric.name}/{target.name}", f"{target.name}: {metric.label}", metric.lower_is_better, primary=False)
        for target in targets
        for metric in METRICS[target.task]
    ]
    return (MEAN_LOSS, *own)


Found = Predictions | Several | Readings
"""What a model predicted on rows whose truth is known."""

Statistic = Callable[[np.ndarray], np.ndarray]
"""Takes counts (R, n) of how often each row was drawn, returns the metric of each resample (R,)."""


def _statistic(metric: str, found: Found) -> Statistic:
    if isinstance(found, Readings):
        return statistic_of_readings(metric, found)
    if isinstance(found, Several):
        return _of_several(metric, found)
    if metric == "log_loss":
        assert found.chances is not None
        losses = -np.log(np.clip(found.chances[np.arange(len(found.truth)), found.truth], 1e-15, 1.0))
        return lambda counts: counts @ losses / counts.sum(1)
    if metric == "balanced_accuracy":
        classes = np.unique(found.truth)
        member = (found.truth[:, None] == classes).astype(float)
        right = member * (found.truth == found.decided)[:, None]

        def recall(counts: np.ndarray) -> np.ndarray:
            drawn = counts @ member
            # A class that a resample happens to miss has no recall there: the mean is over the others.
            share = np.divide(counts @ right, drawn, out=np.full(drawn.shape, np.nan), where=drawn > 0)
            return np.asarray(np.nanmean(share, axis=1))

        return recall
    squares = np.square(found.truth - found.decided)
    if metric == "standard_squares":
        return lambda counts: counts @ squares / counts.sum(1) / found.scale**2
    if metric == "rmse":
        return lambda counts: np.sqrt(counts @ squares / counts.sum(1))

    # Around the mean: the sum of squares of amounts like 1e8 +- 1 would hold nothing of their spread.
    centred = found.truth - found.truth.mean()

    def explained(counts: np.ndarray) -> np.ndarray:
        around_mean = counts @ np.square(centred)
        spread = around_mean - (counts @ centred) ** 2 / counts.sum(1)
        missed = counts @ squares
        # Equal amounts have no variance to explain: 0 then, 1 if each was met, as scikit-learn has it.
        varies = spread > 1e-12 * around_mean
        share = np.divide(missed, spread, out=(missed > 0).astype(float), where=varies)
        return np.asarray(1 - share)

    return explained


def _of_several(metric: str, found: Several) -> Statistic:
    """Return the metric `NAME/TARGET` of one target, or the mean loss over targets."""
    if metric != MEAN_LOSS.name:
        name, target = metric.split("/", 1)
        return _among(found.known[target], name, found.parts[target])
    losses = {name: "standard_squares" if part.chances is None else "log_loss" for name, part in found.parts.items()}
    own = [_among(found.known[name], losses[name], part) for name, part in found.parts.items()]
    return lambda counts: np.mean([statistic(counts) for statistic in own], axis=0)


def _among(known: np.ndarray, metric: str, part: Predictions) -> Statistic:
    """Return the metric of the rows whose truth is known; NaN for a resample that holds none of them."""
    statistic = _statistic(metric, part) if len(part) else None

    def among(counts: np.ndarray) -> np.ndarray:
        own = counts[:, known]
        drawn, values = own.sum(1) > 0, np.full(len(counts), np.nan)
        if statistic is not None and drawn.any():
            values[drawn] = statistic(own[drawn])
        return values

    return among


def measure(metric: str, found: Found) -> float:
    """Return one metric of one set of predictions."""
    return float(_statistic(metric, found)(np.ones((1, len(found))))[0])


def bootstrap(metric: str, found: Found, seed: int = 0) -> tuple[Interval, np.ndarray]:
    """Return the metric with its 95 % percentile interval over rows, and the resampled values (500,).

    Source: Efron 1979; percentile intervals, rows drawn with replacement.
    """
    statistic, rows = _statistic(metric, found), len(found)
    generator = np.random.default_rng(seed)
    values = np.concatenate(
        [
            statistic(np.stack([np.bincount(generator.integers(0, rows, rows), minlength=rows) for _ in range(_CHUNK)]))
            for _ in range(_RESAMPLES // _CHUNK)
        ]
    )
    return Interval(measure(metric, found), *range_of(values)), values


def range_of(values: np.ndarray) -> tuple[float, float]:
    """Return the ends of the middle 95 % of the values that are numbers; NaN if none is."""
    if np.isnan(values).all():
        return math.nan, math.nan
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def over_seeds(values: np.ndarray | list[float]) -> Interval | None:
    """Return the mean with its 95 % interval of Student's t over seeds, or None for fewer than two finite values."""
    own = np.asarray([value for value in values if math.isfinite(value)])
    if len(own) < 2:
        return None
    half = float(stats.t.ppf(0.975, len(own) - 1) * own.std(ddof=1) / math.sqrt(len(own)))
    mean = float(own.mean())
    return Interval(mean, mean - half, mean + half)
