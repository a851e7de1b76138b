"""Where a network's units go: from the layer that makes them to the layers that read them, by torch.fx."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from poise.core.errors import ArgumentError
from poise.core.units import transposed_groups, units_first
from poise.network.sites import ACTIVATIONS

__all__ = ["PRUNED", "Reader", "Space", "as_held", "constants", "spaces_of", "weight_of"]

_MIXING = (nn.GLU, nn.Softmax, nn.LogSoftmax)
_POOLS = (
    *(nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d),
)
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.Identity)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d)
PRUNED = (nn.Linear, nn.Conv1d, nn.Conv2d, *_TRANSPOSED)
"""Layers whose units can be cut."""
_ELEMENTWISE = {
    *(torch.relu, torch.tanh, torch.sigmoid, F.relu, F.relu6, F.leaky_relu, F.elu, F.selu, F.celu, F.gelu, F.silu),
    *(F.mish, F.softplus, F.softsign, F.hardtanh, F.hardswish, F.hardsigmoid, F.logsigmoid, F.tanh, F.sigmoid),
    *(F.dropout, F.dropout1d, F.dropout2d, F.alpha_dropout),
}
_POOLING = {
    *(F.max_pool1d, F.max_pool2d, F.avg_pool1d, F.avg_pool2d, torch.max_pool1d, torch.max_pool2d),
    *(F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_max_pool1d, F.adaptive_max_pool2d),
}
_METHODS = {"relu", "relu_", "tanh", "sigmoid", "contiguous", "clone"}


@dataclass(frozen=True)
class Reader:
    """A layer that reads a space: `repeat` of its columns for each unit, and what it read of the example."""

    layer: nn.Module
    repeat: int
    seen: Tensor


@dataclass
class Space:
    """The units that one layer makes, the batch norms behind it, the layers that read it; why it must stay, if so."""

    path: str
    layer: nn.Module
    norms: list[nn.Module] = field(default_factory=list)
    readers: list[Reader] = field(default_factory=list)
    blocked: str = ""


def weight_of(layer: nn.Module) -> Tensor:
    """Return the weight of one of PRUNED as (units, inputs, ...)."""
    weight: Tensor = layer.weight  # type: ignore[assignment]  # one of PRUNED
    return units_first(weight.detach(), transposed_groups(layer, weight))


def as_held(layer: nn.Module, weight: Tensor) -> Tensor:
    """Return a weight (units, inputs, ...) in the order in which the layer holds its own."""
    transposed = transposed_groups(layer, layer.weight)  # type: ignore[arg-type]  # as above
    return units_first(weight, transposed).contiguous() if transposed else weight


def constants(reader: Reader, dead: Tensor) -> Tensor | None:
    """Return what the reader's columns (repeat for each unit) always are, where the unit is dead; None if unsteady.

    A unit that is dead because its columns are zero has no effect whatever it is: zero will do.
    """
    used = weight_of(reader.layer).movedim(1, 0).flatten(1).any(1) & dead.repeat_interleave(reader.repeat)
    columns = reader.seen.movedim(-1 if isinstance(reader.layer, nn.Linear) else 1, 0).flatten(1)
    value = torch.where(used, columns[:, 0], torch.zeros_like(columns[:, 0]))
    if bool((columns[used] != value[used, None]).any()):
        return None
    # A transposed convolution's outputs differ in how many places reach them.
    uneven = isinstance(reader.layer, _TRANSPOSED) or (
        not isinstance(reader.layer, nn.Linear) and (isinstance(reader.layer.padding, str) or any(reader.layer.padding))  # type: ignore[arg-type]
    )
    return None if uneven and bool(value.any()) else value


def spaces_of(model: nn.Module, inputs: tuple[Any, ...]) -> Iterator[Space]:
    """Yield the space of each layer of the model that is called once, in the order of the data flow."""
    try:
        traced = fx.symbolic_trace(model)
    except Exception as error:
        raise ArgumentError(
            f"`prune_units.model` must be a network that torch.fx can trace; got {type(model).__name__}: {error}. "
            "Its forward may not branch on values."
        ) from error
    values: dict[fx.Node, Any] = {}

    class Watch(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            values[n] = super().run_node(n)
            return values[n]

    with torch.no_grad():
        Watch(traced).run(*inputs)
    modules = dict(model.named_modules())
    called = [str(node.target) for node in traced.graph.nodes if node.op == "call_module"]
    holders = [id(p) for m in model.modules() for p in m.parameters(recurse=False)]
    for node in traced.graph.nodes:
        layer = modules.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(layer, PRUNED):
            continue
        space = Space(str(node.target), layer)
        if called.count(space.path) > 1:
            space.blocked = "the layer is called several times"
        elif any(holders.count(id(p)) > 1 for p in layer.parameters(recurse=False)):
            space.blocked = "its weights are tied"
        elif getattr(layer, "groups", 1) != 1:
            space.blocked = "the convolution has groups"
        else:
            _follow(space, node, 1, modules, values, called)
        yield space


def _follow(
    space: Space,
    node: fx.Node,
    repeat: int,
    modules: dict[str, nn.Module],
    values: dict[fx.Node, Any],
    called: list[str],
) -> None:
    """Walk from a value that holds the space's units to the layers that read it."""
    image = not isinstance(space.layer, nn.Linear)
    for user in node.users:
        if space.blocked:
            return
        target = modules.get(str(user.target)) if user.op == "call_module" else user.target
        before, after = values[node], values[user]
        spatial = image and before.dim() > 2
        if user.op == "output":
            space.blocked = "they are the network's output"
        elif isinstance(target, nn.Module) and called.count(str(user.target)) > 1 and not _is_plain(target):
            space.blocked = f"{user.target} is called several times"
        elif isinstance(target, PRUNED):
            if isinstance(target, nn.Linear) == spatial or getattr(target, "groups", 1) != 1:
                space.blocked = f"{user.target} reads them in another way"
            else:
                space.readers.append(Reader(target, repeat, before))
        elif isinstance(target, _NORMS) and repeat == 1 and (image or before.dim() == 2):
            space.norms.append(target)
            _follow(space, user, repeat, modules, values, called)
        elif _is_plain(target) or (spatial and (isinstance(target, _POOLS) or target in _POOLING)):
            _follow(space, user, repeat, modules, values, called)
        elif _flattens(user, target, before, after) and (spatial or before.dim() == 2):
            wider = before[0, 0].numel() if spatial else 1
            _follow(space, user, repeat * wider, modules, values, called)
        elif spatial and _averages(user, target, before, after):
            _follow(space, user, repeat, modules, values, called)
        elif user.op == "call_method" and target == "size" and user.args[1:] == (0,):
            continue  # the number of rows
        else:
            space.blocked = f"they meet {_word(user, target)}"


def _is_plain(target: Any) -> bool:
    """Whether the operation maps each number by itself, in evaluation mode."""
    if isinstance(target, nn.PReLU):
        return target.num_parameters == 1
    if isinstance(target, nn.Module):
        return isinstance(target, (*ACTIVATIONS, *_DROPOUTS)) and not isinstance(target, _MIXING)
    return target in _METHODS if isinstance(target, str) else target in _ELEMENTWISE


def _flattens(user: fx.Node, target: Any, before: Tensor, after: Any) -> bool:
    """Whether all but the rows become one dimension, by a call that asks for no fixed width."""
    if not isinstance(after, Tensor) or after.shape != before.flatten(1).shape:
        return False
    if isinstance(target, nn.Flatten) or target is torch.flatten or target == "flatten":
        return True
    return target in ("view", "reshape") and bool(user.args[-1] == -1)


def _averages(user: fx.Node, target: Any, before: Tensor, after: Any) -> bool:
    """Whether every channel becomes its mean (or largest) over all places."""
    return target in ("mean", "amax", torch.mean, torch.amax) and bool(after.shape == before.shape[:2])


def _word(user: fx.Node, target: Any) -> str:
    if target in (operator.add, operator.iadd, torch.add):
        return "a sum"
    if isinstance(target, nn.Module):
        return f"{type(target).__name__} ({user.target})"
    return str(getattr(target, "__name__", target))
