"""A recipe in the user's own loop: each stage is one line of the loop, and the user keeps model, loss and optimizer."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from poise.core.conflicts import conflicts
from poise.core.context import Batch
from poise.core.errors import ArgumentError, PoiseWarning, shown
from poise.core.kinds import recordings
from poise.core.recipe import Recipe
from poise.core.terms import DATA, data_terms
from poise.core.trees import leaves
from poise.core.visits import visits_of
from poise.network.statistics import reestimate
from poise.train.distributions import Classes, encoded
from poise.train.failure import TrainingError, check_inputs_kept, version_of, warn_of_no_step
from poise.train.folding import Folding
from poise.train.groups import check_held, check_optimizer, check_step, clear_gradients
from poise.train.half import as_list, finite, unscaled
from poise.train.ranks import mean_over_ranks
from poise.train.replay import Replay
from poise.train.run_state import load_run, state_of
from poise.train.start import check_start, of_one, warn_of_idle_parts, warn_of_mixed_targets
from poise.train.swap import kept_modes, kept_tensors, load_tensors

__all__ = ["Run", "TrainingError"]


class Run(Folding):
    """One training run under a recipe. Made by `recipe.start(model)`; the layers are inserted into `model` itself.

    The order of calls in a step: `batch`, the user's forward pass, `objective`, `backward`, `update`. After an
    evaluation: `stop`. At the end: `predictor`.

    `columns` (F,) int64 groups the input columns (one-hot columns of one category share a number), `classes` is the
    number of classes (of several tasks, a dict with that of each class task); without it, class indices become
    distributions over the width of the model's output.

    Raises: ArgumentError if no parameter trains, or a dial holds one number a member.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: nn.Module,
        *,
        seed: int = 0,
        columns: Tensor | None = None,
        classes: Classes = None,
        teacher: Callable[[Any], Any] | None = None,
        loss: Callable[[Any, Any], Tensor] | None = None,
    ) -> None:
        check_start(recipe, model, seed, columns, teacher)
        super().__init__(recipe, recipe.network(model), seed, columns, classes)
        for problem in conflicts(recipe, self.model):
            warnings.warn(problem, PoiseWarning, stacklevel=3)
        self.teacher = teacher
        self.loss = loss
        self.history: list[dict[str, float]] = []
        self.best: dict[str, dict[str, Tensor]] | None = None
        self.stopped = False
        self._set_layers()

    @property
    def acted(self) -> dict[str, bool]:
        """Whether each part has changed anything so far, as seen in the first five steps."""
        return dict(self._watch.acted)

    def set(self, values: Mapping[str, Any]) -> None:
        """Change dials while training: `run.set({"dropout.p": 0.1})`. Raises ArgumentError for a wrong key or value."""
        self.recipe = of_one(self.recipe.at(values))
        self._set_layers()

    # --- one step ------------------------------------------------------------------------------------------------

    def batch(
        self, inputs: Any, targets: Any, weights: Tensor | None = None, *, ids: Any = None, epoch: Any = None
    ) -> Any:
        """Return (inputs, targets), or (inputs, targets, weights) if row weights were given, after the batch stage.

        Class indices (B,) int64 come back as distributions (B, K) when a part of this stage is present; stock
        losses accept both. Targets of several tasks are a dict by task, in which -1 for a class, or NaN, is missing.

        With `ids` (B,), row numbers of the data set, and the `epoch`, draws are each sample's own: a function of seed,
        id, epoch and part, whatever the batch. Without, they go by the step and the row's place in the batch.
        """
        visits = None if ids is None and epoch is None else visits_of(ids, epoch, len(leaves(inputs)[0]))
        if not self.recipe.stage("batch"):
            self._batch = Batch(inputs, targets, weights, visits)
        else:
            if not self.draws:
                warn_of_mixed_targets(self.recipe, targets, self.classes)
            dtype = next(iter(self._params().values())).dtype
            targets, self.classes = encoded(self.model, inputs, targets, self.classes, dtype)
            with torch.no_grad():
                self._batch, self.memory = self._fold("batch", Batch(inputs, targets, weights, visits))
        self._version = version_of(self._batch.inputs)
        return self._batch[:2] if weights is None else self._batch[:3]

    def objective(self, loss: Tensor | Mapping[str, Tensor], outputs: Any = None) -> Tensor:
        """Return the loss plus the recipe's terms; `run.terms` keeps each of them, detached.

        With several tasks, `loss` is a dict with one 0-d tensor a task. When gradients are accumulated over k
        micro-batches, each call adds all terms and draws anew: call backward on `run.objective(loss, outputs) / k`,
        loss being the micro-batch's mean, and penalties count once.
        """
        data = data_terms(loss) if isinstance(loss, Mapping) else {DATA: loss}
        for name, term in data.items():
            if not isinstance(term, Tensor) or term.dim() != 0:
                raise ArgumentError(
                    f"`Run.objective.loss` must be a 0-d tensor{'' if name == DATA else ' a task'}; got {shown(term)}. "
                    "Take its mean first."
                )
        params = self._params()
        if self._batch is not None:
            check_inputs_kept(self.recipe, self._batch.inputs, self._version)
        facts = {"params": params, "batch": self._batch, "outputs": outputs, "recorded": recordings(self.model)}
        terms, self.memory = self._fold("objective", data, **facts)
        self._compare_losses(data, outputs)
        self._tasks.add(terms, params)
        self.terms = {name: term.detach() for name, term in terms.items()}
        self._own_step.expect(params)
        self._pending = True
        self.draws += 1
        self._set_layers(later=True)  # backward() may repeat this forward pass
        total: Tensor = terms[first := next(iter(data))]
        total = sum((term.to(total.dtype) for name, term in terms.items() if name != first), total)
        self._count_terms(total)
        return total

    def before_step(self, optimizer: Optimizer | Sequence[Optimizer]) -> None:
        """Gradient stage and shrink stage: what `update` does before the optimizer's own step."""
        self._check(optimizer)
        self._edit_gradients()
        with torch.no_grad():
            self._edit("shrink", as_list(optimizer), self._params())

    def _edit_gradients(self) -> None:
        params = self._params()
        self._check_terms()
        grads = {name: p.grad for name, p in params.items() if p.grad is not None}
        if not grads:
            raise TrainingError(f"no gradient at step {self.step_number}: call backward() on the objective first.")
        facts = {"params": params, "batch": self._batch, "tasks": self._tasks.mean(), "gradient": self._gradient_at}
        with torch.no_grad():
            edited, self.memory = self._fold("gradient", grads, rng=self._rng_of_gradients(), **facts)
            for name, grad in edited.items():
                params[name].grad = grad

    def after_step(self, optimizer: Optimizer | Sequence[Optimizer]) -> None:
        """Update stage and average stage, after the optimizer's own step; then clear gradients."""
        params = self._params()
        with torch.no_grad():
            self._edit("update", as_list(optimizer), params)
            if self.recipe.stage("average"):
                current = {name: p.detach() for name, p in params.items()}
                self.averaged, self.memory = self._fold("average", current, params=current)
        self._watch.step(self._now(), self.model, self.step_number)
        self.step_number += 1
        self._end_step(as_list(optimizer))

    def update(self, optimizer: Optimizer | Sequence[Optimizer], scaler: torch.amp.GradScaler | None = None) -> bool:
        """Gradient stage, shrink stage, the optimizer's step, update stage, average stage; then clear gradients.

        With a `scaler` (fp16: `scaler.scale(objective).backward()` came before), gradients are unscaled first, and a
        step whose gradients overflowed is left out whole, by every part. Returns whether the step was taken.
        """
        optimizers = as_list(optimizer)
        self._check(optimizers)
        self._own_step.look(self._params())
        check_step(optimizers)
        scaler = scaler if scaler is not None and scaler.is_enabled() else None
        if scaler is not None and not unscaled(scaler, optimizers, self._params()):
            self.skip(optimizers)
            return False
        self._edit_gradients()
        if scaler is not None and not finite(scaler, self._params().values()):  # a second gradient (Sam's) may overflow
            self.skip(optimizers)
            return False
        with torch.no_grad():
            self._edit("shrink", optimizers, self._params())
        for one in optimizers:
            one.step() if scaler is None else scaler.step(one)
        if scaler is not None:
            scaler.update()
        self.after_step(optimizers)
        return True

    def step(
        self, optimizer: Optimizer, closure: Callable[[], Tensor], scaler: torch.amp.GradScaler | None = None
    ) -> Tensor:
        """Run `closure` (batch, forward, objective, backward; returns the loss), then `update`. Returns the loss.

        Parts that need the gradient at other weights (`Sam`) call the closure again: it must see the same rows.
        """
        clear_gradients(self._params(), as_list(optimizer))
        self.prepare(closure, scaler)
        with torch.enable_grad():
            loss = closure()
        self.update(optimizer, scaler)
        return loss.detach()

    def _check(self, optimizer: Optimizer | Sequence[Optimizer]) -> None:
        params = self._params()
        for one in as_list(optimizer):
            if one not in self._checked:
                check_optimizer(self.recipe, one, params)
                self._checked.add(one)
        check_held(self.model, as_list(optimizer), params)

    def prepare(self, closure: Callable[[], Any], scaler: torch.amp.GradScaler | None = None) -> None:
        """Before the first batch of a step: note how to run it again, for parts that need the gradient elsewhere."""
        again = any("closure" in part.needs for part in self.recipe)
        self._replay = Replay(closure, self.memory, self.draws, torch.get_rng_state(), scaler) if again else None

    def skip(self, optimizer: Optimizer | Sequence[Optimizer] = ()) -> None:
        """Leave out a step whose gradients overflowed: they are cleared, no part acts, no step is counted."""
        self._end_step(as_list(optimizer))

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
        warn_of_no_step(self.step_number, self._pending)
        value = torch.as_tensor(score, dtype=torch.float64).detach().cpu()
        if value.dim() != 0:
            raise ArgumentError(f"`Run.stop.score` must be one number; got shape {tuple(value.shape)}.")
        value = mean_over_ranks(value)
        self.history.append(
            {"step": float(self.step_number), "score": float(value), **{n: float(t) for n, t in self.terms.items()}}
        )
        stopped, self.memory = self._fold("stop", torch.tensor(self.stopped), score=value)
        self.stopped = bool(stopped)
        for part in self._now().stage("stop"):
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
        warn_of_no_step(self.step_number, self._pending)
        warn_of_idle_parts(self.recipe, self.memory, self.step_number, len(self.history))
        chosen = self.best or self._evaluated()
        model = copy.deepcopy(self.model)
        load_tensors(model, chosen["weights"] | chosen["buffers"])
        given = list(batches) if isinstance(batches, Iterator) else batches  # a generator lasts for one network only
        restate = None if given is None else partial(reestimate, batches=given)
        if restate is not None:
            restate(model)
        predictor: Any = model.eval()
        for part in self._now().stage("predict"):
            ctx = self._context(memory=self.memory[part.name], restate=restate)
            predictor = part.predict(predictor, ctx.within(part.name))
        return predictor

    def state_dict(self) -> dict[str, Any]:
        """Return the run's own state; save it beside the model's and the optimizer's for a bit-equal resume."""
        return state_of(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`. Raises CheckpointError if it is another recipe's or model's, or incomplete."""
        load_run(self, state)
        self._set_layers()
