"""How an inserted layer meets its host: as a child module, called by a hook that finds it through the host.

The hook holds the child's name, not the child: a deep copy of the model, or `torch.func.functional_call`, then uses
its own copy of the layer, and the hook stays a plain function that can be pickled.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from poise.core.errors import ArgumentError
from poise.core.kinds import Aside, Inserted, Insertion
from poise.network.rules import RULES, WEIGHT_RULES, check_rule

__all__ = ["AfterActivations", "AfterHiddenLayers", "AfterHost", "AtSites", "child_name", "child_of", "into", "through"]


def child_name(part: Insertion) -> str:
    """Return the name of the child module that carries the part's layer."""
    return f"poise_{part.name}"


def child_of(host: nn.Module, child: str) -> Inserted:
    """Return the host's inserted layer."""
    layer = host._modules[child]
    if isinstance(layer, Aside):
        layer = layer.layer
    assert isinstance(layer, Inserted)
    return layer


def _edited(layer: Inserted, value: Any) -> Any:
    """Return the value passed through the layer; of a tuple (recurrent layers, attention), its first element."""
    if isinstance(value, Tensor):
        if not value.is_floating_point():
            raise ArgumentError(
                f"the layers of {layer.part!r} must meet floating numbers; got {value.dtype}. {layer.for_tokens}"
            )
        return layer(value)
    if isinstance(value, PackedSequence):
        return value._replace(data=_edited(layer, value.data))
    if isinstance(value, (tuple, list)) and value:
        edited = [_edited(layer, value[0]), *value[1:]]
        return type(value)(*edited) if hasattr(value, "_fields") else type(value)(edited)
    raise ArgumentError(
        f"the layers of {layer.part!r} must meet a tensor, or a tuple beginning with one; got {type(value).__name__}. "
        "Choose another rule as `where`, or let the module return a tensor."
    )


def through(child: str, host: nn.Module, _: Any, output: Any) -> Any:
    """Forward hook: pass the host's output through its inserted layer."""
    layer = child_of(host, child)
    return output if layer.idle else _edited(layer, output)


def into(child: str, host: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Forward pre-hook: pass the host's first input through its inserted layer."""
    layer = child_of(host, child)
    if layer.idle:
        return inputs
    if not inputs:
        raise ArgumentError(
            f"the layers of {layer.part!r} must meet the model's first positional argument; got keywords only. "
            "Call model(x), not model(x=x)."
        )
    return (_edited(layer, inputs[0]), *inputs[1:])


@dataclass(frozen=True, kw_only=True)
class AfterHost(Insertion, abstract=True):
    """Layers that edit what their hosts return."""

    def insert(self, host: nn.Module, layer: Inserted) -> None:
        host.register_forward_hook(partial(through, child_name(self)))


@dataclass(frozen=True, kw_only=True)
class AtSites(AfterHost, abstract=True):
    """Layers at the sites of the rule that `where` names; `places` are the rules that suit the class."""

    places: ClassVar[tuple[str, ...]] = tuple(RULES)

    where: str = "activations"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rule(type(self).__name__, self.where, self.places)

    def touches(self) -> str:
        return RULES[self.where].words

    def find(self, module: nn.Module) -> list[tuple[str, nn.Module]]:
        return RULES[self.where].find(module)

    def notes(self, module: nn.Module) -> list[str]:
        return RULES[self.where].notes(module)

    def insert(self, host: nn.Module, layer: Inserted) -> None:
        if RULES[self.where].before:
            host.register_forward_pre_hook(partial(into, child_name(self)))
        else:
            super().insert(host, layer)


@dataclass(frozen=True, kw_only=True)
class AfterActivations(AtSites, abstract=True):
    """Layers that edit the output of every activation, or of the sites of another rule."""


@dataclass(frozen=True, kw_only=True)
class AfterHiddenLayers(AtSites, abstract=True):
    """Layers that edit the output of every hidden layer, before its activation, or of other weight layers."""

    places: ClassVar[tuple[str, ...]] = WEIGHT_RULES

    where: str = "hidden layers"
