"""What a step refuses to train on: a loss that is not a number."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from poise.core.errors import ArgumentError
from poise.core.kinds import Penalty, Proximal
from poise.core.recipe import Recipe

__all__ = ["TrainingError", "check_inputs_kept", "check_terms", "version_of"]


class TrainingError(ArgumentError):
    """The loss is not finite, or no gradient arrived; the message names the step and the term."""


def version_of(inputs: object) -> int | None:
    """Return torch's count of writes to a tensor, None where it keeps none."""
    return inputs._version if isinstance(inputs, Tensor) and not inputs.is_inference() else None


def check_inputs_kept(recipe: Recipe, inputs: object, version: int | None) -> None:
    """Raise ArgumentError if the model wrote into its inputs and a part will pass them through it again."""
    if version is None or version_of(inputs) == version:
        return
    again = [part.name for part in recipe.stage("objective") if not isinstance(part, (Penalty, Proximal))]
    if again:
        raise ArgumentError(
            f"the model changed its inputs in place, and {' and '.join(again)} may pass them through it a second time: "
            "another network would be trained. Write `x = x * 2`, not `x.mul_(2)`, where the forward pass begins."
        )


def check_terms(terms: Mapping[str, Tensor], step: int) -> None:
    """Raise TrainingError naming the first term of the objective that is not finite."""
    for name, term in terms.items():
        if not bool(torch.isfinite(term)):
            raise TrainingError(
                f"the objective's term {name!r} is {float(term)} at step {step}. "
                "Lower the learning rate, or clip with ClipNorm."
            )
