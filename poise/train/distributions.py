"""Class indices as distributions, which is the form that mixing and smoothing work on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.core.errors import ArgumentError, shown
from poise.core.trees import map_tree
from poise.train.swap import kept_modes

__all__ = ["Classes", "classes_of", "distributions", "encoded", "task_distributions"]

Classes = int | Mapping[str, int] | None
"""K of a classification, K by class task, or None."""


def encoded(model: nn.Module, inputs: Any, targets: Any, classes: Classes, dtype: torch.dtype) -> tuple[Any, Classes]:
    """Return the targets with class indices as distributions, and the classes; unknown ones are the outputs' widths."""
    for own in targets.values() if isinstance(targets, Mapping) else (targets,):
        if not isinstance(own, Tensor) or own.dim() == 0:
            raise ArgumentError(
                "`Run.batch.targets` must be a tensor with a target a row, or a dict of such tensors by task; got "
                f"{shown(own)}. Use torch.as_tensor."
            )
    if isinstance(targets, Mapping):
        found = dict(classes) if isinstance(classes, Mapping) else {}
        unknown = [task for task, own in targets.items() if not own.is_floating_point() and task not in found]
        widths = classes_of(model, inputs) if unknown else {}
        found |= {task: widths[task] for task in unknown}
        return task_distributions(targets, found, dtype), found or None
    if isinstance(targets, Tensor) and targets.dim() == 1 and not targets.is_floating_point():
        count: int = classes or classes_of(model, inputs)  # type: ignore[assignment]  # one task has one number
        return distributions(targets, count, dtype), count
    return targets, classes


def classes_of(model: nn.Module, inputs: Any) -> Any:
    """Return the width of the model's output, of one row in evaluation mode; by task if the output is a dict.

    Raises: ArgumentError if the model takes floats and the inputs are still bytes.
    """
    with torch.no_grad(), kept_modes(model):
        try:
            outputs = model.eval()(map_tree(lambda values: values[:1], inputs))
        except RuntimeError as error:
            if not isinstance(inputs, Tensor) or inputs.dtype != torch.uint8:
                raise
            # Torch's own words are of two matrices' types.
            raise ArgumentError(
                "`Recipe.start.classes` must be the number of classes where images stay bytes (uint8) until "
                "`to_floats`; got None, and the model does not take bytes. Write recipe.start(model, classes=10)."
            ) from error
    return map_tree(lambda output: int(output.shape[-1]), outputs)


def distributions(targets: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Return class indices (B,) as (B, K) in the dtype of the outputs: stock losses take no other.

    >>> distributions(torch.tensor([1]), 2, torch.float32)
    tensor([[0., 1.]])
    """
    if classes < 2:
        # The only distribution over one class is 1: a label of 0 would become its opposite.
        raise ArgumentError(
            "`Run.batch.targets` must be floats where the model has one output; got class indices "
            f"({targets.dtype}). Pass targets.float(), as binary cross-entropy and squared error take them."
        )
    try:
        return F.one_hot(targets.long(), classes).to(dtype)
    except RuntimeError as error:
        # An index to be ignored has no distribution; torch's message names neither the number nor a way out.
        raise ArgumentError(
            f"`Run.batch.targets` must be classes from 0 to {classes - 1}; got {int(targets.min())} to "
            f"{int(targets.max())}. Leave rows without a label out, or name the task: targets {{'task': labels}} "
            "takes -1 for a missing label."
        ) from error


def task_distributions(targets: Mapping[str, Tensor], classes: Mapping[str, int], dtype: torch.dtype) -> Any:
    """Return the targets of several tasks with class indices as distributions; a class below 0 is missing: NaN.

    >>> task_distributions({"sex": torch.tensor([1, -1])}, {"sex": 2}, torch.float32)
    {'sex': tensor([[0., 1.],
            [nan, nan]])}
    """

    def known(indices: Tensor, count: int) -> Tensor:
        found = distributions(indices.clamp(min=0), count, dtype)
        return found.masked_fill((indices < 0).unsqueeze(-1), torch.nan)

    return {t: own if own.is_floating_point() else known(own, classes[t]) for t, own in targets.items()}
