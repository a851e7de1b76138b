"""The data's losses of several tasks, where a row may lack the label of some of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from poise.core.context import Batch
from poise.core.errors import ArgumentError, shown

__all__ = ["RowLoss", "TaskLosses"]

RowLoss = Callable[[Tensor, Tensor], Tensor]
"""Takes outputs and targets (missing ones filled with 0), returns the loss of each row (B,)."""


@dataclass(frozen=True)
class TaskLosses:
    """A loss for each task, the mean over the rows that have its label.

    `kinds` says for each task how it is measured: "numbers" (squared error), "classes" (cross-entropy), or a function
    (outputs, targets) -> (B,). Use it as the loss of a `Population`, or in a loop: run.objective(losses(outputs,
    targets)). A label is missing where a number is NaN, a class is -1 (any negative), or a distribution holds NaN.
    Such a row adds nothing to the task's loss and sends no gradient; a task without any label in a batch has the loss
    0. Mixup and smoothing keep missing labels missing: a row that was mixed with a row without the label lacks it.

    Shapes: outputs and targets are dicts by task. "numbers": both (B,), (B, 1) or (B, T), in which single entries may
        be missing. "classes": outputs (B, K), targets (B,) int64 or (B, K) distributions. The results are 0-d.
    Raises: ArgumentError if a task lacks outputs or targets, or their shapes do not fit.

    >>> losses = TaskLosses({"age": "numbers", "sex": "classes"})
    >>> outputs = {"age": torch.tensor([1.0, 5.0]), "sex": torch.zeros(2, 2)}
    >>> losses(outputs, {"age": torch.tensor([3.0, float("nan")]), "sex": torch.tensor([-1, -1])})
    {'age': tensor(4.), 'sex': tensor(0.)}
    """

    kinds: Mapping[str, str | RowLoss]

    def __post_init__(self) -> None:
        for task, kind in self.kinds.items():
            if kind not in ("numbers", "classes") and not callable(kind):
                raise ArgumentError(
                    f"`TaskLosses.kinds[{task!r}]` must be 'numbers', 'classes' or a function (outputs, targets) -> "
                    f"(B,); got {shown(kind)}. Use 'classes' for class indices and distributions."
                )
        if not self.kinds:
            raise ArgumentError("`TaskLosses.kinds` must name at least one task; got none. Write {'age': 'numbers'}.")

    def __call__(self, outputs: Mapping[str, Tensor], batch: Batch | Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss of each task; `batch` is a Batch whose targets are a dict, or that dict itself."""
        targets: Any = batch.targets if isinstance(batch, Batch) else batch
        weights = batch.weights if isinstance(batch, Batch) else None
        for word, given in (("outputs", outputs), ("targets", targets)):
            if not isinstance(given, Mapping) or any(task not in given for task in self.kinds):
                raise ArgumentError(
                    f"`TaskLosses` must get {word} by task, of {', '.join(self.kinds)}; got {_named(given)}. "
                    "Fill what is missing with NaN, or with class -1."
                )
        return {t: _mean(*_rows(t, kind, outputs[t], targets[t]), weights) for t, kind in self.kinds.items()}


def _rows(task: str, kind: str | RowLoss, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return (losses, present) of one shape, (B,) or (B, T); what is missing was filled with 0 beforehand."""
    known = ~torch.isnan(targets) if targets.is_floating_point() else targets >= 0
    # Filled before any arithmetic: NaN times a zero gradient is NaN.
    filled = torch.where(known, targets, torch.zeros_like(targets))
    if kind == "numbers":
        if targets.dim() == 1 and outputs.dim() == 2:
            known, filled = known.unsqueeze(-1), filled.unsqueeze(-1)
        _check(task, outputs.shape == filled.shape, "outputs and targets of one shape", outputs, targets)
        return torch.square(outputs - filled), known
    present = known if targets.dim() == 1 else known.flatten(1).all(-1)
    if kind != "classes":
        assert not isinstance(kind, str)
        values = kind(outputs, filled)
        _check(task, values.shape == present.shape, "one loss a row", values, present)
        return values, present
    if not targets.is_floating_point():
        _check(task, outputs.dim() == 2 and targets.dim() == 1, "outputs (B, K) and classes (B,)", outputs, targets)
        return F.cross_entropy(outputs, filled.long(), reduction="none"), present
    _check(task, outputs.shape == targets.shape, "outputs and distributions of one shape", outputs, targets)
    return -(filled * F.log_softmax(outputs, dim=-1)).sum(-1), present


def _mean(values: Tensor, present: Tensor, weights: Tensor | None) -> Tensor:
    """Return the weighted mean over what is present, 0 for nothing."""
    share = present.to(values.dtype)
    if weights is not None:
        share = share * weights.reshape(-1, *[1] * (share.dim() - 1)).to(share)
    total = share.sum()
    # A row's own function may give NaN at the filling: `where` keeps it out of the value.
    masked = torch.where(present, values, torch.zeros_like(values))
    return (masked * share).sum() / torch.where(total > 0, total, torch.ones_like(total))


def _named(given: Any) -> str:
    return ", ".join(map(str, given)) if isinstance(given, Mapping) else f"a {type(given).__name__}"


def _check(task: str, fits: bool, rule: str, first: Tensor, second: Tensor) -> None:
    if not fits:
        raise ArgumentError(
            f"the task {task!r} must have {rule}; got {tuple(first.shape)} and {tuple(second.shape)}. "
            "Give its head as many outputs as the task has classes or numbers."
        )
