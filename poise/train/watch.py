"""The no-op detector: whether each part of a recipe changes anything in the first steps of a run."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from poise.core.context import Context
from poise.core.dial import at_step, dials_of
from poise.core.errors import PoiseWarning
from poise.core.kinds import Inserted, Recorder, inserted_layers
from poise.core.recipe import Recipe, fold_group
from poise.core.regularizer import Memory, Regularizer

__all__ = ["Watch"]

_STEPS = 5  # enough for random parts to draw something; later steps pay nothing
_CHANGES_TRAINING = {"network", "batch", "objective", "gradient", "shrink", "update"}


class Watch:
    """Folds stages for the first steps, noting which parts changed what they were given; then warns of the rest.

    A part that is at its neutral value, or that acts only on occasion (`conditional`: clipping, say), is not warned of,
    nor one that moves weights in proportion to a learning rate that still rises: it may be too small to be seen yet.
    `acted` tells of every part: True, or False if it has changed nothing so far.
    """

    def __init__(self, recipe: Recipe, model: nn.Module) -> None:
        self.acted = {part.name: False for part in recipe}
        self.left = _STEPS if recipe.parts else 0
        self._awake = {part.name: False for part in recipe}  # has been away from neutral
        self._rates: list[float] = []
        self._hooks = []
        for _path, layer in inserted_layers(model) if self.left else ():
            layer.watched = True
            self._hooks.append(layer.register_forward_hook(_note))

    def fold(
        self, recipe: Recipe, stage: str, value: Any, memory: dict[str, Memory], ctx: Context
    ) -> tuple[Any, dict[str, Memory]]:
        """Return what `recipe.fold` returns, and note which parts changed the value."""
        for parts in recipe.groups(stage):
            new, kept = fold_group(parts, stage, value, memory, ctx)
            for part in parts:
                if not self.acted[part.name]:
                    # Of parts that are done at once, what each does alone.
                    own = new if len(parts) == 1 else fold_group((part,), stage, value, memory, ctx)[0]
                    self.acted[part.name] = _adds(value, own) if stage == "objective" else _differ(value, own)
            value, memory = new, kept
        return value, memory

    def rates(self, rates: Iterable[Any]) -> None:
        """Note the learning rates by which parts move weights now."""
        if self.left:
            self._rates.append(max(map(float, rates), default=0.0))

    def step(self, recipe: Recipe, model: nn.Module, number: int) -> None:
        """Count a step that was taken; after the last one that is watched, warn and let go."""
        if not self.left:
            return
        layers = [layer for _path, layer in inserted_layers(model)]
        for part in recipe:
            self._awake[part.name] |= not _neutral(part, number)
            own = [layer for layer in layers if layer.part == part.name]
            # A recorder changes nothing itself: its part adds a term, which is seen in the objective stage.
            self.acted[part.name] |= any(layer.acted for layer in own if not isinstance(layer, Recorder))
        self.left -= 1
        if self.left:
            return
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        for layer in layers:
            layer.watched = False
        warming = bool(self._rates) and self._rates[-1] > self._rates[0]
        for part in recipe:
            by_rate = not {"shrink", "update"}.isdisjoint(part.stages())
            ought = _ought_to_act(part) and not (warming and by_rate)
            if self._awake[part.name] and not self.acted[part.name] and ought:
                warnings.warn(_reason(part, layers), PoiseWarning, stacklevel=4)


def _note(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
    """Forward hook of a watched layer."""
    assert isinstance(layer, Inserted)
    layer.note(inputs[0], output)


def _differ(before: Any, after: Any) -> bool:
    one, two = pytree.tree_leaves(before), pytree.tree_leaves(after)
    if len(one) != len(two):
        return True
    return any(
        a is not b and not (isinstance(a, Tensor) and isinstance(b, Tensor) and _same(a, b))
        for a, b in zip(one, two, strict=True)
    )


def _same(a: Tensor, b: Tensor) -> bool:
    if a.is_sparse or b.is_sparse:
        a, b = a.to_dense(), b.to_dense()
    return a.shape == b.shape and torch.equal(a, b)


def _adds(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> bool:
    """Whether a term is new or another, not 0, and has a gradient: a term without one trains nothing."""
    return any(
        term is not before.get(name) and term.requires_grad and bool(term.detach() != 0) for name, term in after.items()
    )


def _neutral(part: Regularizer, step: int) -> bool:
    values = part.dials()
    at_rest = [
        bool((torch.as_tensor(at_step(values[name], step)) == dial.neutral).all())
        for name, dial in dials_of(part).items()
        if dial.default != dial.neutral  # the others say how, not how much
    ]
    return any(at_rest)  # a share of 0 switches mixup off, whatever its alpha


def _ought_to_act(part: Regularizer) -> bool:
    return bool(set(part.stages()) & _CHANGES_TRAINING) and not part.conditional


def _reason(part: Regularizer, layers: list[Inserted]) -> str:
    own = [layer for layer in layers if layer.part == part.name]
    if "network" in part.stages() and not own:
        why = "no layer was inserted, because its rule found no site in the model"
    elif own and not any(layer.called for layer in own):
        why = "its layers were never called in a training forward pass: the forward does not run their hosts"
    else:
        why = "it changed no input, loss term, gradient, activation or weight"
    return (
        f"{part.name} had no effect in the first {_STEPS} steps: {why}. See recipe.explain(model), "
        f"or leave {type(part).__name__} out."
    )
