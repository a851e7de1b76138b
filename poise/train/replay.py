"""The network run again within one step: with other masks, other weights, and nothing moved that must stay."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from poise.core.kinds import drawing, inserted_layers
from poise.train.swap import kept_tensors, load_tensors

__all__ = ["Replay", "forward_again", "gradient_again", "kept_generators", "moving_buffers"]


def moving_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Return the buffers that a forward pass may move: all but the keys and dials of inserted layers."""
    passing = {f"{path}.{name}" for path, layer in inserted_layers(model) for name in layer._non_persistent_buffers_set}
    return {name: buffer for name, buffer in model.named_buffers() if name not in passing}


def forward_again(model: nn.Module, params: Mapping[str, Tensor], inputs: Any, draw: int = 0) -> Any:
    """Return the outputs on these weights; running statistics are read, and what the pass writes is dropped."""
    # Cloned here, inside a caller's `torch.func.grad`, whose rules forbid writing to a tensor from outside.
    buffers = {name: buffer.clone() for name, buffer in moving_buffers(model).items()}
    with drawing(model, draw):
        return functional_call(model, {**params, **buffers}, (inputs,))


def gradient_again(
    model: nn.Module, params: Mapping[str, Tensor], there: Mapping[str, Tensor], closure: Callable[[], Any]
) -> dict[str, Tensor]:
    """Return the gradients that `closure` (forward, objective, backward) finds at the weights `there`.

    Weights, gradients and buffers of the model are put back.
    """
    before = {name: p.grad for name, p in params.items()}
    try:
        with kept_tensors(model, {**params, **moving_buffers(model)}):
            load_tensors(model, there)
            for p in params.values():
                p.grad = None
            with torch.enable_grad():
                closure()
            return {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in params.items()}
    finally:
        for name, p in params.items():
            p.grad = before[name]


@contextmanager
def kept_generators(state: Tensor) -> Iterator[None]:
    """Set torch's generator to an earlier state, so that the user's own layers draw as then; put it back after."""
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(state)
        yield


@dataclass(frozen=True)
class Replay:
    """How a step began: what its closure needs to be run again as it was."""

    closure: Callable[[], Any]
    memory: dict[str, Any]
    draws: int
    generator: Tensor
    scaler: torch.amp.GradScaler | None = None
