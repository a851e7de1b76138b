"""What the weightings of several tasks have in common: they scale the loss of each task that they name."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from poise.core.context import Context
from poise.core.errors import ArgumentError, shown
from poise.core.regularizer import Memory, Regularizer
from poise.core.terms import data_keys, task_of

__all__ = ["Weighting", "wide"]


def wide(params: Mapping[str, Tensor]) -> torch.dtype:
    """Return the dtype in which a weighting keeps its numbers: the parameters', float32 at least."""
    return torch.promote_types(next(iter(params.values())).dtype, torch.float32)


@dataclass(frozen=True, kw_only=True)
class Weighting(Regularizer, abstract=True):
    """Scales the loss of each task that `tasks` names: subclasses give `weigh`; other tasks and terms stay."""

    tasks: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.tasks
        texts = isinstance(given, tuple) and all(isinstance(task, str) for task in given)
        if not texts or not given or len(set(given)) < len(given):
            raise ArgumentError(
                f"`{type(self).__name__}.tasks` must be a tuple of distinct task names; got {shown(given)}. "
                'Name the keys of the loss, as in tasks=("age", "income").'
            )

    @abstractmethod
    def weigh(self, losses: Tensor, memory: Memory, ctx: Context) -> tuple[Tensor, Memory]:
        """Return the weights (T,) of this step and the new memory; losses (T,) come without gradient.

        A loss of exactly 0 is that of a task without a label in the batch, and moves nothing.
        """

    def objective(self, terms: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        keys = {task_of(key): key for key in data_keys(terms)}
        for task in self.tasks:
            if task not in keys:
                raise ArgumentError(
                    f"`{type(self).__name__}.tasks` must be tasks of the loss, {', '.join(keys)}; got {shown(task)}. "
                    'Give the loss as a dict by task: run.objective({"age": ..., "income": ...}).'
                )
        own = [terms[keys[task]] for task in self.tasks]
        weights, memory = self.weigh(torch.stack([loss.detach() for loss in own]), memory, ctx)
        scaled = {keys[t]: w.to(loss.dtype) * loss for t, w, loss in zip(self.tasks, weights, own, strict=True)}
        return terms | scaled, memory
