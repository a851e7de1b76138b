"""What terms over rows share: the rows and outputs of the step, and how far two outputs are from one another."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from poise.core.context import Batch, Context
from poise.core.dial import DialValue, like
from poise.core.errors import ArgumentError, shown
from poise.core.means import each_row, wide

__all__ = ["batch_of", "classifies", "divergence", "float_inputs", "outputs_of", "tasks_of", "weights_of"]


def classifies(ctx: Context) -> bool:
    """Whether outputs are logits of classes: the run says how many, or the targets are class indices."""
    targets: Any = None if ctx.batch is None else ctx.batch.targets
    return ctx.classes is not None or (isinstance(targets, Tensor) and not targets.is_floating_point())


def tasks_of(outputs: Tensor, ctx: Context) -> list[tuple[Tensor, bool]]:
    """Return each task's outputs and whether they are logits of classes; without `ctx.blocks` there is one task."""
    if ctx.blocks is None:
        return [(outputs, classifies(ctx))]
    return [(ctx.blocks.own(outputs, task), k is not None) for task, k in enumerate(ctx.blocks.classes)]


def divergence(reference: Tensor, answers: Tensor, ctx: Context, temperature: DialValue = 1.0) -> Tensor:
    """Return how far each row's answers are from the reference, 0 if they are equal; of several tasks the mean.

    For classes T^2 KL(softmax(reference / T) || softmax(answers / T)), over the last dimension. For numbers the mean
    squared difference, which is twice the divergence of two normal laws of variance 1, at any temperature.

    Shapes: both (B, ...) of one shape; found (B,).

    >>> from poise.core.rng import Rng, key
    >>> fair, biased = torch.zeros(1, 2), torch.tensor([[0.75, 0.25]]).log()
    >>> divergence(fair, biased, Context(0, Rng(key(0)), classes=2)).round(decimals=4)
    tensor([0.1438])
    """
    pairs = zip(tasks_of(wide(reference), ctx), tasks_of(wide(answers), ctx), strict=True)
    found = []
    for (expected, classes), (got, _) in pairs:
        if classes:
            degree = like(temperature, got)
            first, second = F.log_softmax(expected / degree, -1), F.log_softmax(got / degree, -1)
            gaps = degree * degree * (first.exp() * (first - second)).sum(-1)
        else:
            gaps = (expected - got).square()
        found.append(each_row(gaps))
    return torch.stack(found).mean(0)


def batch_of(ctx: Context, owner: str) -> Batch:
    """Return the rows of the step. Raises: ArgumentError if the run was not given them."""
    if ctx.batch is None:
        raise ArgumentError(f"`{owner}` must see the rows; got none. Pass them: x, y = run.batch(x, y).")
    return ctx.batch


def weights_of(ctx: Context) -> Tensor | None:
    """Return the rows' weights, None if they are equal or the run was not given the rows."""
    return None if ctx.batch is None else ctx.batch.weights


def outputs_of(ctx: Context, owner: str) -> Tensor:
    """Return the outputs of the step. Raises: ArgumentError if they were not given, or are not one tensor of floats."""
    outputs: Any = ctx.outputs
    if not isinstance(outputs, Tensor) or not outputs.is_floating_point():
        got = "none" if outputs is None else shown(type(outputs).__name__)
        raise ArgumentError(
            f"`{owner}` must see the network's outputs, one tensor of floats; got {got}. "
            "Pass them: run.objective(loss, outputs=out)."
        )
    return outputs


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
