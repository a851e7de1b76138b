"""Parts that fight with one another, with the model, or with nothing to act on: one sentence for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn

from poise.core.kinds import inserted_layers
from poise.core.recipe import Recipe
from poise.core.regularizer import Regularizer
from poise.core.touched import NOTHING, touched

__all__ = ["conflicts", "remarks"]

_ONCE = ("BatchNorm", "Decay", "Dropout", "L1", "L2", "LabelSmoothing", "Mixup", "Sam")
_AVERAGES = ("Ema", "ScheduleFree", "Swa")  # `Swag` only reads the weights: what others average is as it was
_WEIGHTINGS = ("DynamicWeights", "GradNorm", "UncertaintyWeights")
_SURGERY = ("CaGrad", "GradVac", "PcGrad")
_BATCH_NORMS = ("BatchNorm", "GhostBatchNorm")
_ZEROS = ("ElasticNet", "GroupLasso", "HierarchicalLasso", "L1", "UnitLasso")


def conflicts(recipe: Recipe, module: nn.Module | None = None) -> list[str]:
    """Return one sentence for each pair of parts that fight, and for each part that touches nothing."""
    return [*_idle(recipe, module), *_doubled(recipe), *_averaged(recipe), *_normalised_twice(recipe, module)]


def remarks(recipe: Recipe, module: nn.Module | None = None) -> list[str]:
    """Return one sentence for each meeting of parts that is handled, and that a reader may wonder about."""
    norms = _names(recipe, *_BATCH_NORMS) or (["the model's batch norm"] if _torch_norms(module) else [])
    found = []
    for sam in _names(recipe, "Sam") if norms else []:
        found.append(
            f"{sam}'s second pass normalises by the batch at the moved weights; the running statistics of "
            f"{_and(norms)} move in the first pass only."
        )
    mixing, smoothing = _names(recipe, "Mixup", "CutMix"), _names(recipe, "LabelSmoothing")
    if mixing and smoothing:
        found.append(f"{_and(smoothing)} acts after {_and(mixing)}; both are affine, so the order changes nothing.")
    return found


def _names(recipe: Recipe, *kinds: str) -> list[str]:
    return [part.name for part in recipe if type(part).__name__ in kinds]


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)


def _torch_norms(module: nn.Module | None) -> bool:
    return module is not None and any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in module.modules())


def _idle(recipe: Recipe, module: nn.Module | None) -> Iterator[str]:
    if module is None:
        return
    for part in recipe:
        if touched(part, module).startswith(NOTHING):
            yield f"{part.name} has no effect: it found {touched(part, module)} in this model."
    if recipe.stage("network") or any(isinstance(m, nn.modules.dropout._DropoutNd) for m in module.modules()):
        return
    if not any(True for _ in inserted_layers(module)):
        for name in _names(recipe, "RDrop", "DropoutAtTest"):
            yield f"{name} has no effect: neither the recipe nor the model has dropout or noise to draw anew."


def _doubled(recipe: Recipe) -> Iterator[str]:
    if _names(recipe, "L2") and _names(recipe, "Decay"):
        yield "l2 and decay both shrink the weights (once through the gradient, once directly): keep one."
    if _names(recipe, "Mixup") and _names(recipe, "CutMix"):
        yield "mixup and cutmix mix targets twice in the same step: the mixed share is that of both."
    for several, what in ((_WEIGHTINGS, "weigh the tasks"), (_SURGERY, "mend the tasks' gradients")):
        if len(names := _names(recipe, *several)) > 1:
            yield f"{_and(names)} all {what}: each works on what the one before it returned. Keep one."
    if _names(recipe, "Sam") and (names := _names(recipe, *_SURGERY)):
        yield f"{_and(names)} mends gradients of the tasks at the weights, sam's are of a point beside them: keep one."
    if _names(recipe, "DropPath") and _names(recipe, "ShakeDrop"):
        yield "drop_path and shake_drop both drop residual branches: their shares add up. Keep one."
    for kind in _ONCE:
        names = [part.name for part in recipe if type(part).__name__ == kind and _alike(part, recipe)]
        if len(names) > 1:
            yield f"{_and(names)} are the same regularizer twice: their strengths add up."


def _alike(part: Regularizer, recipe: Recipe) -> bool:
    """Whether another part of its class acts on the same selection or sites."""
    rest = [other for other in recipe if type(other) is type(part) and other.name != part.name]
    return any(getattr(part, "where", None) == getattr(other, "where", None) for other in rest)


def _averaged(recipe: Recipe) -> Iterator[str]:
    averages = _names(recipe, *_AVERAGES)
    if averages and _names(recipe, *_ZEROS):
        yield (
            "averaged weights are not exactly zero where L1 zeroes only part of the time: "
            "read sparsity off the raw weights."
        )
    if len(averages) > 1:
        yield f"{_and(averages)} all average the weights: each averages what the one before it returned. Keep one."


def _normalised_twice(recipe: Recipe, module: nn.Module | None) -> Iterator[str]:
    for name in _names(recipe, *_BATCH_NORMS) if _torch_norms(module) else []:
        yield f"{name} stands beside the model's own batch norm: hidden layers are normalised twice. Keep one."
