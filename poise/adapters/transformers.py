"""A recipe in Hugging Face's Trainer: one line before `trainer.train()`; model, data and arguments stay as they are.

regularize(trainer, recipe)  network     layers are inserted into `trainer.model`
trainer.compute_loss         batch, objective      (while training)
on_pre_optimizer_step        gradient, shrink      (after the Trainer's own clipping, max_grad_norm)
on_optimizer_step            update, average       before the learning rate scheduler moves
trainer.evaluation_loop      with the averaged weights, after training with the best
on_evaluate                  stop
on_save, on_train_begin      the run's state is `poise.pt` in the Trainer's checkpoint folder
on_train_end                 predict: the best or averaged weights stay in the model
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from poise.adapters.batches import Parts, check_parts
from poise.adapters.chosen import Statistics, check_monitor, chosen_weights, load_chosen, move_memory, score_of
from poise.adapters.transformers_step import Logits, Step
from poise.core.errors import ArgumentError, CheckpointError, PoiseWarning
from poise.core.recipe import Recipe
from poise.core.terms import data_keys
from poise.train.run import Run

__all__ = ["Logits", "regularize"]

_FILE = "poise.pt"


def regularize(
    trainer: Trainer,
    recipe: Recipe,
    *,
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
) -> Run:
    """Let a Trainer train its model under a recipe; return the run, whose `predictor` maps a dict batch to logits.

    `monitor`: the metric that stopping parts watch, like "eval_loss", `mode` "min" or "max". `batch`: two functions
    (take, put) that say where inputs and labels are, see `poise.adapters.batches`; without them parts that edit inputs
    edit `pixel_values`, `inputs_embeds`, `input_values` or `input_features`, and LabelSmoothing works with any inputs.
    `statistics`: returns batches without labels, for the batch statistics of averaged weights. `restore`: leave the
    best weights, else the averaged ones, in the model after training. The rest are those of `recipe.start`.

    Raises: ArgumentError for a Trainer that this cannot serve, and for what `recipe.start` refuses.
    """
    check_monitor("regularize", recipe, monitor, mode)
    check_parts("regularize", batch)
    _check_trainer(trainer)
    network: Any = trainer.model
    labels = int(getattr(getattr(network, "config", None), "num_labels", 1))
    classes = labels if classes is None and labels > 1 else classes
    model = Logits(network)
    run = recipe.start(model, seed=seed, columns=columns, classes=classes, teacher=teacher, loss=loss)
    model.to(trainer.args.device)
    if trainer.optimizer is not None:
        held = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
        if missed := [name for name, p in run.model.named_parameters() if "poise_" in name and id(p) not in held]:
            raise ArgumentError(
                f"`Trainer.optimizers` must be left out, because the recipe adds weights to the model; the optimizer "
                f"given lacks {missed[0]}. Give the Trainer optimizer_cls_and_kwargs, or call it after regularize."
            )
    trainer.add_callback(_Regularize(trainer, run, recipe, monitor, mode, batch, statistics, restore))
    return run


def _check_trainer(trainer: Trainer) -> None:
    if not isinstance(trainer, Trainer):
        raise ArgumentError(f"`regularize.trainer` must be a transformers.Trainer; got a {type(trainer).__name__}.")
    if any(isinstance(callback, _Regularize) for callback in trainer.callback_handler.callbacks):
        raise ArgumentError("`regularize.trainer` must be without a recipe; got one that has been regularized.")
    if trainer.model_init is not None:
        raise ArgumentError("`Trainer.model_init` must be left out: it would replace the model that has the layers.")
    if trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled:
        raise ArgumentError("`Trainer` must keep whole parameters in each process; got DeepSpeed or FSDP.")
    if trainer.args.fp16:
        raise ArgumentError("`TrainingArguments.fp16` must be False: steps that overflow are not seen. Use bf16=True.")


class _Regularize(TrainerCallback):
    def __init__(
        self,
        trainer: Trainer,
        run: Run,
        recipe: Recipe,
        monitor: str | None,
        mode: str,
        batch: Parts | None,
        statistics: Statistics | None,
        restore: bool,
    ) -> None:
        self.trainer = trainer
        self.run = run
        self.recipe = recipe
        self.monitor = monitor
        self.mode = mode
        self.statistics = statistics
        self.restore = restore
        self.finished = False  # the model holds the weights to predict with
        self.start: Path | None = None  # the checkpoint to go on from
        self.own = {name: getattr(trainer, name) for name in ("train", "evaluation_loop", "log")}
        replaced = {"train": self.train, "evaluation_loop": self.evaluation_loop, "log": self.log}
        for name, method in (replaced | {"compute_loss": Step(trainer, run, recipe, batch)}).items():
            setattr(trainer, name, method)

    # --- in place of the Trainer's own ---------------------------------------------------------------------------

    def train(self, resume_from_checkpoint: str | bool | None = None, *rest: Any, **named: Any) -> Any:
        """`Trainer.train`, with the run's state from the checkpoint."""
        path = resume_from_checkpoint or None
        if path is True:
            path = get_last_checkpoint(self.trainer.args.output_dir)  # type: ignore[no-untyped-call]  # has no types
        self.start = None if path is None else Path(path)
        if self.run.draws and self.start is None:
            raise ArgumentError(
                "a Trainer that has trained under a recipe cannot begin again: make model, Trainer and recipe anew, "
                "or resume from a checkpoint."
            )
        return self.own["train"](resume_from_checkpoint, *rest, **named)

    def evaluation_loop(self, *rest: Any, **named: Any) -> Any:
        """`Trainer.evaluation_loop`, with the weights to evaluate with."""
        if self.finished:
            return self.own["evaluation_loop"](*rest, **named)
        with chosen_weights(self.run, self.statistics, self.trainer.is_in_train):
            return self.own["evaluation_loop"](*rest, **named)

    def log(self, logs: dict[str, float], *rest: Any, **named: Any) -> Any:
        """`Trainer.log`, with the terms that the recipe has added to the loss."""
        if "loss" in logs:
            terms = self.run.terms
            logs |= {f"poise/{name}": float(terms[name]) for name in terms.keys() - data_keys(terms)}
        return self.own["log"](logs, *rest, **named)

    # --- the Trainer's events ------------------------------------------------------------------------------------

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **facts: Any
    ) -> None:
        if self.start is not None:
            file = self.start / _FILE
            if not file.is_file():
                raise CheckpointError(
                    f"{self.start} has no {_FILE}: it was saved without a recipe. Start from another."
                )
            self.run.load_state_dict(torch.load(file, weights_only=True))
            self.finished = False
        move_memory(self.run)
        control.should_training_stop = control.should_training_stop or self.run.stopped

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **facts: Any
    ) -> None:
        self.run.before_step(_plain(facts["optimizer"]))

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **facts: Any
    ) -> None:
        self.run.after_step(_plain(facts["optimizer"]))

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **facts: Any) -> None:
        metrics = facts["metrics"]
        several = isinstance(self.trainer.eval_dataset, dict)  # evaluated one by one, each with metrics of its own
        if self.monitor is None or not self.trainer.is_in_train or (several and self.monitor not in metrics):
            return
        if self.run.stop(score_of("regularize", metrics, self.monitor, self.mode)):
            control.should_training_stop = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **facts: Any) -> None:
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        if args.should_save and not args.save_only_model and folder.is_dir():
            torch.save(self.run.state_dict(), folder / f"{_FILE}.part")
            os.replace(folder / f"{_FILE}.part", folder / _FILE)  # a file that is there is whole

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **facts: Any) -> None:
        if self.restore:
            averaged = self.run.best is None and self.run.averaged is not None
            if averaged and args.load_best_model_at_end and state.best_model_checkpoint:
                self._go_back(Path(state.best_model_checkpoint) / _FILE)
            load_chosen(self.run, self.statistics)
            self.finished = True

    def _go_back(self, file: Path) -> None:
        """Give the run the averaged weights of the Trainer's best checkpoint: its score was theirs."""
        if file.is_file():
            self.run.averaged = torch.load(file, weights_only=True)["averaged"]  # None, if averaging began later
        else:
            warnings.warn(
                f"the best checkpoint has no {file.name}, for lack of which the last averaged weights stay. Leave out "
                "`TrainingArguments.save_only_model`, or add Patience, which keeps the best in memory.",
                PoiseWarning,
                stacklevel=2,
            )


def _plain(optimizer: Any) -> Optimizer:
    """Return torch's optimizer within accelerate's."""
    inner: Optimizer = getattr(optimizer, "optimizer", optimizer)
    return inner
