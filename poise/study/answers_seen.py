"""How an ensemble's answers on the test rows look: which classes it confuses, whether its probabilities hold."""

from __future__ import annotations

import numpy as np

from poise.study.metrics import Found, Predictions
from poise.study.result import CalibrationBin

__all__ = ["calibration_of", "confusion_of", "expected_calibration_error"]

_BINS = 10


def confusion_of(found: Found, classes: int) -> tuple[tuple[int, ...], ...]:
    """Return counts[true][decided] of test rows; empty for numbers and for several targets."""
    if not isinstance(found, Predictions) or found.chances is None:
        return ()
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (found.truth, found.decided), 1)
    return tuple(tuple(int(value) for value in row) for row in counts)


def calibration_of(found: Found) -> tuple[CalibrationBin, ...]:
    """Return the rows in up to ten groups of equal size by the largest probability, from the least sure to the surest.

    A calibrated model is right in as many rows of a group as its mean probability says. Groups of equal size and not
    of equal width: none is then empty or a handful. Source: Naeini, Cooper, Hauskrecht 2015, "Obtaining well calibrated
    probabilities using Bayesian binning", for the error; Nguyen and O'Connor 2015 for the groups.
    """
    if not isinstance(found, Predictions) or found.chances is None:
        return ()
    sure = found.chances.max(1)
    right = found.chances.argmax(1) == found.truth
    order = np.argsort(sure, kind="stable")
    groups = [part for part in np.array_split(order, min(_BINS, max(1, len(order) // 10))) if len(part)]
    return tuple(CalibrationBin(float(sure[part].mean()), float(right[part].mean()), len(part)) for part in groups)


def expected_calibration_error(bins: tuple[CalibrationBin, ...]) -> float:
    """Return the mean over rows of |share right - mean probability| of their group."""
    rows = sum(one.rows for one in bins)
    return sum(one.rows * abs(one.right - one.probability) for one in bins) / rows if rows else float("nan")
