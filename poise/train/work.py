"""The parts of a step that kernels do: each is put on a list, and all run for one member before the next begins.

So a member's batch, activations, gradients and weights stay in the core's cache from the gather to the average. What
has no kernel runs by torch, once the list so far has been run.

Several steps that kernels do alone are put on the list at once: a step's jobs are repeated, and what they point to
moves on from step to step.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from poise.kernels.members import run_jobs

__all__ = ["Work", "is_plain"]


class Work:
    """Jobs that wait to be run for every member. Tensors that a job fills are not to be read before `run`.

    `steps` is how many steps the jobs that are being added are for.
    """

    def __init__(self, members: int) -> None:
        self.members = members
        self.steps = 1
        self.jobs: list[tuple[str, ctypes.Structure]] = []
        self.scratch = 1
        self.held: list[Any] = []
        self.changed: list[Tensor] = []
        self.runs = 0  # how often `run` was called
        self._rooms: dict[Any, Tensor] = {}
        self._before = 0  # jobs that were there when the present steps began
        self._moving: list[Mapping[str, int]] = []  # of each job since then

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of what each member gets one number of: (M,), of several steps (steps, M)."""
        return (self.members,) if self.steps == 1 else (self.steps, self.members)

    def begin(self, steps: int) -> None:
        """Take jobs for so many steps from here on."""
        self.steps, self._before, self._moving = steps, len(self.jobs), []

    def end(self) -> None:
        """Repeat what was added since `begin` for each of the steps after the first."""
        own = self.jobs[self._before :]
        for later in range(1, self.steps):
            for (kernel, first), moving in zip(own, self._moving, strict=True):
                job = type(first).from_buffer_copy(first)
                for field, size in moving.items():
                    setattr(job, field, getattr(first, field) + later * size)
                self.jobs.append((kernel, job))
        self.steps, self._moving = 1, []

    def leave(self) -> None:
        """Take the jobs of several steps off the list again that were begun and have not ended."""
        if self.steps > 1:
            del self.jobs[self._before :]
            self.steps, self._moving = 1, []

    def add(
        self, kernel: str, arguments: ctypes.Structure, scratch: int = 1, moving: Mapping[str, int] | None = None
    ) -> None:
        """Put a kernel on the list, with the floats that it works in.

        `moving`: by how many bytes the address in a field moves from one step to the next.
        """
        self.jobs.append((kernel, arguments))
        self._moving.append(moving or {})
        self.scratch = max(self.scratch, scratch)

    def hold(self, tensor: Tensor) -> int:
        """Return the address of a tensor, or of a contiguous copy, that stays until the jobs are done."""
        tensor = tensor.contiguous()
        self.held.append(tensor)
        return int(tensor.data_ptr())

    def dial(self, value: Any) -> int:
        """Return the address of a number a member, (members,) float32."""
        return self.hold(torch.as_tensor(value, dtype=torch.float32).expand(self.members))

    def course(self, values: Any) -> int:
        """Return the address of a number a step and member, (steps, members) float32."""
        return self.hold(torch.as_tensor(values, dtype=torch.float32).expand(self.steps, self.members))

    def keys(self, keys: Tensor) -> int:
        """Return the address of the members' keys (M, 3) at each of the steps; they are copied."""
        ahead = torch.zeros(self.steps, 1, 3, dtype=torch.int64)
        ahead[:, 0, 2] = torch.arange(self.steps)
        return self.hold(keys + ahead)

    def room(self, name: str, *shape: int) -> Tensor:
        """Return a tensor for jobs to fill; all steps share it, as a member is done with one before the next."""
        if (name, shape) not in self._rooms:
            self._rooms[name, shape] = torch.empty(shape)
        return self._rooms[name, shape]

    def run(self) -> None:
        """Do what is on the list, and clear it. Several steps that have begun must have ended."""
        if self.steps > 1:
            raise RuntimeError(f"{self.steps} steps were begun at once, of which something is not done by kernels.")
        self.runs += 1
        if self.jobs:
            run_jobs(self.jobs, self.members, self.scratch, torch.get_num_threads())
            torch.autograd.graph.increment_version(self.changed)  # torch did not see the kernels write
        self.jobs, self.held, self.changed, self._moving = [], [], [], []


def is_plain(*tensors: Any) -> bool:
    """Whether all are float32 tensors on the CPU, which is what kernels work on."""
    return all(isinstance(t, Tensor) and t.dtype == torch.float32 and t.device.type == "cpu" for t in tensors)
