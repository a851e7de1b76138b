"""The data's loss: soft cross-entropy for classes, squared error for numbers; weighted means over rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from poise.core.blocks import Blocks
from poise.core.context import Batch
from poise.core.errors import ArgumentError
from poise.core.means import each_row

__all__ = ["CrossEntropy", "Loss", "SeveralLosses", "SquaredError", "on_device", "summed_loss", "usual_loss"]

Loss = Callable[[Tensor, Batch], Tensor | dict[str, Tensor]]
"""Takes one member's outputs and batch, returns the data's loss (0-d), or a dict with that of each task."""


def summed_loss(loss: Loss, outputs: Tensor, batch: Batch) -> Tensor:
    """Return the data's loss (0-d), that of several tasks summed."""
    found = loss(outputs, batch)
    return found if isinstance(found, Tensor) else torch.stack([*found.values()]).sum()


def _mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean over rows; with weights, sum(w v) / sum(w), 0 if all weights are 0.

    A row of several values, such as a text's, counts by their mean: (B, T) times (B,) would pair rows with others.
    """
    if weights is None:
        return values.mean()
    values = each_row(values) if weights.dim() < values.dim() else values
    return (values * weights).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)


def _check_shapes(owner: str, outputs: Tensor, targets: Tensor, hint: str) -> None:
    """Raise ArgumentError if the shapes differ: broadcasting would pair every row with every other."""
    if outputs.shape != targets.shape:
        raise ArgumentError(
            f"`{owner}` must have outputs and targets of one shape; got {tuple(outputs.shape)} and "
            f"{tuple(targets.shape)}. {hint}"
        )


@dataclass(frozen=True)
class CrossEntropy:
    """-sum_k w_k t_k log softmax(outputs)_k, averaged over rows.

    Shapes: outputs (B, ..., K), targets (B, ..., K) distributions, class_weights (K,). With class weights the mean
    divides by the rows' weights only, so that mixing two targets mixes their two losses.
    Raises: ArgumentError if the shapes differ.
    """

    class_weights: Tensor | None = None

    def __call__(self, outputs: Tensor, batch: Batch) -> Tensor:
        _check_shapes("CrossEntropy", outputs, batch.targets, "Encode classes with torch.nn.functional.one_hot.")
        targets = batch.targets if self.class_weights is None else batch.targets * self.class_weights
        return _mean(-(targets * F.log_softmax(outputs, dim=-1)).sum(-1), batch.weights)


@dataclass(frozen=True)
class SquaredError:
    """(outputs - targets)^2 averaged over rows and targets. Shapes: both (B, T), or (B, 1) or (B,) for one target.

    Raises: ArgumentError if the shapes differ.
    """

    def __call__(self, outputs: Tensor, batch: Batch) -> Tensor:
        answers, targets = (t.unsqueeze(-1) if t.dim() == 1 else t for t in (outputs, batch.targets))
        _check_shapes("SquaredError", answers, targets, "Give the network as many outputs as there are targets.")
        return _mean(torch.square(answers - targets).mean(-1), batch.weights)


def usual_loss(outputs: Any, batch: Batch, classes: object) -> Tensor:
    """Return the loss that targets of this form usually have: cross-entropy for classes, squared error for numbers.

    Class indices, or distributions when `classes` is known; other floats are numbers to predict.

    Shapes: outputs (B, ..., K), class indices (B, ...); others as of the two losses.
    Raises: ArgumentError for targets that these two do not know: several tasks, an index to be ignored, one logit.
    """
    targets: Any = batch.targets
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
        raise ArgumentError(_asked_for_loss(f"a {type(outputs).__name__} and a {type(targets).__name__}"))
    if not targets.is_floating_point():
        targets = _as_distributions(targets, outputs)
    elif classes is None:
        return SquaredError()(outputs, batch)
    return CrossEntropy()(outputs, batch._replace(targets=targets))


def _as_distributions(targets: Tensor, outputs: Tensor) -> Tensor:
    """Return class indices (B, ...) as distributions over the K of outputs (B, ..., K)."""
    if outputs.shape[:-1] == targets.shape and outputs.shape[-1] > 1:
        try:
            return F.one_hot(targets.long(), outputs.shape[-1]).to(outputs.dtype)
        except RuntimeError:  # an index that is no class; looked for here alone, not in each step
            pass
    raise ArgumentError(
        _asked_for_loss(
            f"outputs {tuple(outputs.shape)} and {tuple(targets.shape)} classes from {int(targets.min())} to "
            f"{int(targets.max())}"
        )
    )


def _asked_for_loss(got: str) -> str:
    return (
        "`Recipe.start.loss` must be given unless targets are numbers, or classes (B, ...) from 0 to K - 1 of outputs "
        f"(B, ..., K), K > 1; got {got}. Write recipe.start(model, loss=yours), your loop's function of (outputs, "
        "targets)."
    )


@dataclass(frozen=True)
class SeveralLosses:
    """Each task's loss on its own columns, {name: loss / number of tasks}; their sum is the mean over tasks.

    A row counts for a task by its weight times how far its label is known; a task that no row of the batch knows
    costs 0. A row mixed of two, one with a label and one without, therefore costs what its known share would: for
    cross-entropy and squared error, the gradient is that of the two rows' losses mixed.

    >>> blocks = Blocks((None, None), presence=True)
    >>> losses = SeveralLosses(("a", "b"), blocks, (SquaredError(), SquaredError()))
    >>> targets = torch.tensor([[1.0, 3.0, 1.0, 1.0], [2.0, 0.0, 1.0, 0.0]])
    >>> losses(torch.zeros(2, 2), Batch(None, targets))
    {'a': tensor(1.2500), 'b': tensor(4.5000)}
    """

    names: tuple[str, ...]
    blocks: Blocks
    losses: tuple[CrossEntropy | SquaredError, ...]

    def __call__(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {
            name: loss(self.blocks.own(outputs, task), self._batch(batch, task)) / len(self.losses)
            for task, (name, loss) in enumerate(zip(self.names, self.losses, strict=True))
        }

    def _batch(self, batch: Batch, task: int) -> Batch:
        own, known = self.blocks.own(batch.targets, task), self.blocks.known(batch.targets, task)
        if known is None:
            return batch._replace(targets=own)
        # A mixed row's block holds its known share of a label; divided by it, the label is whole again.
        whole = own / torch.where(known > 0, known, 1.0).unsqueeze(-1)
        return batch._replace(targets=whole, weights=known if batch.weights is None else batch.weights * known)


def on_device(loss: Any, device: torch.device | str) -> Any:
    """Return a loss with the tensors of its fields, such as class weights, on a device; others' losses as they are."""
    if isinstance(loss, Tensor):
        return loss.to(device)
    if isinstance(loss, tuple):
        return tuple(on_device(one, device) for one in loss)
    if is_dataclass(loss) and not isinstance(loss, type):
        return replace(loss, **{f.name: on_device(getattr(loss, f.name), device) for f in fields(loss) if f.init})
    return loss
