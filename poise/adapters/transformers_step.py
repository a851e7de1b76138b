"""The batch and objective stages around `Trainer.compute_loss`, on batches that are dicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Trainer

from poise.adapters.batches import Parts
from poise.batch import LabelSmoothing
from poise.core.errors import ArgumentError
from poise.core.inserted import begin_pass
from poise.core.recipe import Recipe
from poise.train.run import Run

__all__ = ["Logits", "Step"]

_NUMBERS = ("pixel_values", "inputs_embeds", "input_values", "input_features")  # inputs that can be mixed or shaken


class Logits(nn.Module):
    """A transformers model as parts see a network: it maps inputs to logits. Inputs are a dict without labels."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.key = str(getattr(model, "main_input_name", "input_ids"))

    def forward(self, inputs: Any) -> Any:
        """Return the logits; one tensor is what the batch stage edited."""
        return logits_of(self.model(**(inputs if isinstance(inputs, Mapping) else {self.key: inputs})))


def logits_of(outputs: Any) -> Any:
    """Return the logits of a model's output, or the output if it has none."""
    return outputs["logits"] if isinstance(outputs, Mapping) and "logits" in outputs else outputs


class Step:
    """What stands in for `trainer.compute_loss`; in evaluation it is the Trainer's own."""

    def __init__(self, trainer: Trainer, run: Run, recipe: Recipe, parts: Parts | None) -> None:
        self.trainer = trainer
        self.run = run
        self.recipe = recipe
        self.parts = parts
        self.own = trainer.compute_loss

    def __call__(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        if not self.run.model.model.training:  # type: ignore[union-attr]  # the run's model is a Logits
            return self.own(model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch)
        needy = [part.name for part in self.recipe if "closure" in part.needs]
        if needy and self.trainer.args.gradient_accumulation_steps != 1:
            raise ArgumentError(
                f"`TrainingArguments.gradient_accumulation_steps` must be 1, because {needy[0]} repeats a whole step."
            )

        def again() -> None:
            self.trainer.accelerator.backward(self._objective(model, inputs, num_items_in_batch)[0])

        self.run.prepare(again)
        total, outputs = self._objective(model, inputs, num_items_in_batch)
        return (total, outputs) if return_outputs else total

    def _objective(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None
    ) -> tuple[Tensor, Any]:
        """Return the loss with the recipe's terms, scaled as the Trainer expects it, and the model's outputs."""
        given = self._edited(inputs)
        steps = self.trainer.current_gradient_accumulation_steps
        scaled = self._is_scaled(num_items_in_batch)
        begin_pass(self.run.model)  # the Trainer calls the model, not the root around it
        if _is_soft(inputs, given) and self.trainer.compute_loss_func is None:
            # The models' own losses take class indices; numbers of two dimensions mean several labels a row to them.
            outputs = model(**{name: value for name, value in given.items() if name != "labels"})
            loss = F.cross_entropy(logits_of(outputs), given["labels"])
        else:
            loss, outputs = self.own(model, given, return_outputs=True, num_items_in_batch=num_items_in_batch)
            # A part of the sum over all micro-batches; the recipe's terms are made for a mean.
            loss = loss * steps if scaled else loss
        total = self.run.objective(loss, outputs=logits_of(outputs))
        return (total / steps if scaled else total), outputs

    def _is_scaled(self, num_items_in_batch: Tensor | int | None) -> bool:
        """Whether the Trainer takes the loss for one that is already divided by the number of micro-batches."""
        told = getattr(self.trainer, "loss_is_scaled_for_ga", None)
        if told is not None:
            return bool(told)
        trainer = self.trainer
        own = trainer.model_accepts_loss_kwargs and num_items_in_batch is not None
        return bool(own or trainer.compute_loss_func is not None)

    def _edited(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return the batch after the batch stage, a new dict."""
        if self.parts is not None:
            take, put = self.parts
            return dict(put(inputs, *self.run.batch(*take(inputs))))
        labels = inputs.get("labels")
        rest = {name: value for name, value in inputs.items() if name != "labels"}
        if not self.recipe.stage("batch"):
            if labels is not None:
                self.run.batch(rest, labels)  # for parts that look at the batch
            return dict(inputs)
        self._check(labels)
        key = next((name for name in _NUMBERS if name in rest), None)
        if key is None:
            if edits := [p.name for p in self.recipe.stage("batch") if not isinstance(p, LabelSmoothing)]:
                raise ArgumentError(
                    f"`regularize.recipe` must not edit inputs that are ids; {', '.join(edits)} would, and the batch "
                    f"has {', '.join(rest)}. Leave it out, or give the model inputs_embeds."
                )
            _rest, labels = self.run.batch(rest, labels)
            return {**rest, "labels": labels}
        self.run.model.key = key  # type: ignore[assignment]  # the run's model is a Logits
        values, labels = self.run.batch(rest[key], labels)
        return {**rest, key: values, "labels": labels}

    def _check(self, labels: Tensor | None) -> None:
        """Raise ArgumentError if the batch stage's parts cannot edit these batches."""
        names = ", ".join(part.name for part in self.recipe.stage("batch"))
        if labels is None or not (labels.dim() == 1 or labels.is_floating_point()):
            shape = "none" if labels is None else f"those of shape {tuple(labels.shape)}"
            raise ArgumentError(
                f"`labels` must be one class or number a row for {names}; got {shape}. For tokens, "
                "TrainingArguments.label_smoothing_factor smooths."
            )
        if self.trainer.label_smoother is not None:
            raise ArgumentError(f"`TrainingArguments.label_smoothing_factor` must be 0 beside {names}.")


def _is_soft(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether class indices have become distributions."""
    labels = before.get("labels")
    return labels is not None and not labels.is_floating_point() and after["labels"].is_floating_point()
