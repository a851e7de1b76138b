"""Calibration after training: one temperature for the logits, and how far confidence is from accuracy."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from poise.core.errors import ArgumentError, DataError, shown

__all__ = ["expected_calibration_error", "fit_temperature"]

# Outside, probabilities are flat or hard for all practical purposes; separable logits would run to 0.
_LOWEST, _HIGHEST = 0.05, 20.0


def fit_temperature(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> float:
    """Return the temperature T in [0.05, 20] that minimises the log-loss of softmax(logits / T) on held-out rows.

    The loss is convex in 1 / T, so its slope changes sign once, and bisection in log T finds that place. Fit on rows
    that training has not seen; accuracy is unchanged. Never worse than T = 1 on the rows given.

    Shapes: logits (N, K); targets (N,) int64 classes or (N, K) distributions; weights (N,) >= 0 or None.
    Raises: DataError if shapes do not fit, there are no rows, or a logit is not finite.
    Source: Guo et al. 2017, "On calibration of modern neural networks", section 4.2.

    >>> rows = torch.tensor([[1.0, 0.0]]).repeat(4, 1)  # sure by odds of e; right 3 times of 4: odds of 3 = e^(1/T)
    >>> round(1 / fit_temperature(rows, torch.tensor([0, 0, 0, 1])), 6) == round(math.log(3), 6)
    True
    """
    rows, wanted, row_weights = checked(logits, targets, weights)

    def slope(temperature: float) -> float:
        """The loss's derivative by 1 / T, divided by nothing that changes its sign."""
        probabilities = torch.softmax(rows / temperature, dim=1)
        return float((row_weights * ((probabilities - wanted) * rows).sum(1)).sum())

    def loss(temperature: float) -> float:
        return float(-(row_weights * (wanted * torch.log_softmax(rows / temperature, dim=1)).sum(1)).sum())

    low, high = math.log(_LOWEST), math.log(_HIGHEST)
    for _ in range(60):  # 6 / 2^60: below float64's resolution
        middle = (low + high) / 2
        # A positive slope by 1 / T: 1 / T is too large, T too small.
        low, high = (middle, high) if slope(math.exp(middle)) > 0 else (low, middle)
    found = min(max(math.exp((low + high) / 2), _LOWEST), _HIGHEST)
    return found if loss(found) <= loss(1.0) else 1.0


def expected_calibration_error(probabilities: Tensor, targets: Tensor, bins: int = 15) -> float:
    """Return the mean distance between confidence and accuracy over bins of equal width.

    sum_b n_b / N |accuracy_b - confidence_b|, confidence being the largest probability of a row and the bins
    ((b-1)/bins, b/bins]. Biased upwards for few rows a bin.

    Shapes: probabilities (N, K); targets (N,) int64 classes or (N, K) distributions, whose largest entry counts.
    Raises: DataError if shapes do not fit or there are no rows; ArgumentError if bins is not an int >= 1.
    Source: Naeini, Cooper and Hauskrecht 2015; Guo et al. 2017, equation 3.

    >>> round(expected_calibration_error(torch.tensor([[0.75, 0.25], [0.75, 0.25]]), torch.tensor([0, 1])), 6)
    0.25
    """
    if type(bins) is not int or bins < 1:
        raise ArgumentError(f"`expected_calibration_error.bins` must be an int >= 1; got {shown(bins)}.")
    rows, wanted, _ = checked(probabilities, targets, None)
    confidence, chosen = rows.max(dim=1)
    right = (chosen == wanted.argmax(dim=1)).to(rows.dtype)
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gaps = torch.zeros(bins, dtype=rows.dtype, device=rows.device).index_add(0, place, right - confidence)
    return float(gaps.abs().sum()) / rows.shape[0]  # n_b / N times |mean gap| is |sum of gaps| / N


def checked(values: Tensor, targets: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return values, target distributions and weights in float64."""
    if values.dim() != 2 or 0 in values.shape:
        raise DataError(f"predictions must be (rows, classes) with at least one of each; got {tuple(values.shape)}.")
    if not bool(torch.isfinite(values).all()):
        raise DataError("predictions must be finite; got inf or NaN. The model diverged, or a class was masked out.")
    count, classes = values.shape
    if targets.shape == (count,) and not targets.is_floating_point():
        if bool(((targets < 0) | (targets >= classes)).any()):
            raise DataError(f"targets must be in 0 .. {classes - 1}; got {int(targets.min())} .. {int(targets.max())}.")
        wanted = torch.nn.functional.one_hot(targets.long(), classes)
    elif targets.shape == values.shape:
        wanted = targets
    else:
        raise DataError(
            f"targets must be ({count},) classes or ({count}, {classes}) distributions; "
            f"got {tuple(targets.shape)}, {targets.dtype}."
        )
    if weights is not None and weights.shape != (count,):
        raise DataError(f"weights must be ({count},), one a row; got {tuple(weights.shape)}.")
    given = torch.ones(count, device=values.device) if weights is None else weights
    return values.detach().double(), wanted.detach().double(), given.detach().double()
