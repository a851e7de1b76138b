"""A recipe in one run of the user's own loop: its memory, its draws, and how each of its stages is folded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from poise.core.context import Batch, Context
from poise.core.errors import ArgumentError
from poise.core.kinds import Due, set_layers
from poise.core.recipe import Recipe
from poise.core.rng import Rng, key
from poise.core.select import roles_of
from poise.core.trees import map_tree
from poise.train.distributions import Classes
from poise.train.failure import OwnStep, check_terms
from poise.train.groups import clear_gradients, groups_of, scales_of
from poise.train.losses import summed_loss, usual_loss
from poise.train.ranks import keep_own_draws, rank_and_world
from poise.train.replay import Replay, forward_again, gradient_again, kept_generators
from poise.train.start import warn_of_another_loss
from poise.train.tasks import TaskGradients
from poise.train.watch import Watch

__all__ = ["Folding"]


class Folding:
    """What all stages of a run share. `Run` is this with the calls of a training loop."""

    def __init__(self, recipe: Recipe, model: nn.Module, seed: int, columns: Tensor | None, classes: Classes) -> None:
        self.recipe = self.started = recipe
        self.model = model
        self.roles = roles_of(model)
        self._homes = _homes(model, self.roles)
        self._resolved: tuple[int, int, Recipe] | None = None
        self.seed = seed
        self.columns = columns
        self.classes = classes
        self.teacher: Callable[[Any], Any] | None = None
        self.loss: Callable[[Any, Any], Tensor] | None = None
        self.rank, self.world = rank_and_world()
        keep_own_draws(model)
        self.step_number = 0
        self.draws = 0  # batches seen: micro-batches of one step draw differently
        self.memory = recipe.remember(self._params())
        self.terms: dict[str, Tensor] = {}
        self._counted: list[dict[str, Tensor]] = []  # the terms whose gradients this step has so far
        self.averaged: dict[str, Tensor] | None = None
        self._pending = False  # an objective was computed since the last update
        self._supposed = False  # a part took the usual loss for the user's
        self._batch: Batch | None = None
        self._version: int | None = None  # torch's count of writes to the batch's inputs
        self._own_step = OwnStep()
        self._tasks = TaskGradients(recipe)
        self._replay: Replay | None = None  # how to find the gradient of this step at other weights
        self._watch = Watch(recipe, model)
        self._estimated: dict[str, Tensor] = {}  # buffers that the last evaluation re-estimated, until the next step
        self._checked: WeakSet[Optimizer] = WeakSet()

    def _params(self) -> dict[str, Tensor]:
        # Looked up where they are held: a walk over all modules for each stage would cost more than some stages do.
        return {name: held[key] for name, (held, key) in self._homes.items()}

    def _now(self) -> Recipe:
        """Return the recipe of this step, schedules evaluated."""
        if self._resolved is None or self._resolved[:2] != (self.step_number, id(self.recipe)):
            self._resolved = (self.step_number, id(self.recipe), self.recipe.resolve({}, self.step_number))
        return self._resolved[2]

    def _loss(self, outputs: Any, batch: Batch) -> Tensor:
        given = self.loss
        if given is None:
            self._supposed = True
            return usual_loss(outputs, batch, self.classes)
        return summed_loss(lambda answers, rows: given(answers, rows.targets), outputs, batch)

    def _taught(self, inputs: Any) -> Any:
        with torch.no_grad():
            return self.teacher(inputs) if self.teacher else None

    def _context(self, **facts: Any) -> Context:
        usual: dict[str, Any] = {
            "step": self.step_number,
            "rng": Rng(self._key()),
            "roles": self.roles,
            "columns": self.columns,
            "classes": self.classes,
            "loss": self._loss,
            "teacher": self._taught,
        }
        return Context(**usual | facts)

    def _fold(self, stage: str, value: Any, **facts: Any) -> Any:
        if not self.recipe.stage(stage):
            return value, self.memory
        if stage in ("objective", "gradient"):
            facts["forward"] = partial(forward_again, self.model, facts["params"])
        fold = self._watch.fold if self._watch.left else Recipe.fold
        return fold(self._now(), stage, value, self.memory, self._context(**facts))

    def _compare_losses(self, data: Mapping[str, Tensor], outputs: Any) -> None:
        """At the first objective, warn if a part took the usual loss for the user's, and it is another."""
        if self._supposed and self.draws == 0 and outputs is not None and self._batch is not None:
            with torch.no_grad():
                supposed = self._loss(outputs, self._batch)
            warn_of_another_loss(float(supposed), float(sum(term.detach() for term in data.values())))

    def _edit(self, stage: str, optimizers: Sequence[Optimizer], params: dict[str, Tensor]) -> None:
        """Fold a weights stage over the parameters that have a gradient, each with its group's rate; write back."""
        if not self.recipe.stage(stage):
            return
        rates: dict[str, Any] = {}
        scale: dict[str, Tensor] = {}
        for one in optimizers:
            for names, group in groups_of(one, params):
                rates |= dict.fromkeys(names, group["lr"])
                scale |= scales_of(self.recipe, one, group, params, names) if stage == "update" else {}
        self._watch.rates(rates.values())
        chosen = {name: params[name].detach() for name in params if name in rates}
        facts = {"params": chosen, "roles": {name: self.roles[name] for name in chosen}, "rates": rates, "scale": scale}
        edited, self.memory = self._fold(stage, chosen, lr=next(iter(rates.values()), 0.0), **facts)
        for name, value in edited.items():
            if value is not chosen[name]:
                params[name].copy_(value)

    def _gradient_at(self, there: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the gradient of this step's objective at other weights, in this step's own draws."""
        if self._replay is None:
            raise ArgumentError(
                "a part of this recipe needs the gradient at other weights: call `run.step(optimizer, closure)`, "
                "closure running batch, forward, objective and backward, in place of `run.update(optimizer)`."
            )
        replay = self._replay
        kept = self.memory, self.draws, self.terms, self._counted, self._tasks, self._batch
        self.memory, self.draws, self._counted = replay.memory, replay.draws, []
        self._tasks = TaskGradients(Recipe())
        self._set_layers()
        try:
            with kept_generators(replay.generator):
                grads = gradient_again(self.model, self._params(), there, replay.closure)
        finally:
            self.memory, self.draws, self.terms, self._counted, self._tasks, self._batch = kept
            self._set_layers()
        scale = 1.0 if replay.scaler is None else replay.scaler.get_scale()
        return grads if scale == 1.0 else {name: grad / scale for name, grad in grads.items()}

    def _count_terms(self, total: Tensor) -> None:
        # Noted by the backward pass: a batch whose loss is left out must not count.
        terms = self.terms
        if total.requires_grad:
            total.register_hook(lambda _: self._counted.append(terms))

    def _check_terms(self) -> None:
        counted = [terms for terms in self._counted if terms is not self.terms]
        self._counted = []
        for terms in [*counted, self.terms]:
            check_terms(terms, self.step_number)

    def _end_step(self, optimizers: Sequence[Optimizer] = ()) -> None:
        clear_gradients(self._params(), optimizers)
        self._tasks.forget()
        if not self._pending:
            self.draws += 1
        self._pending, self._batch, self._replay, self._estimated = False, None, None, {}
        self._counted = []
        self._set_layers()

    def _key(self) -> Tensor:
        # W processes draw as W micro-batches of one process do.
        return key(self.seed, 0, self.draws * self.world + self.rank)

    def _rng_of_gradients(self) -> Rng:
        """Return the draws of the gradient stage: the last batch's, and the same in all processes.

        Their gradients are one mean; noise that differed would pull the processes' weights apart.
        """
        return Rng(key(self.seed, 0, (self.draws - self._pending) * self.world))

    def _set_layers(self, later: bool = False) -> None:
        set_layers(self.model, Due(self._now(), self._key()), later)

    def _evaluated(self) -> dict[str, dict[str, Tensor]]:
        weights = self.averaged if self.averaged is not None else self._params()
        state = {"weights": dict(weights), "buffers": dict(self.model.named_buffers()) | self._estimated}
        return map_tree(lambda t: t.detach().clone(), state)  # type: ignore[no-any-return]  # same structure as its input


def _homes(model: nn.Module, names: Iterable[str]) -> dict[str, tuple[dict[str, Any], str]]:
    """Return for each parameter the dict of its module that holds it, and its name there."""
    modules = dict(model.named_modules())
    parts = ((name, *name.rpartition(".")) for name in names)
    return {name: (modules[path]._parameters, own) for name, path, _, own in parts}
