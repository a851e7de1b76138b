"""A network's answers on a data set, row by row: the loss, whether it was right, how sure it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.core.errors import ArgumentError, DataError, shown

__all__ = ["Answers", "Data", "RowLoss", "answers", "batches_of", "evaluating"]

Data = Any
"""A pair of tensors (inputs, targets), a `Dataset`, or an iterable of batches (a `DataLoader`)."""

RowLoss = Callable[[Any, Tensor], Tensor]
"""Takes outputs and targets of a batch, returns the loss of each row (B,)."""

_BATCH = 512


@dataclass(frozen=True)
class Answers:
    """What a network answered on n rows.

    Shapes: loss (n,) float64; right (n,) float64 of 0 and 1, and sure (n,), the largest probability, both None for
    numbers.
    """

    loss: np.ndarray
    right: np.ndarray | None
    sure: np.ndarray | None

    def __len__(self) -> int:
        return len(self.loss)


def batches_of(data: Data) -> Iterator[tuple[Any, Tensor]]:
    """Yield (inputs, targets) batches. Raises DataError for data of another form, naming what came."""
    if isinstance(data, (tuple, list)) and len(data) == 2 and all(isinstance(part, Tensor) for part in data):
        inputs, targets = data
        if len(inputs) != len(targets) or len(inputs) == 0:
            raise DataError(f"data must have one target a row, of 1 row or more; got {len(inputs)} and {len(targets)}.")
        yield from zip(inputs.split(_BATCH), targets.split(_BATCH), strict=True)
        return
    if isinstance(data, torch.utils.data.Dataset):
        data = torch.utils.data.DataLoader(data, batch_size=_BATCH)
    if not isinstance(data, Iterable):
        raise DataError(
            f"data must be (inputs, targets) tensors, a Dataset or a DataLoader; got {shown(data)}. "
            "Pass the rows that the network was trained on, and rows that it has not seen."
        )
    for batch in data:
        if not isinstance(batch, (tuple, list)) or len(batch) < 2:
            raise DataError(f"each batch must be (inputs, targets); got {shown(type(batch).__name__)}.")
        yield batch[0], torch.as_tensor(batch[1])


class evaluating:  # noqa: N801  # a context manager, used like a function
    """Put a network into evaluation mode without gradients; every submodule's own mode comes back at the end."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.modes = {m: m.training for m in model.modules()} if isinstance(model, nn.Module) else {}
        self.no_grad = torch.no_grad()

    def __enter__(self) -> None:
        self.no_grad.__enter__()
        if self.modes:
            self.model.eval()

    def __exit__(self, *error: Any) -> None:
        self.no_grad.__exit__(*error)
        for module, mode in self.modes.items():
            module.training = mode


def answers(model: Callable[[Any], Any], data: Data, loss: RowLoss | None = None) -> Answers:
    """Return a network's answers on all rows, in evaluation mode.

    Without `loss`: cross-entropy of logits (B, K) against classes (B,) or distributions (B, K), squared error
    averaged over the last dimensions for numbers.
    """
    losses: list[Tensor] = []
    right: list[Tensor] = []
    sure: list[Tensor] = []
    with evaluating(model):
        for inputs, targets in batches_of(data):
            outputs = model(inputs)
            own = loss(outputs, targets) if loss is not None else _usual(outputs, targets)
            if own.shape != (len(targets),):
                raise ArgumentError(
                    f"`gap.loss` must return one number a row, ({len(targets)},); got shape {tuple(own.shape)}. "
                    'Use reduction="none".'
                )
            losses.append(own.double())
            if _classifies(outputs, targets):
                chances = outputs.double().softmax(-1)
                wanted = targets.argmax(-1) if targets.dim() == outputs.dim() else targets
                right.append((chances.argmax(-1) == wanted).double())
                sure.append(chances.amax(-1))
    if not losses:
        raise DataError("data must have 1 row or more; got none. A generator that was used up gives none.")
    found = torch.cat(losses).cpu().numpy()
    if not np.isfinite(found).all():
        raise DataError(
            f"the network's loss is not finite on {int((~np.isfinite(found)).sum())} of {len(found)} rows. "
            "Training diverged, or the inputs hold NaN."
        )
    if not right:
        return Answers(found, None, None)
    return Answers(found, torch.cat(right).cpu().numpy(), torch.cat(sure).cpu().numpy())


def _classifies(outputs: Any, targets: Tensor) -> bool:
    if not isinstance(outputs, Tensor) or outputs.dim() != 2 or outputs.shape[-1] < 2:
        return False
    if not targets.is_floating_point():
        return targets.dim() == 1
    ones = targets.sum(-1) if targets.shape == outputs.shape else torch.zeros(1)
    return bool(torch.isclose(ones, torch.ones_like(ones), atol=1e-4).all() and (targets >= 0).all())


def _usual(outputs: Any, targets: Tensor) -> Tensor:
    if not isinstance(outputs, Tensor):
        raise ArgumentError(
            f"`gap.loss` must be given for outputs that are no tensor; got {type(outputs).__name__}. "
            "Pass a function of (outputs, targets) that returns one loss a row."
        )
    if _classifies(outputs, targets):
        return F.cross_entropy(outputs, targets, reduction="none")
    if targets.is_floating_point() and outputs.numel() == targets.numel():
        gaps = (outputs.reshape(targets.shape) - targets).square()
        return gaps.reshape(len(targets), -1).mean(1)
    if outputs.dim() == 3 and targets.dim() == 2:  # sequences: logits (B, T, K), tokens (B, T)
        return F.cross_entropy(outputs.movedim(-1, 1), targets, reduction="none").mean(1)
    raise ArgumentError(
        f"`gap.loss` must be given for outputs of shape {tuple(outputs.shape)} and targets of shape "
        f"{tuple(targets.shape)}, {targets.dtype}. Pass a function that returns one loss a row."
    )
