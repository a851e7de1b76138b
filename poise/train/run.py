"""A recipe in the user's own loop: each stage is one line of the loop, and the user keeps model, loss and optimizer."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from poise.core.context import Batch, Context
from poise.core.errors import ArgumentError, CheckpointError, PoiseWarning, shown
from poise.core.explain import conflicts
from poise.core.recipe import Recipe
from poise.core.rng import Rng, key
from poise.core.select import roles_of
from poise.core.trees import map_tree
from poise.network.statistics import reestimate
from poise.train.distributions import classes_of, distributions
from poise.train.failure import TrainingError, check_terms
from poise.train.groups import check_optimizer, groups_of, scales_of
from poise.train.layers import set_layers
from poise.train.start import check_start, warn_of_idle_parts
from poise.train.swap import kept_modes, kept_tensors, load_tensors

__all__ = ["Run", "TrainingError"]


class Run:
    """One training run under a recipe. Made by `recipe.start(model)`; the layers are inserted into `model` itself.

    The order of calls in a step: `batch`, the user's forward pass, `objective`, `backward`, `update`. After an
    evaluation: `stop`. At the end: `predictor`.

    `columns` (F,) int64 groups the input columns (one-hot columns of one category share a number), `classes` is the
    number of classes; without it, class indices become distributions over the width of the model's output.

    Raises: ArgumentError if no parameter trains, or a dial holds one number a member.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: nn.Module,
        *,
        seed: int = 0,
        columns: Tensor | None = None,
        classes: int | None = None,
    ) -> None:
        check_start(recipe, model, seed, columns)
        self.recipe = recipe
        self.model = recipe.network(model)
        self.roles = roles_of(self.model)
        for problem in conflicts(recipe, self.model):
            warnings.warn(problem, PoiseWarning, stacklevel=3)
        self.seed = seed
        self.columns = columns
        self.classes = classes
        self.step_number = 0
        self.terms: dict[str, Tensor] = {}
        self.history: list[dict[str, float]] = []
        self.memory = recipe.remember(self._params())
        self.averaged: dict[str, Tensor] | None = None
        self.best: dict[str, dict[str, Tensor]] | None = None
        self.stopped = False
        self._draws = 0  # batches seen: micro-batches of one step draw differently
        self._pending = False  # an objective was computed since the last update
        self._batch: Batch | None = None
        self._estimated: dict[str, Tensor] = {}  # buffers that the last evaluation re-estimated, until the next step
        self._checked: WeakSet[Optimizer] = WeakSet()
        self._set_layers()

    # --- one step ------------------------------------------------------------------------------------------------

    def batch(self, inputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Any:
        """Return (inputs, targets), or (inputs, targets, weights) if row weights were given, after the batch stage.

        Class indices (B,) int64 come back as distributions (B, K) when a part of this stage is present; stock
        losses accept both.
        """
        if not self.recipe.stage("batch"):
            self._batch = Batch(inputs, targets, weights)
        else:
            if targets.dim() == 1 and not targets.is_floating_point():
                self.classes = self.classes or classes_of(self.model, inputs)
                targets = distributions(targets, self.classes, next(iter(self._params().values())).dtype)
            with torch.no_grad():
                self._batch, self.memory = self._fold("batch", Batch(inputs, targets, weights))
        return self._batch[:2] if weights is None else tuple(self._batch)

    def objective(self, loss: Tensor, outputs: Any = None) -> Tensor:
        """Return the loss plus the recipe's terms; `run.terms` keeps each of them, detached.

        When gradients are accumulated over k micro-batches, each call adds all terms and draws anew: call backward on
        `run.objective(loss, outputs) / k`, loss being the micro-batch's mean, and penalties count once.
        """
        if not isinstance(loss, Tensor) or loss.dim() != 0:
            raise ArgumentError(f"`Run.objective.loss` must be a 0-d tensor; got {shown(loss)}. Take its mean first.")
        facts = {"params": self._params(), "batch": self._batch, "outputs": outputs}
        terms, self.memory = self._fold("objective", {"data": loss}, **facts)
        self.terms = {name: term.detach() for name, term in terms.items()}
        self._pending = True
        self._draws += 1
        self._set_layers()
        total = loss
        for name, term in terms.items():
            total = total if name == "data" else total + term.to(loss.dtype)
        return total

    def update(self, optimizer: Optimizer | Sequence[Optimizer]) -> None:
        """Gradient stage, shrink stage, the optimizer's step, update stage, average stage; then clear gradients."""
        optimizers = [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer)
        params = self._params()
        for one in optimizers:
            if one not in self._checked:
                self._checked.add(one)
                check_optimizer(self.recipe, one, params)
        grads = {name: p.grad for name, p in params.items() if p.grad is not None}
        check_terms(self.terms, self.step_number)
        if not grads:
            raise TrainingError(f"no gradient at step {self.step_number}: call backward() on the objective first.")
        with torch.no_grad():
            edited, self.memory = self._fold("gradient", grads, params=params)
            for name, grad in edited.items():
                params[name].grad = grad
            for one in optimizers:
                for names, group in groups_of(one, params):
                    self._edit("shrink", params, names, group["lr"])
                one.step()
            for one in optimizers:
                for names, group in groups_of(one, params):
                    self._edit("update", params, names, group["lr"], scales_of(self.recipe, one, group, params, names))
            if self.recipe.stage("average"):
                current = {name: p.detach() for name, p in params.items()}
                self.averaged, self.memory = self._fold("average", current, params=current)
        for p in params.values():
            p.grad = None
        self.step_number += 1
        if not self._pending:
            self._draws += 1
        self._pending = False
        self._estimated = {}
        self._set_layers()

    def step(self, optimizer: Optimizer, closure: Callable[[], Tensor]) -> Tensor:
        """Run `closure` (forward, objective, backward; returns the loss), then `update`. Returns the loss."""
        for p in self._params().values():
            p.grad = None
        with torch.enable_grad():
            loss = closure()
        self.update(optimizer)
        return loss.detach()

    # --- evaluation and the end ----------------------------------------------------------------------------------

    @contextmanager
    def evaluation(self, batches: Iterable[Any] | None = None) -> Iterator[nn.Module]:
        """Evaluate with the averaged weights (if a part averages) in eval mode; everything is put back after.

        `batches` of training inputs: batch statistics are re-estimated for the averaged weights, over all rows.
        """
        # Weights that are not exchanged are not touched: autograd may hold them for a later backward().
        exchanged = {} if self.averaged is None else self._params()
        with kept_modes(self.model), kept_tensors(self.model, exchanged | dict(self.model.named_buffers())):
            if self.averaged is not None:
                load_tensors(self.model, self.averaged)
                if batches is not None:
                    reestimate(self.model, batches)
                    self._estimated = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
            yield self.model.eval()

    def stop(self, score: float | Tensor) -> bool:
        """Give the stop stage a validation score, lower is better; return whether to stop.

        When a stopping part that can stop sees a new best, the weights and buffers that evaluation used are kept.
        """
        value = torch.as_tensor(score, dtype=torch.float64).detach().cpu()
        if value.dim() != 0:
            raise ArgumentError(f"`Run.stop.score` must be one number; got shape {tuple(value.shape)}.")
        self.history.append(
            {"step": float(self.step_number), "score": float(value), **{n: float(t) for n, t in self.terms.items()}}
        )
        stopped, self.memory = self._fold("stop", torch.tensor(self.stopped), score=value)
        self.stopped = bool(stopped)
        for part in self.recipe.resolve({}, self.step_number).stage("stop"):
            best_step = self.memory[part.name].get("best_step", -1)
            # A part at its neutral value does nothing, so it keeps nothing either.
            watches = math.isfinite(float(part.dials().get("evaluations", 0.0)))
            if watches and int(best_step) == self.step_number:
                self.best = self._evaluated()
        return self.stopped

    def predictor(self, batches: Iterable[Any] | None = None) -> Any:
        """Return what to predict with: a copy of the model in evaluation mode, through the recipe's predict stage.

        Its weights are the best that `stop` saw, else the averaged, else the last. `batches` of training inputs:
        batch statistics are re-estimated for them.
        """
        warn_of_idle_parts(self.recipe, self.memory, self.step_number, len(self.history))
        chosen = self.best or self._evaluated()
        model = copy.deepcopy(self.model)
        load_tensors(model, chosen["weights"] | chosen["buffers"])
        if batches is not None:
            reestimate(model, batches)
        predictor: Any = model.eval()
        for part in self.recipe.stage("predict"):
            predictor = part.predict(predictor, self._context())
        return predictor

    def state_dict(self) -> dict[str, Any]:
        """Return the run's own state; save it beside the model's and the optimizer's for a bit-equal resume."""
        state = {
            "step": self.step_number,
            "draws": self._draws,
            "classes": self.classes,
            "terms": self.terms,
            "seed": self.seed,
            "stopped": self.stopped,
            "memory": self.memory,
            "averaged": self.averaged,
            "best": self.best,
            "history": self.history,
            "recipe": self.recipe.spec(),
        }
        return copy.deepcopy(state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`. Raises CheckpointError if it is another recipe's or model's, or incomplete."""
        if not isinstance(state, Mapping) or state.get("recipe") != self.recipe.spec():
            raise CheckpointError("`Run.load_state_dict` got the state of another recipe; start the one that saved it.")
        own = self.state_dict()
        if missing := sorted(own.keys() - state.keys()):
            raise CheckpointError(f"`Run.load_state_dict` got a state without {', '.join(missing)}: it is damaged.")
        if _shapes(state["memory"]) != _shapes(own["memory"]):
            raise CheckpointError("`Run.load_state_dict` got the state of another model: its tensors differ in shape.")
        state = copy.deepcopy(dict(state))
        self.step_number, self._draws, self.seed = state["step"], state["draws"], state["seed"]
        self.stopped, self.memory = state["stopped"], state["memory"]
        self.averaged, self.best, self.history = state["averaged"], state["best"], state["history"]
        self.terms, self.classes = state["terms"], state["classes"]
        self._set_layers()

    # --- plumbing ------------------------------------------------------------------------------------------------

    def _params(self) -> dict[str, Tensor]:
        named = dict(self.model.named_parameters())
        return {name: named[name] for name in self.roles}

    def _context(self, **facts: Any) -> Context:
        params = facts.get("params") or self._params()

        def forward(inputs: Any) -> Any:
            return functional_call(self.model, dict(params), (inputs,))

        ctx = Context(
            step=self.step_number,
            rng=Rng(key(self.seed, 0, self._draws)),
            roles=self.roles,
            columns=self.columns,
            classes=self.classes,
            buffers=dict(self.model.named_buffers()),
            forward=forward,
        )
        return replace(ctx, **facts)

    def _fold(self, stage: str, value: Any, **facts: Any) -> Any:
        recipe = self.recipe.resolve({}, self.step_number)
        return recipe.fold(stage, value, self.memory, self._context(**facts))

    def _edit(self, stage: str, params: dict[str, Tensor], names: list[str], lr: Any, scale: Any = None) -> None:
        """Fold a weights stage over the parameters of one optimizer group and write the result back."""
        if not self.recipe.stage(stage):
            return
        chosen = {name: params[name].detach() for name in names}
        roles = {name: self.roles[name] for name in names}
        edited, self.memory = self._fold(stage, chosen, params=chosen, roles=roles, lr=lr, scale=scale or {})
        for name, value in edited.items():
            if value is not chosen[name]:
                params[name].copy_(value)

    def _set_layers(self) -> None:
        recipe = self.recipe.resolve({}, self.step_number)
        set_layers(self.model, recipe, key(self.seed, 0, self._draws))

    def _evaluated(self) -> dict[str, dict[str, Tensor]]:
        weights = self.averaged if self.averaged is not None else self._params()
        state = {"weights": dict(weights), "buffers": dict(self.model.named_buffers()) | self._estimated}
        return map_tree(lambda t: t.detach().clone(), state)  # type: ignore[no-any-return]  # same structure as its input


def _shapes(memory: Any) -> Any:
    return map_tree(lambda leaf: getattr(leaf, "shape", None), memory)
