"""Dials: the hyperparameters of a regularizer, declared once for validation, YAML, search, sliders and ablation."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from poise.core.errors import ArgumentError, shown
from poise.core.schedule import Constant, Schedule, SwitchOff

__all__ = ["Dial", "DialValue", "at_step", "check_dial", "dial", "dials_of", "double", "like"]

DialValue = float | Tensor | Schedule
"""What a dial may hold: a number, a tensor with one number a member, or a schedule."""


@dataclass(frozen=True)
class Dial:
    """The declaration of one hyperparameter.

    `neutral` is the value at which the part does nothing; `math.inf` (YAML: `.inf`) says that there is no limit, and
    only then is an infinite value legal. `low` and `high` bound what is legal (`open_low`, `open_high`: the end itself
    is not). `search` is the range worth trying, in log scale if `log`.
    """

    default: float
    neutral: float
    low: float
    high: float
    log: bool
    unit: str
    search: tuple[float, float]
    open_low: bool = False
    open_high: bool = False

    @property
    def rule(self) -> str:
        """The legal range in words, as messages say it."""
        if math.isinf(self.high):
            unlimited = ", or inf for no limit" if math.isinf(self.neutral) else ""
            return f"a finite number {'>' if self.open_low else '>='} {self.low:g}{unlimited}"
        return f"in {'(' if self.open_low else '['}{self.low:g}, {self.high:g}{')' if self.open_high else ']'}"

    def allows(self, value: float) -> bool:
        """Whether `value` is legal."""
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        # An int beyond 1.8e308 compares but does not convert, which is all that isfinite would tell.
        finite = above and below and abs(value) <= sys.float_info.max
        return finite or (value == self.neutral and math.isinf(self.neutral))


def dial(
    default: float,
    *,
    neutral: float,
    low: float = 0.0,
    high: float = math.inf,
    log: bool = False,
    unit: str = "",
    search: tuple[float, float] | None = None,
    open_low: bool = False,
    open_high: bool = False,
) -> Any:
    """Declare a dataclass field as a dial: it may hold a number, a tensor with one number a member, or a schedule."""
    if search is None:
        search = (low, high)
    declared = Dial(default, neutral, low, high, log, unit, search, open_low, open_high)
    return dataclasses.field(default=default, metadata={"dial": declared})


def dials_of(kind: Any) -> Mapping[str, Dial]:
    """Return the dials that a regularizer (class or instance) declares, by field name."""
    return _declared(kind if isinstance(kind, type) else type(kind))


@cache
def _declared(kind: type[Any]) -> Mapping[str, Dial]:
    return MappingProxyType({f.name: f.metadata["dial"] for f in dataclasses.fields(kind) if "dial" in f.metadata})


def check_dial(owner: str, name: str, declared: Dial, value: object) -> None:
    """Raise ArgumentError (a value out of range) or TypeError-like ArgumentError (not a number)."""
    where = f"`{owner}.{name}`"
    if isinstance(value, Schedule):
        for end in value.ends():
            if isinstance(end, Schedule):
                raise ArgumentError(
                    f"{where} must be {declared.rule}; got {shown(value)}. A schedule takes numbers only."
                )
            check_dial(owner, name, declared, end)
            if not isinstance(value, (Constant, SwitchOff)) and not bool(torch.isfinite(torch.as_tensor(end)).all()):
                raise ArgumentError(
                    f"{where} as {type(value).__name__} must have finite ends; got {shown(value)}. "
                    "Halfway between a limit and none is no number: switch with SwitchOff."
                )
        ends_at_0 = isinstance(value, SwitchOff) and not bool(torch.as_tensor(value.after).all())
        if ends_at_0 and math.isinf(declared.neutral):
            raise ArgumentError(
                f"{where} as SwitchOff must end at a number > 0, or inf for no limit; got {shown(value)}. 0 is the "
                "strongest limit, not none: write SwitchOff(..., after=math.inf)."
            )
        return
    if isinstance(value, Tensor):
        if value.requires_grad:
            raise ArgumentError(
                f"{where} must be {declared.rule}, not a tensor that requires grad; got one of shape "
                f"{tuple(value.shape)}. Pass `.detach()`: a dial is not trained."
            )
        if value.dim() > 1 or value.numel() == 0 or not (value.is_floating_point() or value.dtype == torch.int64):
            raise ArgumentError(
                f"{where} as a tensor must be 0-d or (members,) of numbers; got shape {tuple(value.shape)}, "
                f"{value.dtype}. Give one number a member."
            )
        wrong = [v for v in value.detach().flatten().tolist() if not declared.allows(v)]
        if wrong:
            raise ArgumentError(f"{where} must be {declared.rule}; got {shown(wrong[0])}. Check each member's value.")
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ArgumentError(
            f"{where} must be {declared.rule}; got {shown(value)} ({type(value).__name__}). "
            "Pass a number, a tensor with one number a member, or a schedule."
        )
    if not declared.allows(value):
        raise ArgumentError(
            f"{where} must be {declared.rule}; got {shown(value)}. "
            f"{declared.neutral:g} switches it off, {declared.default:g} is the default."
        )


def at_step(value: DialValue, step: int | Tensor) -> float | Tensor:
    """Return the dial's number at `step`: a schedule is evaluated, anything else returned."""
    return value(step) if isinstance(value, Schedule) else value


def double(value: DialValue) -> float | Tensor:
    """Return a dial's number in float64, on its device: arithmetic that is rounded once, as with plain numbers."""
    if isinstance(value, Schedule):
        raise TypeError(f"{type(value).__name__} is a schedule: a recipe resolves it at the start of each step")
    return value.to(torch.float64) if isinstance(value, Tensor) else value


def like(value: DialValue, reference: Tensor) -> float | Tensor:
    """Return a dial's number in the dtype and on the device of the tensor it meets.

    A mapped float32 dial would otherwise raise a bfloat16 weight's dtype; a plain number needs no cast.

    >>> like(torch.tensor(0.5), torch.zeros(2, dtype=torch.bfloat16))
    tensor(0.5000, dtype=torch.bfloat16)
    """
    if isinstance(value, Schedule):
        raise TypeError(f"{type(value).__name__} is a schedule: a recipe resolves it at the start of each step")
    return value.to(reference) if isinstance(value, Tensor) else value
