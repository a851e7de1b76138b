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
from torch.nn import functional as F
from torch.optim import Optimizer

from poise.average import Swa
from poise.core.context import Batch, Context
from poise.core.errors import ArgumentError, CheckpointError, PoiseWarning, shown
from poise.core.explain import conflicts
from poise.core.kinds import Proximal, inserted_layers
from poise.core.recipe import Recipe
from poise.core.rng import Rng, key
from poise.core.schedule import Schedule
from poise.core.select import roles_of
from poise.core.trees import map_tree
from poise.network.statistics import reestimate
from poise.train.columns import check_columns
from poise.train.groups import check_optimizer, groups_of
from poise.train.scale import effective_step

__all__ = ["Run", "TrainingError"]


class TrainingError(ArgumentError):
    """The loss is not finite, or no gradient arrived; the message names the step and the term."""


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
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise ArgumentError(f"`Recipe.start.seed` must be an int; got {shown(seed)}.")
        for name, value in recipe.dials().items():
            count = max(
                (end.numel() for end in _numbers(value) if isinstance(end, Tensor) and end.dim() > 0), default=0
            )
            if count:
                raise ArgumentError(
                    f"`Recipe.start` trains one network; dial {name} has {count} numbers. "
                    "Use poise.train.population.Population for one a member."
                )
        if any(p.is_meta for p in model.parameters()):
            raise ArgumentError("`Recipe.start.model` must have real weights; got some on the meta device.")
        foreign = sorted({layer.part for _path, layer in inserted_layers(model)})
        if foreign:
            raise ArgumentError(
                f"`Recipe.start.model` must be a model without inserted layers; got those of {', '.join(foreign)}. "
                "Start each run on a new model, or on a copy made before the first run."
            )
        self.recipe = recipe
        self.model = recipe.network(model)
        self.roles = roles_of(self.model)
        if not self.roles:
            raise ArgumentError("`Recipe.start.model` must have a parameter that requires grad; got none.")
        check_columns(recipe, self.model, self.roles, columns)
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
            targets = self._distributions(inputs, targets)
            batch = Batch(inputs, targets, weights)
            with torch.no_grad():
                self._batch, self.memory = self._fold("batch", batch)
        edited = self._batch
        return (edited.inputs, edited.targets) if weights is None else tuple(edited)

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
        for name, term in self.terms.items():
            if not bool(torch.isfinite(term)):
                raise TrainingError(
                    f"the objective's term {name!r} is {float(term)} at step {self.step_number}. "
                    "Lower the learning rate, or clip with ClipNorm."
                )
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
                    self._edit("update", params, names, group["lr"], self._scales(one, group, params, names))
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
        saved = map_tree(lambda tensor: tensor.detach().clone(), exchanged | dict(self.model.named_buffers()))
        training = {module: module.training for module in self.model.modules()}
        try:
            with torch.no_grad():
                if self.averaged is not None:
                    self._load(self.averaged)
                    if batches is not None:
                        reestimate(self.model, batches)
                        self._estimated = {name: b.clone() for name, b in self.model.named_buffers()}
                self.model.eval()
            yield self.model
        finally:
            self._load(saved)
            for module, mode in training.items():
                module.training = mode

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
        """Return what to predict with: a copy of the model in eval mode with the best weights that `stop` saw, else
        the averaged, else the last; then passed through the recipe's predict stage."""
        self._warn_of_idle_parts()
        chosen = self.best or self._evaluated()
        model = copy.deepcopy(self.model)
        with torch.no_grad():
            own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
            for name, tensor in {**chosen["weights"], **chosen["buffers"]}.items():
                own[name].copy_(tensor)
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

    def _scales(
        self, optimizer: Optimizer, group: Any, params: dict[str, Tensor], names: list[str]
    ) -> dict[str, Tensor]:
        if not any(isinstance(part, Proximal) for part in self.recipe.stage("update")):
            return {}
        return {name: effective_step(optimizer, group, params[name]) for name in names}

    def _set_layers(self) -> None:
        """Write this step's key and dials into the inserted layers."""
        now = self.recipe.resolve({}, self.step_number)
        for _path, layer in inserted_layers(self.model):
            # New tensors, not copy_: between objective() and backward() autograd still holds the old ones.
            layer.key = key(self.seed, 0, self._draws).to(layer.key.device)
            for name, value in now[layer.part].dials().items():
                setattr(layer, name, torch.as_tensor(value).to(getattr(layer, name)))

    def _distributions(self, inputs: Any, targets: Tensor) -> Tensor:
        if targets.is_floating_point() or targets.dim() != 1:
            return targets
        if self.classes is None:
            modes = {module: module.training for module in self.model.modules()}
            try:
                with torch.no_grad():
                    self.classes = int(self.model.eval()(inputs[:1]).shape[-1])
            finally:
                for module, mode in modes.items():
                    module.training = mode
        # In the dtype of the outputs, which is that of the weights: stock losses take no other.
        return F.one_hot(targets, self.classes).to(next(iter(self._params().values())).dtype)

    def _warn_of_idle_parts(self) -> None:
        """Say which parts never came to act, because the result then is not what the recipe says."""
        for part in self.recipe:
            memory = self.memory[part.name]
            if isinstance(part, Swa) and int(memory["count"]) == 0:
                warnings.warn(
                    f"{part.name} starts at step {part.start}, but training ended after {self.step_number} steps: the "
                    "weights are not averaged. Start it earlier.",
                    PoiseWarning,
                    stacklevel=3,
                )
            if self.history and int(memory.get("best_step", 0)) < 0:
                warnings.warn(
                    f"{part.name} was given no score that is a finite number: the last weights are used.",
                    PoiseWarning,
                    stacklevel=3,
                )

    def _evaluated(self) -> dict[str, dict[str, Tensor]]:
        weights = self.averaged if self.averaged is not None else self._params()
        state = {"weights": dict(weights), "buffers": dict(self.model.named_buffers()) | self._estimated}
        return map_tree(lambda t: t.detach().clone(), state)  # type: ignore[no-any-return]  # same structure as its input

    def _load(self, tensors: Mapping[str, Tensor]) -> None:
        own = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        with torch.no_grad():
            for name, tensor in tensors.items():
                own[name].copy_(tensor)


def _numbers(value: Any) -> tuple[Any, ...]:
    """Return the numbers that a dial holds: itself, or the ends of its schedule."""
    return value.ends() if isinstance(value, Schedule) else (value,)


def _shapes(memory: Any) -> Any:
    return map_tree(lambda leaf: tuple(leaf.shape), memory)
