"""The parts of a step that kernels do: each is put on a list, and all run for one member before the next begins.

So a member's batch, activations, gradients and weights stay in the core's cache from the gather to the average. What
has no kernel runs by torch, once the list so far has been run.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from poise.kernels.members import run_jobs

__all__ = ["Work", "is_plain"]


class Work:
    """Jobs that wait to be run for every member. Tensors that a job fills are not to be read before `run`."""

    def __init__(self, members: int) -> None:
        self.members = members
        self.jobs: list[tuple[str, ctypes.Structure]] = []
        self.scratch = 1
        self.held: list[Any] = []
        self.changed: list[Tensor] = []
        self.runs = 0  # how often something was done
        self._rooms: dict[Any, Tensor] = {}

    def add(self, kernel: str, arguments: ctypes.Structure, scratch: int = 1) -> None:
        """Put a kernel on the list, with the floats that it works in."""
        self.jobs.append((kernel, arguments))
        self.scratch = max(self.scratch, scratch)

    def hold(self, tensor: Tensor) -> int:
        """Return the address of a tensor, or of a contiguous copy, that stays until the jobs are done."""
        tensor = tensor.contiguous()
        self.held.append(tensor)
        return int(tensor.data_ptr())

    def dial(self, value: Any) -> int:
        """Return the address of a number a member, (members,) float32."""
        return self.hold(torch.as_tensor(value, dtype=torch.float32).expand(self.members))

    def room(self, name: str, *shape: int) -> Tensor:
        """Return a tensor for jobs to fill; all steps share it, as a member is done with one before the next."""
        if (name, shape) not in self._rooms:
            self._rooms[name, shape] = torch.empty(shape)
        return self._rooms[name, shape]

    def run(self) -> None:
        """Do what is on the list, and clear it."""
        if self.jobs:
            self.runs += 1
            run_jobs(self.jobs, self.members, self.scratch, torch.get_num_threads())
            torch.autograd.graph.increment_version(self.changed)  # torch did not see the kernels write
        self.jobs, self.held, self.changed = [], [], []


def is_plain(*tensors: Any) -> bool:
    """Whether all are float32 tensors on the CPU, which is what kernels work on."""
    return all(isinstance(t, Tensor) and t.dtype == torch.float32 and t.device.type == "cpu" for t in tensors)
