"""What a step refuses to train on, such as a loss that is not a number; and what it warns of."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor

from poise.core.errors import ArgumentError, PoiseWarning
from poise.core.kinds import Penalty, Proximal
from poise.core.recipe import Recipe

__all__ = ["OwnStep", "TrainingError", "check_inputs_kept", "check_terms", "version_of", "warn_of_no_step"]


class TrainingError(ArgumentError):
    """The loss is not finite, or no gradient arrived; the message names the step and the term."""


def version_of(inputs: object) -> int | None:
    """Return torch's count of writes to a tensor, None where it keeps none."""
    return inputs._version if isinstance(inputs, Tensor) and not inputs.is_inference() else None


class OwnStep:
    """Notices weights that move between a step's objective and its update, as an optimizer's own step moves them."""

    def __init__(self) -> None:
        self._before: list[int | None] | None = None
        self._told = False

    def expect(self, params: Mapping[str, Tensor]) -> None:
        """Note how often each parameter was written to, when an objective was computed."""
        self._before = [version_of(param) for param in params.values()]

    def look(self, params: Mapping[str, Tensor]) -> None:
        """Warn, once a run, if one was written to since."""
        before, self._before = self._before, None
        if self._told or before is None or before == [version_of(param) for param in params.values()]:
            return
        self._told = True
        warnings.warn(
            "the weights changed between run.objective and run.update: was that optimizer.step()? run.update takes "
            "that step, so this would be a second one. Leave out optimizer.step() and optimizer.zero_grad().",
            PoiseWarning,
            stacklevel=3,  # the line that called Run.update
        )


def warn_of_no_step(steps: int, pending: bool) -> None:
    """Warn if an objective waits for the first update: gradients, weights and averages saw no part."""
    if pending and not steps:
        warnings.warn(
            "run.objective was called, but run.update never was: no part has acted on gradients, weights or averages. "
            "Call run.update(optimizer) in place of optimizer.step().",
            PoiseWarning,
            stacklevel=3,
        )


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
