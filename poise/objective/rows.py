"""What terms over rows share: the rows and outputs of the step, and how far two outputs are from one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from poise.core.context import Batch, Context
from poise.core.dial import DialValue, like
from poise.core.errors import ArgumentError
from poise.core.means import each_row, wide

__all__ = [
    "Outputs",
    "batch_of",
    "check_logits",
    "classifies",
    "divergence",
    "float_inputs",
    "outputs_of",
    "tasks_of",
    "weights_of",
]


Outputs = Tensor | Mapping[str, Tensor]
"""What a network answers: one tensor, or with a head for each task a dict of tensors."""


def classifies(ctx: Context, task: str | None = None, outputs: Tensor | None = None) -> bool:
    """Whether outputs are logits of classes: the run says how many, or the targets are class indices.

    Integers of the shape of the outputs are numbers, or several labels a row, as such floats are.
    """
    targets: Any = None if ctx.batch is None else ctx.batch.targets
    classes: Any = ctx.classes
    if task is not None:
        targets = targets.get(task) if isinstance(targets, Mapping) else None
        classes = classes.get(task) if isinstance(classes, Mapping) else None
    if classes is not None or not isinstance(targets, Tensor):
        return classes is not None
    return not targets.is_floating_point() and (outputs is None or targets.shape != outputs.shape)


def tasks_of(outputs: Outputs, ctx: Context) -> list[tuple[Tensor, bool]]:
    """Return each task's outputs, in float32 at least, and whether they are logits of classes."""
    if isinstance(outputs, Mapping):
        return [(wide(own), classifies(ctx, task, own)) for task, own in outputs.items()]
    if ctx.blocks is None:
        return [(wide(outputs), classifies(ctx, None, outputs))]
    return [(wide(ctx.blocks.own(outputs, task)), k is not None) for task, k in enumerate(ctx.blocks.classes)]


def divergence(reference: Outputs, answers: Outputs, ctx: Context, temperature: DialValue = 1.0) -> Tensor:
    """Return how far each row's answers are from the reference, 0 if they are equal; of several tasks the mean.

    For classes T^2 KL(softmax(reference / T) || softmax(answers / T)), over the last dimension. For numbers the mean
    squared difference, which is twice the divergence of two normal laws of variance 1, at any temperature.

    Shapes: both (B, ...) of one shape, or a dict of such tensors; found (B,).
    Raises: ArgumentError if the two differ in shape or tasks, or outputs of classes are not logits of two or more.

    >>> from poise.core.rng import Rng, key
    >>> fair, biased = torch.zeros(1, 2), torch.tensor([[0.75, 0.25]]).log()
    >>> divergence(fair, biased, Context(0, Rng(key(0)), classes=2)).round(decimals=4)
    tensor([0.1438])
    """
    if _shapes_of(reference) != _shapes_of(answers):  # broadcasting would pair every row with every other
        raise ArgumentError(
            f"outputs that are compared must have one shape; got {_shapes_of(reference)} and {_shapes_of(answers)}. "
            "Let the teacher return what the network returns."
        )
    if isinstance(reference, Mapping) and isinstance(answers, Mapping):
        answers = {task: answers[task] for task in reference}
    pairs = zip(tasks_of(reference, ctx), tasks_of(answers, ctx), strict=True)
    found = []
    for (expected, classes), (got, _) in pairs:
        if classes:
            check_logits(got, ctx)
            degree = like(temperature, got)
            first, second = F.log_softmax(expected / degree, -1), F.log_softmax(got / degree, -1)
            gaps = degree * degree * (first.exp() * (first - second)).sum(-1)
        else:
            gaps = (expected - got).square()
        found.append(each_row(gaps))
    return torch.stack(found).mean(0)


def _shapes_of(outputs: Outputs) -> Any:
    if isinstance(outputs, Mapping):
        return {task: tuple(own.shape) for task, own in outputs.items()}
    return tuple(outputs.shape)


def check_logits(outputs: Tensor, ctx: Context) -> None:
    """Raise ArgumentError unless the outputs are logits of two classes or more, classes last.

    One logit has the softmax 1 whatever it says. Of class indices (B, ...) the shape shows that the classes come
    second, as torch's cross-entropy takes images; the softmax would then run over a side of the image.
    """
    targets: Any = None if ctx.batch is None else ctx.batch.targets
    shape = tuple(outputs.shape)
    if isinstance(targets, Tensor) and not targets.is_floating_point() and targets.dim() > 1:
        given = tuple(targets.shape)
        if given == (*shape[:1], *shape[2:]) and given != shape[:-1]:
            raise ArgumentError(
                f"outputs of classes must be logits (B, ..., K), classes last; got {shape} for targets {given}. "
                "Let the model return its classes last, and move them for your loss."
            )
    if len(shape) < 2 or shape[-1] < 2:
        raise ArgumentError(
            f"outputs of classes must be logits (B, ..., K) of at least two; got {shape}. Give the network an output "
            "for each class, or float targets if its one output is a number."
        )


def batch_of(ctx: Context, owner: str) -> Batch:
    """Return the rows of the step. Raises: ArgumentError if the run was not given them."""
    if ctx.batch is None:
        raise ArgumentError(f"`{owner}` must see the rows; got none. Pass them: x, y = run.batch(x, y).")
    return ctx.batch


def weights_of(ctx: Context) -> Tensor | None:
    """Return the rows' weights, None if they are equal or the run was not given the rows."""
    return None if ctx.batch is None else ctx.batch.weights


def outputs_of(ctx: Context, owner: str) -> Outputs:
    """Return the outputs of the step. Raises: ArgumentError if they were not given, or are not tensors of floats."""
    outputs: Any = ctx.outputs
    each = list(outputs.values()) if isinstance(outputs, Mapping) else [outputs]
    if not each or not all(isinstance(own, Tensor) and own.is_floating_point() for own in each):
        got = "none" if outputs is None else f"a {type(outputs).__name__}"
        raise ArgumentError(
            f"`{owner}` must see the network's outputs, a tensor of floats or one for each task; got {got}. "
            "Pass them: run.objective(loss, outputs=out)."
        )
    return outputs  # type: ignore[no-any-return]  # checked above


def float_inputs(ctx: Context, owner: str) -> Tensor:
    """Return the inputs of the step. Raises: ArgumentError if they are not one tensor of floats."""
    inputs = batch_of(ctx, owner).inputs
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
        got = str(inputs.dtype) if isinstance(inputs, Tensor) else f"a {type(inputs).__name__}"
        raise ArgumentError(
            f"`{owner}` must have inputs that are one tensor of floats, because it differentiates by them; got {got}. "
            "Encode categories as one-hot columns."
        )
    return inputs
