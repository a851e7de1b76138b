"""Kernels that `torch.compile` makes of functions of a few tensors, for a GPU: one launch for many small operations.

The C kernels here serve CPUs. On a GPU each operation of torch is a launch, which costs the host more than a small
operation costs the GPU: the generator's words alone are 440 a draw. The functions stay what they are, in plain torch,
and are called as such wherever no compiler is found.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache, wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from poise.kernels.library import switched_on

__all__ = ["compiled"]

Function = TypeVar("Function", bound=Callable[..., Any])

_KINDS = {"cuda"}
"""The kinds of device whose tensors are given to compiled functions; AMD's GPUs are "cuda", too."""
_trusted: dict[str, bool] = {}
"""By a function's name: whether its compiled twin gave the right answer, if it was tried in this process."""


@cache
def _made(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, dynamic=True, fullgraph=True)


def compiled(function: Function) -> Function:
    """Return the function, which a GPU's tensors get compiled: in few launches, of any sizes.

    It must take tensors only, the first of them on the device, and make no use of their values in Python. Where it
    returns whole numbers, its first answer is held against the plain function's, and must be equal: compilers for CPUs
    take it that a sum of signed numbers never wraps. `POISE_NATIVE=0` leaves compiling aside, as it does the kernels in
    C. Where the compiler fails, one warning says so, and why, and the plain function goes on.
    """
    name = f"{function.__module__}.{function.__qualname__}"

    @wraps(function)
    def call(*tensors: Tensor) -> Any:
        asked = tensors[0].device.type in _KINDS and switched_on() and _trusted.get(name, True)
        if not asked or torch.compiler.is_compiling():
            return function(*tensors)
        found, reason = _tried(function, tensors)
        if reason is None and name not in _trusted and isinstance(found, Tensor) and not found.is_floating_point():
            reason = None if torch.equal(found, function(*tensors)) else "its numbers are not the plain function's"
        _trusted[name] = reason is None
        if reason is None:
            return found
        warnings.warn(
            f"torch.compile could not make {name} ({reason}): it takes longer, with the same results.",
            RuntimeWarning, stacklevel=2,
        )  # fmt: skip
        return function(*tensors)

    return cast(Function, call)


def _tried(function: Callable[..., Any], tensors: tuple[Tensor, ...]) -> tuple[Any, str | None]:
    """Return what the compiled function gives, or why there is none."""
    try:
        return _made(function)(*tensors), None
    except RuntimeError as error:
        from torch._dynamo.exc import TorchDynamoException  # here, because importing it takes a second

        if not isinstance(error, TorchDynamoException):
            raise
        return None, " ".join(str(error).split("\n")[:2])
