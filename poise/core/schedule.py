"""Schedules: a dial that moves with the step. Each is a frozen record whose call is tensor arithmetic in `step`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import ClassVar

import torch
from torch import Tensor

from poise.core.errors import ArgumentError, shown

__all__ = ["Constant", "Cosine", "CosineCycles", "Linear", "OneCycle", "Schedule", "SwitchOff", "WarmUp"]

Number = float | Tensor


class Schedule(ABC):
    """A value for every step, counted in optimizer steps from 0."""

    kinds: ClassVar[dict[str, type[Schedule]]] = {}

    def __init_subclass__(cls) -> None:
        Schedule.kinds[cls.__name__.lower()] = cls

    def __post_init__(self) -> None:
        steps = getattr(self, "steps", 1)
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ArgumentError(
                f"`{type(self).__name__}.steps` must be an int >= 1; got {shown(steps)}. "
                "It counts optimizer steps, not epochs."
            )

    @abstractmethod
    def __call__(self, step: int | Tensor) -> Number:
        """Return the value at `step`; of a tensor of steps, one for each."""

    def ends(self) -> tuple[Number, ...]:
        """Return values that bound the schedule, for validation against a dial's range."""
        return tuple(getattr(self, field.name) for field in fields(self) if field.name != "steps")  # type: ignore[arg-type]  # every concrete schedule is a dataclass


def _share(step: int | Tensor, steps: int) -> Tensor:
    """Return how much of the schedule has passed, in [0, 1]."""
    return (torch.as_tensor(step, dtype=torch.float64) / steps).clamp(0.0, 1.0)


def _narrow(value: Tensor) -> Tensor:
    """Return the value in float32: a 0-d float64 tensor would not widen a model's arithmetic, a mapped one would."""
    return value.to(torch.float32)


@dataclass(frozen=True)
class Constant(Schedule):
    """The same value at every step.

    >>> Constant(0.5)(10)
    0.5
    """

    value: Number

    def __call__(self, step: int | Tensor) -> Number:
        return self.value


@dataclass(frozen=True)
class Linear(Schedule):
    """From `start` at step 0 to `stop` at step `steps`, then constant.

    >>> float(Linear(0.0, 1.0, steps=4)(1))
    0.25
    """

    start: Number
    stop: Number
    steps: int

    def __call__(self, step: int | Tensor) -> Number:
        return _narrow(self.start + (self.stop - self.start) * _share(step, self.steps))


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from `start` at step 0 to `stop` at step `steps`, then constant.

    Source: Loshchilov and Hutter 2017, "SGDR", equation 5, one period.

    >>> round(float(Cosine(1.0, 0.0, steps=4)(2)), 6)
    0.5
    """

    start: Number
    stop: Number
    steps: int

    def __call__(self, step: int | Tensor) -> Number:
        fall = (1 + torch.cos(math.pi * _share(step, self.steps))) / 2
        return _narrow(self.stop + (self.start - self.stop) * fall)


@dataclass(frozen=True)
class CosineCycles(Schedule):
    """Half a cosine from `start` towards `stop` over `steps` steps, then from `start` again, without end.

    stop + (start - stop) (1 + cos(pi (step mod steps) / steps)) / 2: the last step of a cycle is one step short of
    `stop`. As learning rates (times a base rate), with `SnapshotEnsemble` of as many steps.

    Source: Loshchilov and Hutter 2017, "SGDR", equation 5, with cycles of one length (T_mult = 1).

    >>> [round(float(CosineCycles(1.0, 0.0, steps=2)(step)), 6) for step in range(4)]
    [1.0, 0.5, 1.0, 0.5]
    """

    start: Number
    stop: Number
    steps: int

    def __call__(self, step: int | Tensor) -> Number:
        fall = (1 + torch.cos(math.pi * _share(torch.as_tensor(step) % self.steps, self.steps))) / 2
        return _narrow(self.stop + (self.start - self.stop) * fall)


@dataclass(frozen=True)
class WarmUp(Schedule):
    """From 0 at step 0 linearly to `value` at step `steps`, then constant.

    >>> float(WarmUp(2.0, steps=4)(8))
    2.0
    """

    value: Number
    steps: int

    def __call__(self, step: int | Tensor) -> Number:
        return _narrow(self.value * _share(step, self.steps))

    def ends(self) -> tuple[Number, ...]:
        return (0.0, self.value)


@dataclass(frozen=True)
class SwitchOff(Schedule):
    """`value` until step `steps`, then `after` (0): augmentation off for the last epochs, say.

    Name `after` for a dial that 0 does not switch off: a limit is off at inf, `Lookahead.share` and
    `Solarize.threshold` at 1.

    >>> float(SwitchOff(0.4, steps=10)(10))
    0.0
    """

    value: Number
    steps: int
    after: Number = 0.0

    def __call__(self, step: int | Tensor) -> Number:
        early = torch.as_tensor(step) < self.steps
        return _narrow(torch.where(early, torch.as_tensor(self.value), torch.as_tensor(self.after)))


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Linear from 0 to `value` over the first `warm_up` share of the steps, then half a cosine to 0 at `steps`.

    Source: the usual form of Smith and Topin 2018, "Super-convergence", without its momentum cycle.

    >>> round(float(OneCycle(1.0, steps=10, warm_up=0.2)(2)), 6)
    1.0
    """

    value: Number
    steps: int
    warm_up: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.warm_up, bool) or not isinstance(self.warm_up, (int, float)) or not 0 <= self.warm_up < 1:
            raise ArgumentError(
                f"`OneCycle.warm_up` must be in [0, 1); got {shown(self.warm_up)}. It is a share of the steps."
            )

    def __call__(self, step: int | Tensor) -> Number:
        share = _share(step, self.steps)
        # The first step is number 0: without the half step it would be taken with a rate of exactly 0.
        rise = (share + 0.5 / self.steps) / max(self.warm_up, 0.5 / self.steps)
        fall = (1 + torch.cos(math.pi * (share - self.warm_up).clamp(min=0.0) / (1 - self.warm_up))) / 2
        return _narrow(self.value * torch.minimum(rise.clamp(max=1.0), fall))

    def ends(self) -> tuple[Number, ...]:
        return (0.0, self.value)
