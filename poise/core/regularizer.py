"""What a regularizer is: a frozen record of numbers, and pure edits of the values of one training step.

This page fixes the order of the stages for the whole project; `docs/map.md`, `repr(recipe)` and the reports read it
from here.
"""

from __future__ import annotations

import dataclasses
import re
from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from poise.core.context import Batch, Context
from poise.core.dial import check_dial, dials_of
from poise.core.errors import ArgumentError, shown

__all__ = ["EVERY_STAGE", "STEP", "Memory", "Regularizer", "snake"]

STEP = ("batch", "objective", "gradient", "shrink", "update", "average", "stop")
"""The stages of one step, in order; the optimizer's own step stands between shrink and update."""

EVERY_STAGE = ("network", *STEP, "predict")
"""All stages: once before training, the step's, once after training."""

Memory = dict[str, Any]
"""What a part carries from step to step: a dict whose leaves are tensors."""


def snake(name: str) -> str:
    """Return the YAML key of a class name: `LabelSmoothing` -> `label_smoothing`, `L1` -> `l1`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


@dataclass(frozen=True, kw_only=True)
class Regularizer(ABC):
    """Abstract base: concrete regularizers are final frozen dataclasses that override the stages they act in.

    Every stage method takes (value, memory, ctx) and returns (value, memory) without changing what it was given.
    Tensor arithmetic only: a dial may be a tensor that `torch.vmap` maps over members, so no branch may depend on it.

    Class facts: `rank` orders parts within a stage (low first, ties by name), `formula` is printed by the receipt,
    `cost` says what a step pays, `needs` which facts beyond the usual it reads ("closure", "scale", "tasks",
    "teacher"; see `Context`), checked when a run starts. `conditional` says that the part acts only on occasion
    (clipping, a projection, an average that begins late), so that doing nothing in the first steps is no sign of a
    mistake.
    `together` does neighbours of the batch stage that share it at once, (parts, batch, ctx) -> batch, instead of one
    by one; they keep no memory there.
    `detached` names what a term holds constant by definition: its gradient is then not the derivative of its value.
    """

    registry: ClassVar[dict[str, type[Regularizer]]] = {}
    rank: ClassVar[int] = 50
    formula: ClassVar[str] = ""
    cost: ClassVar[str] = "negligible"
    needs: ClassVar[tuple[str, ...]] = ()
    conditional: ClassVar[bool] = False
    detached: ClassVar[str] = ""
    expansive: ClassVar[str] = ""
    final: ClassVar[bool] = False
    together: ClassVar[Any] = None

    name: str = ""

    def __init_subclass__(cls, abstract: bool = False, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if any(base.__dict__.get("final") for base in cls.__mro__[1:]):
            raise TypeError(f"{cls.__name__} must not subclass a concrete regularizer: compose two parts instead")
        cls.final = not abstract
        if cls.final:
            Regularizer.registry[snake(cls.__name__)] = cls

    def __post_init__(self) -> None:
        if not type(self).final:
            raise TypeError(f"{type(self).__name__} is abstract: use one of its concrete regularizers")
        if not isinstance(self.name, str):
            raise ArgumentError(f"`{type(self).__name__}.name` must be a string; got {shown(self.name)}.")
        if self.name == "data" or "." in self.name or "/" in self.name:
            # "data" is the loss among the terms; dots part names from fields and modules, slashes random streams.
            raise ArgumentError(
                f"`{type(self).__name__}.name` must not be 'data' nor hold '.' or '/'; got {shown(self.name)}. "
                "It is a key among the terms of the loss, the dials and the modules."
            )
        if not self.name:
            object.__setattr__(self, "name", snake(type(self).__name__))
        for plain in dataclasses.fields(self):
            value = getattr(self, plain.name)
            if isinstance(plain.default, bool) and not isinstance(value, bool):
                raise ArgumentError(f"`{type(self).__name__}.{plain.name}` must be True or False; got {shown(value)}.")
        for field, declared in dials_of(self).items():
            check_dial(type(self).__name__, field, declared, getattr(self, field))

    # --- the stages, in the order of a training run --------------------------------------------------------------

    def remember(self, params: Mapping[str, Tensor]) -> Memory:
        """Return this part's memory at step 0: a dict of tensors, one member's."""
        return {}

    def network(self, module: nn.Module) -> nn.Module:
        """Before training, once: return the module with layers inserted."""
        return module

    def batch(self, batch: Batch, memory: Memory, ctx: Context) -> tuple[Batch, Memory]:
        """Edit inputs and (soft) targets."""
        return batch, memory

    def objective(self, terms: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        """Add terms to {"data": loss} (or {"data/<task>": loss, ...}); the loss is their sum."""
        return terms, memory

    def gradient(self, grads: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        """Edit gradients: clipping, noise, surgery."""
        return grads, memory

    def shrink(self, params: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        """Edit weights before the optimizer's step: decoupled decay."""
        return params, memory

    def update(self, params: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        """Edit weights after the optimizer's step: soft threshold, projection."""
        return params, memory

    def average(self, weights: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        """Return the weights that evaluation uses."""
        return weights, memory

    def stop(self, stopped: Tensor, memory: Memory, ctx: Context) -> tuple[Tensor, Memory]:
        """Decide after an evaluation; parts may only OR into `stopped` (bool, 0-d)."""
        return stopped, memory

    def predict(self, predictor: Any, ctx: Context) -> Any:
        """After training, once: return the predictor to use."""
        return predictor

    # --- what the class itself tells -----------------------------------------------------------------------------

    @classmethod
    def stages(cls) -> tuple[str, ...]:
        """Return the stages this part acts in, in order."""
        return tuple(s for s in EVERY_STAGE if getattr(cls, s) is not getattr(Regularizer, s))

    def dials(self) -> dict[str, Any]:
        """Return the values of the dials by field name."""
        return {field: getattr(self, field) for field in dials_of(self)}

    def at(self, values: Mapping[str, Any]) -> Self:
        """Return this part with dials replaced, unchecked: inside a step a mapped tensor has no value to check."""
        if not values:
            return self
        new = object.__new__(type(self))
        for field in dataclasses.fields(self):
            object.__setattr__(new, field.name, values.get(field.name, getattr(self, field.name)))
        return new

    def neutral(self) -> Self:
        """Return this part with every dial at the value where it does nothing."""
        return self.at({field: declared.neutral for field, declared in dials_of(self).items()})
