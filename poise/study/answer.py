"""How a model's outputs for one target become probabilities, labels or numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from poise.data import Target

__all__ = ["Answer"]


@dataclass(frozen=True)
class Answer:
    """One target's share of a `StudyModel`.

    `temperature` divides the log of the mean probabilities. `class_weights` (K,) are those of the loss: probabilities
    are divided by them, so that they are the classes' own and not those of a reweighted world. `decision_weights` (K,)
    multiply the probabilities when a label is chosen: balanced ones aim at balanced accuracy.
    """

    target: Target
    temperature: float = 1.0
    class_weights: np.ndarray | None = None
    decision_weights: np.ndarray | None = None

    @property
    def classes(self) -> int | None:
        """The number of classes, None for a number or a text."""
        return len(self.target.labels) if self.target.task == "classification" else None

    def probabilities(self, outputs: Tensor, shares: Tensor) -> np.ndarray:
        """Return (N, K) calibrated probabilities in the order of `target.labels`. Shapes: outputs (M, N, K)."""
        mean = torch.einsum("m,mnk->nk", shares.double(), torch.softmax(outputs.double(), dim=-1))
        found: np.ndarray = torch.softmax(mean.clamp(min=1e-30).log() / self.temperature, dim=-1).numpy()
        if self.class_weights is not None:
            found = found / self.class_weights
        return np.asarray(found / found.sum(1, keepdims=True))

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """Return (N,) codes: the largest probability times decision weight."""
        weights = 1.0 if self.decision_weights is None else self.decision_weights
        return np.asarray((probabilities * weights).argmax(1))

    def values(self, outputs: Tensor, shares: Tensor) -> np.ndarray:
        """Return (N,) predicted numbers in the target's own units. Shapes: outputs (M, N, 1)."""
        mean = torch.einsum("m,mnk->nk", shares.double(), outputs.double())
        return np.asarray(self.target.decode(mean[:, 0].numpy()))

    def columns(self, outputs: Tensor, shares: Tensor) -> dict[str, np.ndarray]:
        """Return `prediction`, and for classes `probability LABEL` each."""
        if self.classes is None:
            return {"prediction": self.values(outputs, shares)}
        chances = self.probabilities(outputs, shares)
        found = {"prediction": np.asarray(self.target.decode(self.decide(chances)))}
        return found | {f"probability {label}": chances[:, place] for place, label in enumerate(self.target.labels)}
