"""The answer of a network that predicts every character of a window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from poise.data.target import Task
from poise.train.losses import CrossEntropy

__all__ = ["SequenceHead"]


@dataclass(frozen=True)
class SequenceHead:
    """K logits at each of T places in training; in evaluation, how probable each of the T characters was.

    Of a mean of networks' probabilities, cross-entropy needs those of the true characters only. They are what a network
    answers in evaluation (`TextNetwork`), so that what is kept of a candidate is one number a character and not K.
    The score is the mean over the places of a window; targets are codes (N, T, 1) int64.
    """

    name: str
    classes: int
    class_weights: None = None
    decision_weights: np.ndarray | None = None

    def to(self, device: str) -> SequenceHead:
        """Return the head: it holds no tensor."""
        return self

    @property
    def task(self) -> Task:
        """Characters are classes."""
        return "classification"

    def loss(self) -> CrossEntropy:
        """Return the loss of one member in training: the mean over rows and places."""
        return CrossEntropy()

    def score(self, outputs: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return each member's sum of losses (M,) over rows, in nats per character, and the weight of its rows (M,).

        Shapes: outputs (M, n, T, 1) log-probabilities of the true characters, weights (M, n).
        """
        losses = -outputs.flatten(2).mean(-1)
        return torch.where(weights > 0, losses * weights, 0.0).sum(1), weights.sum(1)

    def answers(self, outputs: Tensor) -> Tensor:
        """Return what an ensemble takes the mean of: the probabilities of the true characters."""
        return outputs.exp()

    def temperature(self, answers: Tensor, targets: Tensor, weights: Tensor) -> float:
        """Return 1: another would need the probabilities of all characters."""
        return 1.0

    def temperatures(self, outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Return 1 for each member, (M,), as `temperature` does."""
        return torch.ones(len(outputs), device=outputs.device)

    def answer_score(
        self, answers: Tensor, targets: Tensor, weights: Tensor, temperature: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return what `score` returns, of answers (C, n, T, 1) on the same rows, with weights (n,).

        A `temperature` changes nothing.
        """
        return self.score(answers.clamp(min=1e-30).log(), targets, weights.expand(answers.shape[:2]))
