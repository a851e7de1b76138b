"""A recipe in Lightning: one callback, and the LightningModule stays as it is.

setup                     network     layers are inserted, after `configure_model`, before the optimizers are made
strategy.training_step    batch, objective
on_before_optimizer_step  gradient, shrink      (then the Trainer's own clipping, then the optimizer's step)
optimizer's post hook     update, average       before the learning rate schedulers move
on_validation_start       the averaged weights are put in; on_validation_end puts the raw ones back
on_validation_end         stop
on_fit_end                predict: the best or averaged weights stay in the module
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from poise.adapters.batches import Parts, check_parts
from poise.adapters.chosen import Statistics, check_monitor, chosen_weights, load_chosen, move_memory, score_of
from poise.adapters.generators import generators, set_generators
from poise.adapters.lightning_step import Step, validation_is_due
from poise.core.errors import ArgumentError, CheckpointError, PoiseWarning, shown
from poise.core.recipe import Recipe
from poise.train.run import Run

__all__ = ["Regularize"]

_SHARDED = ("DeepSpeedStrategy", "FSDPStrategy", "ModelParallelStrategy", "XLAFSDPStrategy")


class Regularize(pl.Callback):
    """Trains the module of one `Trainer.fit` under a recipe.

    `module`: the path of the submodule that the recipe is for, "" for the whole LightningModule. `monitor`: the logged
    metric that stopping parts watch, `mode` "min" or "max". `batch`: two functions (take, put), for batches that are
    no pair (inputs, targets), see `poise.adapters.batches`. `statistics`: returns training inputs, for the batch
    statistics of averaged weights. `restore`: leave the best weights, else the averaged ones, in the module after fit.
    `seed`, `columns`, `classes`, `teacher` and `loss` are those of `recipe.start`.

    In manual optimization the module itself calls `run.batch` and `run.objective`; all else is as in automatic.

    Raises: ArgumentError if an argument is of no use; at setup also for what `recipe.start` refuses.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        module: str = "",
        monitor: str | None = None,
        mode: Literal["min", "max"] = "min",
        batch: Parts | None = None,
        statistics: Statistics | None = None,
        restore: bool = True,
        seed: int = 0,
        columns: Tensor | None = None,
        classes: int | None = None,
        teacher: Callable[[Any], Any] | None = None,
        loss: Callable[[Any, Any], Tensor] | None = None,
    ) -> None:
        check_monitor("Regularize", recipe, monitor, mode)
        check_parts("Regularize", batch)
        self.recipe = recipe
        self.module = module
        self.monitor = monitor
        self.mode = mode
        self.parts = batch
        self.statistics = statistics
        self.restore = restore
        self._start = functools.partial(
            recipe.start, seed=seed, columns=columns, classes=classes, teacher=teacher, loss=loss
        )
        self._run: Run | None = None
        self._open = False  # between before_step and after_step
        self._due = False  # a validation comes before the next batch
        self._finished = False  # the module holds the weights to predict with, not those to train on
        self._loaded: dict[str, Any] | None = None
        self._exchanged = ExitStack()  # puts the raw weights back
        self._hooks = ExitStack()  # takes the hooks off
        self._hooked: list[Optimizer] = []

    @property
    def state_key(self) -> str:
        """Two of these on two submodules have two states in a checkpoint."""
        return self._generate_state_key(module=self.module)

    @property
    def run(self) -> Run:
        """The run behind the callback. Raises ArgumentError before the first `Trainer.fit`."""
        if self._run is None:
            raise ArgumentError("`Regularize.run` exists once Trainer.fit has set the module up; got no fit yet.")
        return self._run

    @staticmethod
    def of(trainer: pl.Trainer) -> Run:
        """Return the run of a Trainer's only `Regularize`, for a module with manual optimization."""
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]  # set by one of its connectors
        found = [callback for callback in callbacks if isinstance(callback, Regularize)]
        if len(found) != 1:
            raise ArgumentError(f"`Regularize.of` must get a Trainer with one Regularize; got one with {len(found)}.")
        return found[0].run

    def predictor(self) -> Any:
        """Return what to predict with; see `Run.predictor`."""
        return self.run.predictor(None if self.statistics is None else self.statistics())

    # --- start and end -------------------------------------------------------------------------------------------

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if type(trainer.strategy).__name__ in _SHARDED:
            raise ArgumentError(
                f"`Trainer.strategy` must keep whole parameters in each process; got {type(trainer.strategy).__name__}."
            )
        if self._run is None:
            if type(pl_module).configure_model is pl.LightningModule.configure_model:
                self._run = self._start(self._target(pl_module))
            else:
                self._start_after_configure_model(pl_module)
        elif stage == "fit" and (self._run.draws or self._run.model is not self._target(pl_module)):
            raise ArgumentError(
                "`Regularize` must be new for each fit; got one that has trained. To train on, give a new Trainer, "
                "module and Regularize a checkpoint: trainer.fit(module, ckpt_path=...)."
            )
        self._hooks.close()
        if stage == "fit":
            step = Step(self, trainer, pl_module)
            trainer.strategy.training_step = step  # type: ignore[method-assign]  # taken off again by teardown
            self._hooks.callback(trainer.strategy.__dict__.pop, "training_step", None)

    def _start_after_configure_model(self, pl_module: pl.LightningModule) -> None:
        """Layers that the module's own `configure_model` makes exist only after this hook."""
        own = pl_module.configure_model

        @functools.wraps(own)
        def configure_model() -> None:
            del pl_module.configure_model
            own()
            self._run = self._start(self._target(pl_module))

        pl_module.configure_model = configure_model  # type: ignore[method-assign]  # for one call

    def _target(self, pl_module: pl.LightningModule) -> nn.Module:
        try:
            return pl_module.get_submodule(self.module)
        except AttributeError:
            paths = [path for path, _child in pl_module.named_children()]
            raise ArgumentError(
                f"`Regularize.module` must be the path of a submodule, like one of {paths}; got {shown(self.module)}."
            ) from None

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._exchanged.close()
        self._hooks.close()
        self._hooked = []

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        # Callbacks that save a checkpoint of this moment come later, and must find the raw weights.
        self.teardown(trainer, pl_module, "fit")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if len(trainer.optimizers) != 1:
            raise ArgumentError(f"`Regularize` must have one optimizer to act around; got {len(trainer.optimizers)}.")
        move_memory(self.run)
        if self._loaded is not None:
            set_generators(self._loaded["generators"])
            if self._loaded["due"]:
                warnings.warn(
                    f"the checkpoint was saved just before the validation due at step {self.run.step_number}, which "
                    "Lightning leaves out when it resumes: stopping parts miss a score. Save after validation, as "
                    "ModelCheckpoint does by default.",
                    PoiseWarning,
                    stacklevel=2,
                )
            self._loaded = None
        trainer.should_stop = trainer.should_stop or self.run.stopped

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.restore:
            load_chosen(self.run, self.statistics)
            self._finished = True

    # --- one step; batch and objective are in `lightning_step` ---------------------------------------------------

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        if self._open:
            raise ArgumentError(
                f"`Regularize` must have an optimizer that runs a step once; {type(optimizer).__name__} repeats it."
            )
        if optimizer not in self._hooked:
            self._hooked.append(optimizer)
            self._hooks.callback(optimizer.register_step_post_hook(self._after_step).remove)
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        if not grads or (scaled and not all(bool(torch.isfinite(grad).all()) for grad in grads)):
            self.run.skip()  # `training_step` returned None, or the scaler will not step either
        else:
            self.run.before_step(optimizer)
            self._open = True

    def _after_step(self, optimizer: Optimizer, _arguments: Any, _named: Any) -> None:
        if self._open:
            self._open = False
            self.run.after_step(optimizer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._due = validation_is_due(trainer, batch_idx)

    # --- evaluation ----------------------------------------------------------------------------------------------

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put in the averaged weights; outside of fit, those that `predictor` predicts with."""
        run = self._run
        if trainer.sanity_checking or self._finished or run is None or run.model not in list(pl_module.modules()):
            return
        with torch.inference_mode(False):  # what is cloned here is trained on later
            self._exchanged.enter_context(chosen_weights(run, self.statistics, trainer.state.fn == "fit"))

    on_test_start = on_predict_start = on_validation_start

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        with torch.inference_mode(False):
            self._exchanged.close()

    on_predict_end = on_test_end

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.on_test_end(trainer, pl_module)
        self._due = False
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._stop(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.enable_validation:
            self._stop(trainer)

    def _stop(self, trainer: pl.Trainer) -> None:
        if self.monitor is not None:
            with torch.inference_mode(False):
                if self.run.stop(score_of("Regularize", trainer.callback_metrics, self.monitor, self.mode)):
                    trainer.should_stop = True

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the run's state and the global generators', for the Trainer's checkpoint."""
        state = {"generators": generators(), "finished": self._finished, "due": self._due}
        return {} if self._run is None else {"run": self._run.state_dict(), **state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a Trainer's checkpoint. Raises CheckpointError if training cannot go on from it."""
        if state_dict:
            self.run.load_state_dict(state_dict["run"])
            self._finished, self._loaded = state_dict["finished"], state_dict

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._finished:
            raise CheckpointError(
                "`Trainer.fit.ckpt_path` must be a checkpoint of training; got one saved after fit had put the best "
                "weights in. Use one that ModelCheckpoint saved, or train with Regularize(restore=False)."
            )
