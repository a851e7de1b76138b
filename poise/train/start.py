"""What a run checks once: at its start that it can train, at its end that every part came to act."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from poise.average import Swa
from poise.core.errors import ArgumentError, PoiseWarning, shown
from poise.core.kinds import inserted_layers
from poise.core.recipe import Recipe
from poise.core.schedule import Schedule
from poise.core.select import roles_of
from poise.predict import SnapshotEnsemble, Swag
from poise.train.columns import check_columns

__all__ = ["check_start", "of_one", "warn_of_another_loss", "warn_of_idle_parts", "warn_of_mixed_targets"]


def check_start(recipe: Recipe, model: nn.Module, seed: int, columns: Tensor | None, teacher: object = None) -> None:
    """Raise ArgumentError, with the model as it was, unless the recipe can train it as one network."""
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ArgumentError(f"`Recipe.start.seed` must be an int; got {shown(seed)}.")
    of_one(recipe)
    for part in recipe:
        if "teacher" in part.needs and not callable(teacher):
            raise ArgumentError(
                f"`Recipe.start.teacher` must be a callable that maps inputs to outputs, because {part.name} learns "
                f"from it; got {shown(teacher)}. Pass the trained model: recipe.start(model, teacher=big.eval())."
            )
    _check_wrapping(recipe, model)
    _check_weights(model)
    if foreign := sorted({layer.part for _path, layer in inserted_layers(model)}):
        raise ArgumentError(
            f"`Recipe.start.model` must be a model without inserted layers; got those of {', '.join(foreign)}. "
            "Start each run on a new model, or on a copy made before the first run."
        )
    roles = roles_of(model)
    if not roles:
        raise ArgumentError("`Recipe.start.model` must have a parameter that requires grad; got none.")
    check_columns(recipe, model, roles, columns)


def of_one(recipe: Recipe) -> Recipe:
    """Return the recipe. Raises ArgumentError if a dial holds one number a member."""
    for name, value in recipe.dials().items():
        numbers = value.ends() if isinstance(value, Schedule) else (value,)
        count = max((one.numel() for one in numbers if isinstance(one, Tensor) and one.dim() > 0), default=0)
        if count:
            raise ArgumentError(
                f"`Recipe.start` trains one network; dial {name} has {count} numbers. "
                "Use poise.train.population.Population for one a member."
            )
    return recipe


def _check_weights(model: nn.Module) -> None:
    """Refuse weights that no part can read: their shape or numbers are not there yet, or torch cannot compute with."""
    for name, p in model.named_parameters():
        if isinstance(p, UninitializedParameter):
            raise ArgumentError(
                f"`Recipe.start.model` must have weights of a known shape; got the lazy {name}. "
                "Run a batch through the model first."
            )
        if p.is_meta:
            raise ArgumentError("`Recipe.start.model` must have real weights; got some on the meta device.")
        if p.requires_grad and p.dtype.itemsize == 1:
            raise ArgumentError(
                f"`Recipe.start.model` must have trainable weights of 16 bits or more; got {name} of {p.dtype}. "
                "Train in bfloat16 and quantise after."
            )


def _check_wrapping(recipe: Recipe, model: nn.Module) -> None:
    """Refuse a model that is compiled or distributed already: layers that came later would be missed in silence."""
    if isinstance(model, nn.parallel.DistributedDataParallel):
        raise ArgumentError(
            "`Recipe.start.model` must be the module itself; got DistributedDataParallel around it. "
            "Start first, then wrap: DistributedDataParallel(run.model)."
        )
    if hasattr(model, "_orig_mod") and recipe.stage("network"):
        raise ArgumentError(
            "`Recipe.start.model` must not be compiled yet, because the recipe inserts layers; got "
            f"{type(model).__name__}. Start first, then compile: torch.compile(run.model)."
        )


def warn_of_idle_parts(recipe: Recipe, memory: Mapping[str, Any], steps: int, evaluations: int) -> None:
    """Warn of parts that never came to act, because the result then is not what the recipe says."""
    for part in recipe:
        own = memory[part.name]
        if isinstance(part, Swa) and int(own["count"]) == 0:
            warnings.warn(
                f"{part.name} starts at step {part.start}, but training ended after {steps} steps: the weights are "
                "not averaged. Start it earlier.",
                PoiseWarning,
                stacklevel=3,
            )
        needed = part.start + 1 if isinstance(part, Swag) else part.steps if isinstance(part, SnapshotEnsemble) else 0
        if steps < needed:
            warnings.warn(
                f"{part.name} takes its first copy after {needed} steps, but training ended after {steps}: the "
                "predictor is the plain network. Start it earlier.",
                PoiseWarning,
                stacklevel=3,
            )
        if evaluations and int(own.get("best_step", 0)) < 0:
            warnings.warn(
                f"{part.name} was given no score that is a finite number: the last weights are used.",
                PoiseWarning,
                stacklevel=3,
            )


def warn_of_mixed_targets(recipe: Recipe, targets: object, classes: object) -> None:
    """Warn if the first batch's targets are mixed or smoothed already and a part does it again; torch is silent."""
    mixing = ("CutMix", "LabelSmoothing", "Mixup", "MixupOrCutMix")
    again = [part.name for part in recipe if type(part).__name__ in mixing]
    if not again or classes is None or not isinstance(targets, Tensor) or targets.dim() != 2 or targets.numel() == 0:
        return
    soft = int((targets.amax(1) < 1).sum())
    if soft:
        warnings.warn(
            f"{soft} of {len(targets)} rows of the first batch have targets that are mixed or smoothed already, and "
            f"{' and '.join(again)} will do so again. Leave it to one of them: the loader's collate, or the recipe.",
            PoiseWarning,
            stacklevel=3,
        )


def warn_of_another_loss(supposed: float, given: float) -> None:
    """Warn if the loss that parts suppose is not the one that the loop trains with; half precision may part them."""
    if abs(supposed - given) > 1e-3 + 0.02 * abs(given):
        warnings.warn(
            "parts that ask for the loss of other inputs suppose cross-entropy for classes and squared error for "
            f"numbers, {supposed:.3g} in this batch, but `objective` was given {given:.3g}. "
            "Write recipe.start(model, loss=yours), your loop's function of (outputs, targets).",
            PoiseWarning,
            stacklevel=4,
        )
