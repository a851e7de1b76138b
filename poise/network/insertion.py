"""Layers inserted into a model that is trained elsewhere: any loop, any trainer, no run."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import nn

from poise.core.context import Context
from poise.core.errors import ArgumentError, CheckpointError, shown
from poise.core.inserted import Due, inserted_layers, set_layers
from poise.core.kinds import Insertion
from poise.core.recipe import Recipe
from poise.core.regularizer import Regularizer
from poise.core.rng import Rng, key
from poise.core.spec import from_spec
from poise.network.remove import remove

__all__ = ["InsertedParts", "insert"]


def insert(model: nn.Module, *parts: Insertion, seed: int = 0) -> InsertedParts:
    """Insert layers into a model of your own, in place, and return what lists, changes and removes them.

    Each training forward pass of the model draws anew, from the seed and the number of such passes so far; schedules
    read that number. Train, copy, pickle and compile the model as before (insert first, then torch.compile); give
    each of several processes a seed of its own. Layers without weights leave the model's state_dict as it is. With
    activation checkpoints, call backward() before the next forward pass. Penalties, and all else that needs the loss,
    need `recipe.start`.

    Raises: ArgumentError if a part acts elsewhere than in the network, finds no site, or the model has layers of
    ours, or is compiled already.

    >>> from poise.network import Dropout
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> inserted = insert(model, Dropout(0.2))
    >>> print(inserted)
    part     site  host  strength
    dropout  1     ReLU  p = 0.2
    >>> inserted.set({"dropout.p": 0.5})
    >>> inserted.remove() is model
    True
    """
    _check(model, parts, seed)
    recipe = Recipe(*parts)
    notes = tuple(f"{part.name}: {note}" for part in parts for note in part.notes(model))
    try:
        for part in recipe.stage("network"):
            assert isinstance(part, Insertion)
            if not part.find(model):
                raise ArgumentError(
                    f"`insert.parts` must find a site in the model; {part.name} goes {part.touches()} and found none. "
                    + (" ".join(part.notes(model)) or "Choose another rule as `where`.")
                )
            part.network(model)
    except BaseException:
        remove(model)
        raise
    set_layers(model, _Passes(recipe, seed, notes))
    return InsertedParts(model)


def _check(model: nn.Module, parts: tuple[Insertion, ...], seed: int) -> None:
    for part in parts:
        if not isinstance(part, Insertion) or set(part.stages()) - {"network", "predict"}:
            acts = ", ".join(part.stages()) if isinstance(part, Regularizer) else shown(part)
            raise ArgumentError(
                f"`insert.parts` must be parts of the network stage; got {shown(part)} ({acts}). "
                "Use `Recipe(...).start(model)` for parts that act on batch, loss, gradient or weights."
            )
    if not parts:
        raise ArgumentError("`insert.parts` must be at least one part; got none. Write insert(model, Dropout(0.2)).")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ArgumentError(f"`insert.seed` must be an int; got {shown(seed)}.")
    if any("_orig_mod" in one._modules or one._compiled_call_impl is not None for one in model.modules()):
        raise ArgumentError(
            "`insert.model` must not be compiled yet: torch.compile does not look at hooks that come later. "
            "Insert first, then compile."
        )
    if present := sorted({layer.part for _path, layer in inserted_layers(model)}):
        raise ArgumentError(
            f"`insert.model` must be without inserted layers; got those of {', '.join(present)}. "
            "Remove them first, or give all parts in one call."
        )


class _Passes(Due):
    """Counts training passes: each one gets its own key and the dials of its number."""

    def __init__(self, recipe: Recipe, seed: int, notes: tuple[str, ...]) -> None:
        super().__init__(recipe.resolve({}, 0), key(seed))
        self.given = recipe
        self.seed = seed
        self.notes = notes
        self.passes = 0

    def begin(self, training: bool) -> None:
        if training:
            self.at(self.passes)
            self.passes += 1

    def at(self, number: int) -> None:
        """Take the dials and the key of a pass."""
        self.recipe, self.key = self.given.resolve({}, number), key(self.seed, 0, number)


class InsertedParts:
    """What `insert` put into a model, found through the model: of a copy or a pickle, `InsertedParts(copy)` tells.

    Raises: ArgumentError if `insert` did not make the model's layers.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        _ = self._passes

    @property
    def _passes(self) -> _Passes:
        passes = self.model.__dict__.get("_poise_due")
        if not isinstance(passes, _Passes):
            raise ArgumentError("`InsertedParts.model` must have layers of `poise.insert`; got a model without any.")
        return passes

    @property
    def recipe(self) -> Recipe:
        """The parts, with the dials that were set last."""
        return self._passes.given

    def set(self, values: Mapping[str, Any]) -> None:
        """Change dials while training: `set({"dropout.p": 0.5})`. Raises ArgumentError for a wrong key or value."""
        passes = self._passes
        passes.given = passes.given.at(values)
        passes.recipe = passes.given.resolve({}, max(0, passes.passes - 1))
        set_layers(self.model, passes)

    def remove(self, *names: str) -> nn.Module:
        """Take out the layers of the named parts, or all; without any the model is what it was. Returns the model."""
        passes = self._passes
        remove(self.model, *names)
        if names and len(names) < len(passes.given):
            passes.given, passes.recipe = passes.given.without(*names), passes.recipe.without(*names)
        return self.model

    def predictor(self, classes: int | None = None) -> nn.Module:
        """Return a copy of the model in evaluation mode, through the parts' predict stage.

        `classes`: K of a classification, whose outputs are logits; None for regression.
        """
        predictor: Any = copy.deepcopy(self.model).eval()
        for part in self.recipe.stage("predict"):
            predictor = part.predict(predictor, Context(0, Rng(self._passes.key), classes=classes).within(part.name))
        result: nn.Module = predictor
        return result

    def state_dict(self) -> dict[str, Any]:
        """Return what a bit-equal resume needs beside the model's and the optimizer's state."""
        passes = self._passes
        return {"seed": passes.seed, "passes": passes.passes, "recipe": passes.given.spec()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`. Raises CheckpointError if it is of other parts, or incomplete."""
        passes = self._passes
        if not isinstance(state, Mapping) or {"seed", "passes", "recipe"} - state.keys():
            raise CheckpointError("`InsertedParts.load_state_dict` got a state that is damaged: entries are missing.")
        given = from_spec(state["recipe"])
        if given.neutral() != passes.given.neutral():
            raise CheckpointError(
                "`InsertedParts.load_state_dict` got the state of other parts; insert the same first."
            )
        passes.given, passes.seed, passes.passes = given, state["seed"], state["passes"]
        passes.at(max(0, passes.passes - 1))
        set_layers(self.model, passes)

    def __repr__(self) -> str:
        rows = [("part", "site", "host", "strength")]
        hosts = dict(self.model.named_modules())
        for path, layer in inserted_layers(self.model):
            site = path.rpartition(f"poise_{layer.part}")[0].rstrip(".")
            strength = ", ".join(f"{name} = {value:.4g}" for name, value in layer.settings().items())
            rows.append((layer.part, site or "(the model)", type(hosts[site]).__name__, strength))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = ["  ".join([*(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=False)), row[3]]) for row in rows]
        return "\n".join([*lines, *(f"note: {note}" for note in self._passes.notes)])
