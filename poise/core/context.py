"""What a stage may look at: the read-only record that comes with every value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor, nn

from poise.core.blocks import Blocks
from poise.core.rng import Rng
from poise.core.select import Role

__all__ = ["Batch", "Context"]


class Batch(NamedTuple):
    """The rows of one step.

    Shapes: inputs (B, ...); targets (B, K) distributions over K classes, or (B,) / (B, T) floats for regression;
    weights (B,) or None for equal rows; visits (B, 2) int64, each row's sample id and epoch, or None: draws then go by
    the row's place in the batch.
    """

    inputs: Any
    targets: Tensor
    weights: Tensor | None = None
    visits: Tensor | None = None


def _unavailable(*_: Any, **__: Any) -> Any:
    raise RuntimeError("this stage has no forward pass or gradient: use it in the objective or gradient stage")


Activations = Mapping[str, tuple[Tensor, ...]]
"""What recording layers saw, by site path: one tensor for each call in the forward pass."""


@dataclass(frozen=True)
class Context:
    """Read-only facts of one step, for one member.

    `step`: optimizer steps done, from 0. `lr`: the learning rate of this step; `rate_of(name)` that of a parameter.
    `rng`: keyed draws, already folded with the part's name. `params`: the weights of this moment by name;
    `roles`: what each is. `batch`, `outputs`: the rows and the network's outputs (objective stage on). `score`:
    validation score, lower is better (stop stage). `scale`: the optimizer's effective step for each coordinate (shapes
    as params), in the update stage. `columns`: (F,) int64 group of each input column, one-hot columns of one category
    sharing a group.
    `classes`: K of a classification, None for regression; of several tasks whose targets are a dict, K by class task.
    `blocks`: where the tasks stand in outputs and targets, if they stand side by side (`classes` is then None).

    Objective and gradient stage: `forward(inputs, draw=0)` runs the network on this member's weights, with the masks
    of this step, or with others for another `draw`; it never moves running statistics. `loss(outputs, batch)` is the
    data's loss (0-d). `activations`: what this part's own recording layers saw. Gradient stage: `gradient(params)`
    is the gradient of the whole objective at other weights, same rows, same masks (`needs = ("closure",)`); `tasks`:
    the gradient of each task's term by parameter (`needs = ("tasks",)`). `teacher(inputs)`: the teacher's outputs,
    without gradient (`needs = ("teacher",)`). Predict stage: `memory` is the part's; `restate(network)`
    counts a network's batch statistics anew on training inputs, None if the caller gave none.
    """

    step: int
    rng: Rng
    lr: Any = 0.0
    rates: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Tensor] = field(default_factory=dict)
    roles: Mapping[str, Role] = field(default_factory=dict)
    batch: Batch | None = None
    outputs: Any = None
    score: Tensor | None = None
    scale: Mapping[str, Tensor] = field(default_factory=dict)
    columns: Tensor | None = None
    classes: int | Mapping[str, int] | None = None
    blocks: Blocks | None = None
    forward: Callable[..., Any] = _unavailable
    loss: Callable[[Any, Batch], Tensor] = _unavailable
    gradient: Callable[..., Any] = _unavailable
    teacher: Callable[[Any], Any] = _unavailable
    tasks: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    recorded: Mapping[str, Activations] = field(default_factory=dict)
    activations: Activations = field(default_factory=dict)
    memory: Mapping[str, Any] = field(default_factory=dict)
    restate: Callable[[nn.Module], Any] | None = None

    def rate_of(self, name: str) -> Any:
        """Return the learning rate of a parameter: that of its optimizer group, else the step's."""
        return self.rates.get(name, self.lr)

    def within(self, part: str) -> Context:
        """Return the context as the named part sees it: its own random numbers, and what its own layers recorded."""
        new: Context = object.__new__(Context)  # dataclasses.replace takes 20 us, for each part of each stage
        new.__dict__.update(self.__dict__)
        new.__dict__["rng"] = self.rng.fold(part)
        new.__dict__["activations"] = self.recorded.get(part, {})
        return new
