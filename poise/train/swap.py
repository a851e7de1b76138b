"""A model as it is for a while: its modes, and its weights exchanged for others, put back whatever happens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["kept_modes", "kept_tensors", "load_tensors"]


@contextmanager
def kept_modes(model: nn.Module) -> Iterator[None]:
    """Put every submodule's mode (training or evaluation) back at the end."""
    modes = {module: module.training for module in model.modules()}
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def kept_tensors(model: nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Put the values of these parameters and buffers of the model back at the end."""
    saved = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    try:
        yield
    finally:
        load_tensors(model, saved)


def load_tensors(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy values into the model's parameters and buffers of these names."""
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)
