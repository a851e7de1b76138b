"""One temperature for the logits: sharper or softer probabilities with the same ranking."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.errors import ArgumentError, shown
from poise.core.regularizer import Regularizer
from poise.predict.averaged import one_answer
from poise.predict.calibration_report import Calibration, calibration, checked

__all__ = ["Calibrated", "Temperature", "Tempered", "calibrate", "fit_temperature", "fit_temperatures"]

# Outside, probabilities are flat or hard for all practical purposes; separable logits would run to 0.
_LOWEST, _HIGHEST = 0.05, 20.0
_NEWTON_STEPS, _CLOSE = 30, 1e-4


def fit_temperature(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> float:
    """Return the temperature T in [0.05, 20] that minimises the log-loss of softmax(logits / T) on held-out rows.

    The loss is convex in 1 / T, so its slope changes sign once, and bisection in log T finds that place. Fit on rows
    that training has not seen; accuracy is unchanged. T = 1 unless another is better on the rows given.

    Shapes: logits (N, K); targets (N,) int64 classes or (N, K) distributions; weights (N,) >= 0 or None.
    Raises: DataError if shapes do not fit, there are no rows, a logit is not finite, a target is no distribution, or a
    weight is not a finite number >= 0.
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
    return found if loss(found) < loss(1.0) else 1.0


def fit_temperatures(logits: Tensor, targets: Tensor, weights: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Return for each of M sets of logits what `fit_temperature` returns, (M,), in the logits' own precision.

    All at once by Newton's method in 1 / T, whose steps change T by a factor of three at most and stay between the
    places where the slope's sign was seen, and which ends for each set by itself; a set of which a row that counts is
    not finite has 1. With `smoothing`, so many rows more are thought of whose labels are spread evenly over the classes
    (Platt's correction is 1): a few rows that are all right would want T = 0. It costs some ten passes over the logits.

    Shapes: logits (M, N, K), targets (M, N, K) or (N, K) distributions, weights (M, N) >= 0, or (N,).
    Source of the smoothing: Platt 1999, "Probabilistic outputs for support vector machines", section 2.2.

    >>> rows = torch.tensor([[1.0, 0.0]]).repeat(4, 1)
    >>> wanted = torch.eye(2)[[0, 0, 0, 1]]
    >>> found = fit_temperatures(torch.stack([rows, 2 * rows]), wanted, torch.ones(4))
    >>> found.round(decimals=4)  # 1 / log(3), and twice that
    tensor([0.9102, 1.8205])
    """
    counted = (weights > 0).unsqueeze(-1)
    centred = torch.where(counted, logits - logits.mean(-1, keepdim=True), 0.0)
    wanted = torch.where(counted, targets * weights.unsqueeze(-1), 0.0).expand(logits.shape)
    mass, hit = wanted.sum(-1), (wanted * centred).sum((1, 2))
    rows = (weights > 0).sum(-1)
    smoothed = hit * rows / (rows + smoothing)  # of even labels, centred logits are 0 on average
    centred = centred.transpose(1, 2).contiguous()  # (M, K, N): a softmax over few classes beside each other is slow
    sharpness, done = torch.ones_like(hit), torch.zeros_like(hit, dtype=torch.bool)
    low, high = torch.full_like(hit, 0.5 / _HIGHEST), torch.full_like(hit, 2 / _LOWEST)
    for _ in range(_NEWTON_STEPS):
        moments = torch.softmax(sharpness[:, None, None] * centred, dim=1) * centred
        mean = moments.sum(1)
        slope = (mass * mean).sum(1) - smoothed
        curvature = (mass * ((moments * centred).sum(1) - mean * mean)).sum(1)
        step = sharpness - slope / curvature.clamp(min=1e-12)
        step = torch.minimum(torch.maximum(step, sharpness / 3), sharpness * 3).clamp(1 / _HIGHEST, 1 / _LOWEST)
        # The slope tells on which side the minimum lies: Newton alone can go to and fro where classes are many.
        low, high = torch.where(slope < 0, sharpness, low), torch.where(slope > 0, sharpness, high)
        between = (step > low) & (step < high)
        step = torch.where(between, step, (low * high).sqrt()).clamp(1 / _HIGHEST, 1 / _LOWEST)
        before, sharpness = sharpness, torch.where(done, sharpness, step)
        done |= ~((sharpness / before - 1).abs() > _CLOSE)
        if bool(done.all()):
            break

    def loss(sharpness: Tensor) -> Tensor:
        return (mass * torch.logsumexp(sharpness[:, None, None] * centred, dim=1)).sum(1) - sharpness * hit

    # A comparison with NaN is false.
    return torch.where(loss(sharpness) < loss(torch.ones_like(sharpness)), 1 / sharpness, 1.0)


class Tempered(nn.Module):
    """A predictor whose outputs are divided by a temperature; the temperature is saved with its state."""

    temperature: Tensor

    def __init__(self, predictor: nn.Module, temperature: DialValue) -> None:
        super().__init__()
        self.predictor = predictor
        self.register_buffer("temperature", torch.as_tensor(temperature, dtype=torch.float64))

    def forward(self, inputs: Any) -> Tensor:
        outputs = one_answer("Temperature", self.predictor(inputs))
        return outputs / like(self.temperature, outputs)


@dataclass(frozen=True)
class Temperature(Regularizer):
    """Divides the logits by a temperature when predicting: above 1 less sure, below 1 surer; the ranking stays.

    softmax(f(x) / temperature). Set the value that `calibrate` or `fit_temperature` found on held-out rows; for a
    trained network that is as a rule 1 to 3. Acts last, on averages of other parts too. It costs one division.

    Neutral: temperature = 1.
    Shapes: outputs keep theirs, (N, ..., K) logits.
    Units: a factor on logits; not for regressions, whose numbers it would divide too.
    Raises: ArgumentError if temperature is not a finite number > 0.
    Source: Guo et al. 2017, "On calibration of modern neural networks", section 4.2.

    >>> Temperature(2.0).predict(nn.Identity(), Context(0, rng=None))(torch.tensor([[4.0, 1.0]]))
    tensor([[2.0000, 0.5000]])
    """

    rank: ClassVar[int] = 90
    formula: ClassVar[str] = "softmax(f(x) / temperature)"
    cost: ClassVar[str] = "one division of the outputs; nothing in training"

    temperature: DialValue = dial(1.5, neutral=1.0, low=0.0, open_low=True, log=True, search=(0.3, 5.0))

    def predict(self, predictor: nn.Module, ctx: Context) -> nn.Module:
        return Tempered(predictor, self.temperature).eval()


@dataclass(frozen=True)
class Calibrated:
    """What `calibrate` made: the predictor with its temperature, and the reports before and after."""

    predictor: nn.Module
    temperature: float
    before: Calibration
    after: Calibration


def calibrate(predictor: nn.Module, inputs: Any, targets: Tensor, bins: int = 15) -> Calibrated:
    """Return the predictor with the temperature that minimises its log-loss on held-out rows, and how far that helped.

    One number is fitted, so a few hundred rows do; they must be rows that neither training nor early stopping has
    seen. Accuracy is unchanged. `after` is of the same rows, so it flatters a little; the log-loss in it is never
    worse than before, the calibration error may be. It costs one forward pass of the rows.

    Shapes: inputs as the predictor takes them, N rows; targets (N,) int64 classes or (N, K) distributions.
    Raises: ArgumentError if the predictor is in training mode; DataError as `fit_temperature`.

    >>> rows = torch.tensor([[1.0, 0.0]]).repeat(4, 1)  # sure by odds of e; right 3 times of 4: odds of 3 = e^(1/T)
    >>> found = calibrate(nn.Identity().eval(), rows, torch.tensor([0, 0, 0, 1]))
    >>> round(found.before.error, 3), round(found.after.error, 3)
    (0.019, 0.0)
    """
    if predictor.training:
        raise ArgumentError(
            f"`calibrate.predictor` must be in evaluation mode; got {shown(type(predictor).__name__)} in training "
            "mode. Pass `run.predictor()`, or call `.eval()` first."
        )
    with torch.no_grad():
        logits = one_answer("calibrate", predictor(inputs)).double()
    found = fit_temperature(logits, targets)
    return Calibrated(
        predictor=Tempered(predictor, found).eval(),
        temperature=found,
        before=calibration(torch.softmax(logits, dim=1), targets, bins),
        after=calibration(torch.softmax(logits / found, dim=1), targets, bins),
    )
