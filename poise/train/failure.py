"""What a step refuses to train on: a loss that is not a number."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from poise.core.errors import ArgumentError

__all__ = ["TrainingError", "UnmappableError", "check_terms"]


class TrainingError(ArgumentError):
    """The loss is not finite, or no gradient arrived; the message names the step and the term."""


class UnmappableError(ArgumentError):
    """The network has a layer for which `torch.vmap` has no rule, so it cannot train as a population."""


def check_terms(terms: Mapping[str, Tensor], step: int) -> None:
    """Raise TrainingError naming the first term of the objective that is not finite."""
    for name, term in terms.items():
        if not bool(torch.isfinite(term)):
            raise TrainingError(
                f"the objective's term {name!r} is {float(term)} at step {step}. "
                "Lower the learning rate, or clip with ClipNorm."
            )
