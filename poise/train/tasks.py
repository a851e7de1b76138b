"""The gradient of each task's own loss, for parts that weigh or mend them before they are summed."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from poise.core.recipe import Recipe
from poise.core.terms import data_keys, task_of
from poise.train.ranks import reduce_gradients

__all__ = ["TaskGradients", "wants_tasks"]


def wants_tasks(recipe: Recipe) -> bool:
    """Whether a part of the recipe reads the tasks' gradients, which cost one backward pass a task."""
    return any("tasks" in part.needs for part in recipe)


class TaskGradients:
    """Collects each task's gradients over the micro-batches of a step; nothing, unless a part of the recipe asks."""

    def __init__(self, recipe: Recipe) -> None:
        self.wanted = wants_tasks(recipe)
        self.sums: dict[str, dict[str, Tensor]] = {}
        self.count = 0

    def add(self, terms: Mapping[str, Tensor], params: Mapping[str, Tensor]) -> None:
        """Add the gradients of the data's terms; the graph is kept for the total's own backward pass."""
        if not self.wanted:
            return
        self.count += 1
        for key in data_keys(terms):
            own = self.sums.setdefault(task_of(key), {name: torch.zeros_like(p) for name, p in params.items()})
            if not terms[key].requires_grad:
                continue  # a task without a label in this batch
            found = torch.autograd.grad(terms[key], list(params.values()), retain_graph=True, allow_unused=True)
            for name, grad in zip(params, found, strict=True):
                if grad is not None:
                    own[name] += grad

    def forget(self) -> None:
        """Begin a new step: also after one that was left out, whose gradients must not count in the next."""
        self.sums, self.count = {}, 0

    def mean(self) -> dict[str, dict[str, Tensor]]:
        """Return the mean over micro-batches (and processes), and forget them: their losses were divided alike."""
        sums, count = self.sums, self.count
        self.forget()
        found = {task: {name: g / count for name, g in own.items()} for task, own in sums.items()}
        for task in sorted(found):
            reduce_gradients(found[task].values())
        return found
