"""Calls on the tensors behind `torch.vmap`, for the few hot functions that handle many members themselves."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch._C import _functorch as functorch  # the documented way, a vmap rule, costs 300 us a call; this costs 20
from torch._functorch.pyfunctorch import temporarily_pop_interpreter_stack

__all__ = ["behind_vmap"]


def behind_vmap(function: Callable[..., tuple[Tensor, ...]], *tensors: Tensor) -> tuple[Tensor, ...]:
    """Return `function(*tensors)`; under vmap, call it once on the stacked tensors with the member first.

    The function must accept leading dimensions: every tensor has one rank, and reductions name negative dimensions.
    Autograd goes through it as if it were called outside.
    """
    if torch.compiler.is_compiling() or not any(functorch.is_batchedtensor(tensor) for tensor in tensors):
        return function(*tensors)
    level = max(functorch.maybe_get_level(tensor) for tensor in tensors if functorch.is_batchedtensor(tensor))
    if level != functorch.maybe_current_level():
        return function(*tensors)  # a gradient transform is nearer: torch's own rule handles that

    def behind(tensor: Tensor) -> Tensor:
        if functorch.is_batchedtensor(tensor) and functorch.maybe_get_level(tensor) == level:
            return functorch.get_unwrapped(tensor).movedim(functorch.maybe_get_bdim(tensor), 0)
        return tensor.unsqueeze(0)

    raw = [behind(tensor) for tensor in tensors]
    with temporarily_pop_interpreter_stack():
        found = behind_vmap(function, *raw)
    return tuple(functorch._add_batch_dim(tensor, 0, level) for tensor in found)
