"""The batch and objective stages around Lightning's call of `training_step`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl

from poise.adapters.batches import edited
from poise.core.errors import ArgumentError
from poise.core.inserted import begin_pass
from poise.core.terms import data_keys

if TYPE_CHECKING:
    from poise.adapters.lightning import Regularize

__all__ = ["Step", "validation_is_due"]


class Step:
    """What stands in for `strategy.training_step` during fit: so nothing is put on the user's module."""

    def __init__(self, owner: Regularize, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.owner = owner
        self.trainer = trainer
        self.pl_module = pl_module
        self.own: Callable[..., Any] = trainer.strategy.training_step

    def __call__(self, batch: Any, *rest: Any, **named: Any) -> Any:
        # The tuners (learning rate, batch size) train for a while with the callbacks taken out.
        callbacks: list[Any] = self.trainer.callbacks  # type: ignore[attr-defined]  # set by one of its connectors
        if self.owner not in callbacks or not self.pl_module.automatic_optimization:
            return self.own(batch, *rest, **named)
        step = functools.partial(self._regularized, batch, *rest, **named)
        self._prepare(step)
        output = step()
        terms = self.owner.run.terms
        for name in terms.keys() - data_keys(terms):
            self.pl_module.log(f"poise/{name}", terms[name], on_step=True, on_epoch=False, batch_size=1)
        return output

    def _regularized(self, batch: Any, *rest: Any, **named: Any) -> Any:
        """Return what `training_step` returns, with the recipe's terms added to its loss."""
        run, seen = self.owner.run, []
        begin_pass(run.model)  # a step may call submodules of the root alone
        hook = run.model.register_forward_hook(lambda _module, _inputs, outputs: seen.append(outputs))
        try:
            batch = edited("Regularize", run, self.owner.recipe, batch, self.owner.parts)
            output = self.own(batch, *rest, **named)
        finally:
            hook.remove()
        outputs = seen[-1] if seen else None
        if isinstance(output, Mapping) and "loss" in output:
            return {**output, "loss": run.objective(output["loss"], outputs=outputs)}
        return output if output is None else run.objective(output, outputs=outputs)

    def _prepare(self, step: Callable[[], Any]) -> None:
        """Tell the run how to repeat the step, for parts that need the gradient at other weights."""
        needy = [part.name for part in self.owner.recipe if "closure" in part.needs]
        if needy and self.trainer.accumulate_grad_batches != 1:
            raise ArgumentError(
                f"`Trainer.accumulate_grad_batches` must be 1, because {needy[0]} repeats a whole step; got "
                f"{self.trainer.accumulate_grad_batches}."
            )
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)

        def again() -> None:
            with _muted(self.pl_module):
                output = step()
            loss = output["loss"] if isinstance(output, Mapping) else output
            (loss if scaler is None else scaler.scale(loss)).backward()

        self.owner.run.prepare(again, scaler)


def validation_is_due(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Return whether Lightning validates between this batch and the next."""
    every = trainer.check_val_every_n_epoch
    if not trainer.enable_validation or (every is not None and (trainer.current_epoch + 1) % every):
        return False
    if trainer.val_check_batch in (None, float("inf")):
        return trainer.is_last_batch
    done = batch_idx if every is not None else trainer.fit_loop.total_batch_idx
    return bool((done + 1) % trainer.val_check_batch == 0)


@contextmanager
def _muted(pl_module: pl.LightningModule) -> Iterator[None]:
    """Drop what the module logs: a repeated step was logged the first time."""
    names = ("log", "log_dict")
    try:
        pl_module.__dict__.update(dict.fromkeys(names, _drop))
        yield
    finally:
        for name in names:
            del pl_module.__dict__[name]


def _drop(*_: Any, **__: Any) -> None:
    pass
