"""One target of a problem: what the network's columns for it mean, and how wrong they are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from poise.data.target import Task
from poise.predict import fit_temperatures
from poise.train.losses import CrossEntropy, SquaredError

__all__ = ["Head"]

_LEAST = 1e-7  # of a probability, before its logarithm is taken


@dataclass(frozen=True)
class Head:
    """The network's answer to one target: K logits for classes, one standardised number where `classes` is None.

    `class_weights` (K,) weigh the classes in the loss and in the score, or None; `decision_weights` (K,) are what the
    user asked for, and weigh the decision.
    """

    name: str
    classes: int | None
    class_weights: Tensor | None = None
    decision_weights: np.ndarray | None = None

    @staticmethod
    def of(name: str, classes: int | None, class_weights: np.ndarray | None = None) -> Head:
        """Return the head of a target; `class_weights` are those that were asked for."""
        if class_weights is None:
            return Head(name, classes)
        # The square root of what was asked for: full weights let the few rows of a rare class speak too loudly and
        # blur every probability; the decision makes up for the rest.
        scale = torch.from_numpy(np.sqrt(np.maximum(class_weights, 1e-6)).astype(np.float32))
        return Head(name, classes, scale, class_weights)

    def to(self, device: str) -> Head:
        """Return the head with its classes' weights on a device."""
        return self if self.class_weights is None else replace(self, class_weights=self.class_weights.to(device))

    @property
    def task(self) -> Task:
        """Whether the target is classes or a number."""
        return "classification" if self.classes else "regression"

    def encode(self, labels: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return targets (N, width) and whether each is known (N,).

        Shapes: labels (N,) codes, -1 where missing, or standardised numbers, NaN where missing.
        """
        if self.classes:
            codes = torch.from_numpy(np.asarray(labels, dtype=np.int64))
            known = codes >= 0
            targets = F.one_hot(codes.clamp(min=0), self.classes).float()
        else:
            targets = torch.from_numpy(np.asarray(labels, dtype=np.float32)).reshape(-1, 1)
            known = ~targets[:, 0].isnan()
        return torch.where(known[:, None], targets, 0.0), known

    def loss(self) -> CrossEntropy | SquaredError:
        """Return the loss of one member in training."""
        return CrossEntropy(self.class_weights) if self.classes else SquaredError()

    def score(self, outputs: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return each member's sum of losses (M,) and the weight of its rows (M,), whose ratio is the mean.

        Shapes: outputs and targets (M, n, width), weights (M, n); rows of weight 0 are not looked at.
        """
        if self.classes:
            if self.class_weights is not None:
                targets = targets * self.class_weights
            # Divided by the weighted rows, as torch's cross-entropy has it: a mean under the classes' weights.
            rows = (weights * targets.sum(-1)).sum(1)
            losses = -(targets * F.log_softmax(outputs, dim=-1)).sum(-1)
        else:
            losses, rows = torch.square(outputs - targets).mean(-1), weights.sum(1)
        return torch.where(weights > 0, losses * weights, 0.0).sum(1), rows

    def answers(self, outputs: Tensor) -> Tensor:
        """Return what an ensemble takes the mean of: probabilities, or the numbers themselves."""
        return torch.softmax(outputs, dim=-1) if self.classes else outputs

    def temperatures(self, outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Return what best divides the logits of each member, (M,), as `score` measures it; 1 of numbers.

        Shapes: outputs (M, n, K), targets (M, n, K) or (n, K), weights (M, n) or (n,).
        """
        if not self.classes:
            return torch.ones(len(outputs), device=outputs.device)
        scaled = targets if self.class_weights is None else targets * self.class_weights
        return fit_temperatures(outputs, scaled, weights, smoothing=1.0)

    def weighted(self, targets: Tensor, weights: Tensor) -> Tensor:
        """Return class targets (n, K) times the weights of their rows (n,) and classes."""
        assert self.classes is not None
        scale = torch.ones(self.classes) if self.class_weights is None else self.class_weights
        return targets * scale * weights[:, None]

    def temperature(self, answers: Tensor, targets: Tensor, weights: Tensor) -> float:
        """Return what best divides the logarithms of probabilities (n, K) of rows with weights (n,); 1 of numbers."""
        return float(self.temperatures(answers.clamp(min=_LEAST).log()[None], targets, weights))

    def answer_score(
        self, answers: Tensor, targets: Tensor, weights: Tensor, temperature: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return what `score` returns, of answers (C, n, width) on the same rows: targets (n, width), weights (n,).

        Of probabilities, it is what is lost after the temperature, or after each one's best: an ensemble has one.
        """
        if self.classes:
            logits, picked = answers.clamp(min=_LEAST).log(), self.weighted(targets, weights)
            divisor = self.temperatures(logits, targets, weights)[:, None, None] if temperature is None else temperature
            scaled, mass = (logits / divisor).transpose(1, 2).contiguous(), picked.sum(-1)
            lost = mass * torch.logsumexp(scaled, dim=1) - (picked.T * scaled).sum(1)
            return lost.sum(1), mass.sum()
        return (torch.square(answers - targets).mean(-1) * weights).sum(1), weights.sum()
