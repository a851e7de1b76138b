"""Inserted layers taken out again: the model is what it was before."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from poise.core.errors import ArgumentError, shown
from poise.core.kinds import Aside, Inserted, count_calls, forget_calls, inserted_layers

__all__ = ["remove"]

_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_MARKS = {  # where torch notes how a hook wants to be called
    "_forward_pre_hooks": ("_forward_pre_hooks_with_kwargs",),
    "_forward_hooks": ("_forward_hooks_with_kwargs", "_forward_hooks_always_called"),
}


def remove(model: nn.Module, *names: str) -> nn.Module:
    """Take the layers of the named parts (of all, if none is named) out of the model, in place, and return it.

    Without its last layer a model has no hook, child or attribute of ours; its weights stay where training left them.

    Raises: ArgumentError if a named part has no layer in the model.

    >>> from poise.network import Dropout
    >>> model = nn.Sequential(nn.ReLU())
    >>> remove(Dropout(0.5).network(model))
    Sequential(
      (0): ReLU()
    )
    """
    present = {layer.part for _path, layer in inserted_layers(model)}
    for name in names:
        if name not in present:
            raise ArgumentError(f"`remove.names` must be parts with layers here: {sorted(present)}; got {shown(name)}.")
    chosen = set(names) or present
    modules = list(model.modules())
    for host in modules:
        for child, held in list(host._modules.items()):
            layer = held.layer if isinstance(held, Aside) else held
            if isinstance(layer, Inserted) and layer.part in chosen:
                del host._modules[child]
                layer.leave(host)
    for host in modules:
        for kind in _HOOKS:
            _unhook(host, kind, {f"poise_{name}" for name in chosen})
    if chosen == present:
        forget_calls(model)
    else:
        count_calls(model)
    return model


def _unhook(host: nn.Module, kind: str, children: set[str]) -> None:
    hooks: dict[int, Any] = getattr(host, kind)
    for number, hook in list(hooks.items()):
        if isinstance(hook, partial) and hook.args and hook.args[0] in children:
            del hooks[number]
            for mark in _MARKS.get(kind, ()):
                getattr(host, mark).pop(number, None)
