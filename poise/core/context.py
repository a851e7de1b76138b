"""What a stage may look at: the read-only record that comes with every value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from torch import Tensor

from poise.core.rng import Rng
from poise.core.select import Role

__all__ = ["Batch", "Context"]


class Batch(NamedTuple):
    """The rows of one step.

    Shapes: inputs (B, ...); targets (B, K) distributions over K classes, or (B,) / (B, T) floats for regression;
    weights (B,) or None for equal rows.
    """

    inputs: Any
    targets: Tensor
    weights: Tensor | None = None


def _unavailable(*_: Any, **__: Any) -> Any:
    raise RuntimeError("this stage has no forward pass or gradient: use it in the objective or gradient stage")


@dataclass(frozen=True)
class Context:
    """Read-only facts of one step, for one member.

    `step`: optimizer steps done, from 0. `lr`: the learning rate of this step. `rng`: keyed draws, already folded
    with the part's name. `params`, `buffers`: the weights of this moment by name; `roles`: what each is.
    `batch`, `outputs`: the rows and the network's outputs (objective stage on). `score`: validation score, lower is
    better (stop stage). `scale`: the optimizer's effective step for each coordinate (shapes as params), in the
    update stage. `columns`: (F,) int64 group of each input column, one-hot columns of one category sharing a group.
    `classes`: K of a classification, None for regression. `forward(inputs)` runs the network on this member's
    weights; `gradient(params=None, of=None)` returns the gradient of the objective there.
    """

    step: int
    rng: Rng
    lr: Any = 0.0
    params: Mapping[str, Tensor] = field(default_factory=dict)
    buffers: Mapping[str, Tensor] = field(default_factory=dict)
    roles: Mapping[str, Role] = field(default_factory=dict)
    batch: Batch | None = None
    outputs: Any = None
    score: Tensor | None = None
    scale: Mapping[str, Tensor] = field(default_factory=dict)
    columns: Tensor | None = None
    classes: int | None = None
    forward: Callable[[Any], Any] = _unavailable
    gradient: Callable[..., Any] = _unavailable

    def within(self, part: str) -> Context:
        """Return the context as the named part sees it: its own stream of random numbers."""
        return replace(self, rng=self.rng.fold(part))
