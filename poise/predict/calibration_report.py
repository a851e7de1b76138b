"""How far predicted probabilities are from what happens: a report, and the calibration error in it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from poise.core.errors import ArgumentError, DataError, shown

__all__ = ["Calibration", "calibration", "checked", "expected_calibration_error"]


@dataclass(frozen=True)
class Calibration:
    """What `calibration` found.

    `error`: expected calibration error. `log_loss`: mean of -sum_k t_k log p_k, in nats. `brier`: mean of
    sum_k (p_k - t_k)^2, in [0, 2]. `accuracy`: share of rows whose largest probability is the target's. Of each bin
    ((b-1)/bins, b/bins] of confidence: `counts` (bins,) rows, `confidences` and `accuracies` (bins,), NaN in an empty
    bin.
    """

    error: float
    log_loss: float
    brier: float
    accuracy: float
    counts: Tensor
    confidences: Tensor
    accuracies: Tensor

    def __str__(self) -> str:
        """The numbers in a line, then a row for each bin that has rows."""
        lines = [
            f"accuracy {self.accuracy:.4f}, log-loss {self.log_loss:.4f}, Brier {self.brier:.4f}, "
            f"calibration error {self.error:.4f}",
            "  confidence  accuracy  rows",
        ]
        bins = zip(self.confidences.tolist(), self.accuracies.tolist(), self.counts.tolist(), strict=True)
        lines += [f"  {sure:10.3f}  {right:8.3f}  {rows:4d}" for sure, right, rows in bins if rows]
        return "\n".join(lines)


def calibration(probabilities: Tensor, targets: Tensor, bins: int = 15) -> Calibration:
    """Return how well probabilities fit the targets: calibration error, log-loss, Brier score, reliability bins.

    Confidence is a row's largest probability. The calibration error is biased upwards for few rows a bin; log-loss
    and Brier score are proper scores, which the true probabilities minimise. A target that was given probability 0
    makes the log-loss infinite.

    Shapes: probabilities (N, K); targets (N,) int64 classes or (N, K) distributions, whose largest entry counts as
    the class.
    Raises: DataError if shapes do not fit, there are no rows, or a row is no distribution (logits were given);
    ArgumentError if bins is not an int >= 1.
    Source: Brier 1950; Guo et al. 2017, "On calibration of modern neural networks", section 2.

    >>> report = calibration(torch.tensor([[0.75, 0.25], [0.75, 0.25]]), torch.tensor([0, 1]))
    >>> report.error, report.brier  # right once of twice at 0.75; (0.0625 + 0.0625 + 0.5625 + 0.5625) / 2
    (0.25, 0.625)
    """
    _check_bins("calibration", bins)
    rows, wanted = _distributions(probabilities, targets)
    counts, confidences, accuracies, right = _reliability(rows, wanted, bins)
    return Calibration(
        error=_gap(counts, confidences, accuracies),
        log_loss=float(-torch.xlogy(wanted, rows).sum(1).mean()),
        brier=float((rows - wanted).square().sum(1).mean()),
        accuracy=float(right.mean()),
        counts=counts,
        confidences=confidences,
        accuracies=accuracies,
    )


def expected_calibration_error(probabilities: Tensor, targets: Tensor, bins: int = 15) -> float:
    """Return the mean distance between confidence and accuracy over bins of equal width.

    sum_b n_b / N |accuracy_b - confidence_b|, confidence being the largest probability of a row and the bins
    ((b-1)/bins, b/bins]. Biased upwards for few rows a bin.

    Shapes: probabilities (N, K); targets (N,) int64 classes or (N, K) distributions, whose largest entry counts.
    Raises: DataError if shapes do not fit, there are no rows, or a row is no distribution (logits were given);
    ArgumentError if bins is not an int >= 1.
    Source: Naeini, Cooper and Hauskrecht 2015; Guo et al. 2017, section 2.

    >>> round(expected_calibration_error(torch.tensor([[0.75, 0.25], [0.75, 0.25]]), torch.tensor([0, 1])), 6)
    0.25
    """
    _check_bins("expected_calibration_error", bins)
    rows, wanted = _distributions(probabilities, targets)
    return _gap(*_reliability(rows, wanted, bins)[:3])


def _check_bins(owner: str, bins: object) -> None:
    if type(bins) is not int or bins < 1:
        raise ArgumentError(f"`{owner}.bins` must be an int >= 1; got {shown(bins)}.")


def _distributions(probabilities: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return probabilities and target distributions in float64. Raises DataError if a row is no distribution."""
    rows, wanted, _ = checked(probabilities, targets, None)
    _check_distributions("probabilities", probabilities, "Pass logits through torch.softmax(logits, dim=1) first.")
    return rows, wanted


def _check_distributions(what: str, values: Tensor, advice: str) -> None:
    """Raise DataError unless each row of values (N, K) is >= 0 and sums to 1, within the precision of its numbers."""
    rows = values.detach().double()
    slack = max(1e-3, torch.finfo(values.dtype).eps if values.is_floating_point() else 0.0)
    wrong = torch.nonzero(~((rows >= 0).all(1) & ((rows.sum(1) - 1).abs() <= slack)))  # NaN is wrong too
    if len(wrong):
        place = int(wrong[0, 0])
        raise DataError(
            f"{what} must be >= 0 and sum to 1 in each row; got row {place} with a smallest number of "
            f"{float(rows[place].min()):g} and a sum of {float(rows[place].sum()):g}. {advice}"
        )


def _reliability(rows: Tensor, wanted: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return of each bin its rows, mean confidence and accuracy (bins,), and whether each row is right (N,)."""
    confidence, chosen = rows.max(dim=1)
    right = (chosen == wanted.argmax(dim=1)).to(rows.dtype)
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1
    counts = torch.bincount(place, minlength=bins)
    empty = torch.zeros(bins, dtype=rows.dtype, device=rows.device)
    return counts, empty.index_add(0, place, confidence) / counts, empty.index_add(0, place, right) / counts, right


def _gap(counts: Tensor, confidences: Tensor, accuracies: Tensor) -> float:
    gaps = torch.where(counts > 0, counts * (accuracies - confidences).abs(), 0.0)
    return float(gaps.sum()) / int(counts.sum())


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
        _check_distributions("targets", targets, "Give classes as (N,) integers, or distributions over them.")
        wanted = targets
    else:
        raise DataError(
            f"targets must be ({count},) classes or ({count}, {classes}) distributions; "
            f"got {tuple(targets.shape)}, {targets.dtype}."
        )
    if weights is not None and weights.shape != (count,):
        raise DataError(f"weights must be ({count},), one a row; got {tuple(weights.shape)}.")
    if weights is not None and not bool((torch.isfinite(weights) & (weights >= 0)).all()):
        raise DataError(
            f"weights must be finite numbers >= 0; got {float(weights.min()):g} .. {float(weights.max()):g}."
        )
    given = torch.ones(count, device=values.device) if weights is None else weights
    return values.detach().double(), wanted.detach().double(), given.detach().double()
