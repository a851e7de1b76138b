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

__all__ = ["Calibrated", "Temperature", "Tempered", "calibrate", "fit_temperature"]

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
        logits = predictor(inputs).double()
    found = fit_temperature(logits, targets)
    return Calibrated(
        predictor=Tempered(predictor, found).eval(),
        temperature=found,
        before=calibration(torch.softmax(logits, dim=1), targets, bins),
        after=calibration(torch.softmax(logits / found, dim=1), targets, bins),
    )
