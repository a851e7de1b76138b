"""How an inserted layer meets its host: as a child module, called by a hook that finds it through the host.

The hook holds the child's name, not the child: a deep copy of the model, or `torch.func.functional_call`, then uses
its own copy of the layer, and the hook stays a plain function that can be pickled.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from poise.core.kinds import Inserted, Insertion
from poise.network.sites import activations, hidden_layers

__all__ = ["AfterActivations", "AfterHiddenLayers", "child_name", "child_of"]


def child_name(part: Insertion) -> str:
    """Return the name of the child module that carries the part's layer."""
    return f"poise_{part.name}"


def child_of(host: nn.Module, child: str) -> Inserted:
    """Return the host's inserted layer."""
    layer = host._modules[child]
    assert isinstance(layer, Inserted)
    return layer


def _through(child: str, host: nn.Module, _: Any, output: Tensor) -> Tensor:
    """Forward hook: pass the host's output through its inserted layer."""
    layer = child_of(host, child)
    result: Tensor = output if layer.idle else layer(output)
    return result


@dataclass(frozen=True, kw_only=True)
class _AfterHost(Insertion, abstract=True):
    def insert(self, host: nn.Module, layer: Inserted) -> None:
        host.register_forward_hook(partial(_through, child_name(self)))


@dataclass(frozen=True, kw_only=True)
class AfterActivations(_AfterHost, abstract=True):
    """Layers that edit the output of every activation."""

    sites = "after every activation"

    def find(self, module: nn.Module) -> list[tuple[str, nn.Module]]:
        return activations(module)


@dataclass(frozen=True, kw_only=True)
class AfterHiddenLayers(_AfterHost, abstract=True):
    """Layers that edit the output of every hidden layer, before its activation."""

    sites = "after every hidden layer"

    def find(self, module: nn.Module) -> list[tuple[str, nn.Module]]:
        return hidden_layers(module)
