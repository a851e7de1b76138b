"""Hard sharing: one trunk, a head for each task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from poise.core.errors import ArgumentError, shown

__all__ = ["MultiTask", "check_tasks"]


def check_tasks(owner: str, tasks: Mapping[str, Any]) -> None:
    """Raise ArgumentError unless there is a task, and each has a name that a module may have."""
    taken = nn.ModuleDict()
    for task in tasks:
        plain = isinstance(task, str) and task and "." not in task and "/" not in task
        if not plain or hasattr(taken, task):
            raise ArgumentError(
                f"`{owner}` must have tasks named by text without '.' and '/', other than a word of nn.ModuleDict; "
                f"got {shown(task)}. The name is a key among the modules and the terms of the loss."
            )
    if not tasks:
        raise ArgumentError(f"`{owner}` must have at least one task; got none. Write {{'age': nn.Linear(16, 1)}}.")


class MultiTask(nn.Module):
    """A trunk that all tasks share, and a head for each task.

    outputs_t = head_t(trunk(inputs)). The classic form of multi-task learning: the trunk is trained on every task's
    rows, so that a task with few labels borrows what the others need too. It helps where the tasks want the same
    features and hurts where they do not; compare with a network for each task (docs/multitask.md). Costs one trunk,
    whatever the number of tasks.

    Shapes: inputs as the trunk takes them; each head takes the trunk's output, and the outputs are a dict by task.
    Raises: ArgumentError if there is no task, or a task's name cannot name a module.
    Source: Caruana 1997, "Multitask learning", section 1.1; Goodfellow, Bengio and Courville 2016, figure 7.2.

    >>> import torch
    >>> model = MultiTask(nn.Linear(4, 8), {"age": nn.Linear(8, 1), "species": nn.Linear(8, 3)})
    >>> {task: tuple(outputs.shape) for task, outputs in model(torch.zeros(2, 4)).items()}
    {'age': (2, 1), 'species': (2, 3)}
    """

    def __init__(self, trunk: nn.Module, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        check_tasks("MultiTask.heads", heads)
        self.trunk = trunk
        self.heads = nn.ModuleDict(heads)

    def forward(self, inputs: Any) -> dict[str, Tensor]:
        """Return each task's outputs by its name."""
        shared = self.trunk(inputs)
        return {task: head(shared) for task, head in self.heads.items()}
