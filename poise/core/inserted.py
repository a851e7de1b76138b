"""The layers that a recipe inserts: their base, their random numbers, and how a root keeps count of their calls."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo

from poise.core.dial import dials_of
from poise.core.recipe import Recipe
from poise.core.regularizer import Regularizer
from poise.core.rng import Rng, key

__all__ = [
    "Aside",
    "Due",
    "Inserted",
    "Recorder",
    "begin_pass",
    "count_calls",
    "drawing",
    "forget_calls",
    "inserted_layers",
    "is_torchs",
    "may_call_children",
    "move_to",
    "recomputing",
    "recordings",
    "set_layers",
]


class Inserted(nn.Module):
    """Base of the layers that a recipe inserts: dials and the random key travel as non-persistent buffers.

    A non-persistent buffer is absent from state_dict, so a model with inserted layers saves and loads as without.
    A layer that is called several times in one forward pass (a reused activation, a time step) counts its calls, so
    that each call draws anew; the count restarts with the root's forward pass.
    """

    is_inserted = True
    for_tokens: ClassVar[str] = 'For tokens, place them at where="embeddings".'  # what to do where it meets integers

    def __init__(self, part: Regularizer) -> None:
        super().__init__()
        self.part = part.name
        self.label = part.name
        self.calls = 0
        self.draw = 0  # another number gives other masks on the same key: a second pass in one step
        self.watched = self.called = self.acted = False  # the no-op detector's: see poise.train.watch
        self.written: Regularizer | None = None  # the part whose dials the buffers hold
        self.idle = False  # set where every member's dials are neutral: the layer is then passed by
        self.register_buffer("key", key(0), persistent=False)
        self.key: Tensor
        self.dials = tuple(dials_of(part))
        for name in self.dials:
            value = part.dials()[name]
            start = value(0) if callable(value) else value
            self.register_buffer(name, torch.as_tensor(start, dtype=torch.float32), persistent=False)

    def rng(self) -> Rng:
        """Return the generator of this call; a call that activation checkpointing repeats gets what it had."""
        if recomputing():
            call = self._repeated()
        else:
            call, self.calls = self.calls, self.calls + 1
        return Rng(self.key, f"{self.label}/{call}" + (f"/{self.draw}" if self.draw else ""))

    def rng_of_part(self) -> Rng:
        """Return the generator that all layers of the part share in a forward pass."""
        return Rng(self.key, self.part + (f"/{self.draw}" if self.draw else ""))

    def _repeated(self) -> int:
        if self.calls > 1:
            raise RuntimeError(
                f"{self.label} is called {self.calls} times in a forward pass, so a checkpoint that repeats one of "
                "them cannot tell which: give each call a module of its own, or leave it out of the checkpoint."
            )
        return 0

    def leave(self, host: nn.Module) -> None:
        """Undo what the part did to the host beyond hooks and this child; nothing, for most."""

    def settings(self) -> dict[str, float]:
        """Return the strengths that hold here, for a listing."""
        return {name: float(getattr(self, name)) for name in self.dials}

    def note(self, before: Any, after: Any) -> None:
        """Remember, while watched, that this layer was called in training and whether it changed what it was given."""
        if self.watched and self.training and not self.acted:
            self.called = True
            # Compiled code cannot look at values; there a call counts as an effect.
            self.acted = torch.compiler.is_compiling() or _changed(before, after)


def _changed(before: Any, after: Any) -> bool:
    if not (isinstance(before, Tensor) and isinstance(after, Tensor)):
        return after is not before
    return before is not after and (before.shape != after.shape or not torch.equal(before, after))


def recomputing() -> bool:
    """Whether this forward pass runs inside a backward pass, as torch.utils.checkpoint has it."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


class Aside(nn.Module):
    """Holds an inserted layer in a host that may call all its children in turn, as nn.Sequential does: the identity."""

    def __init__(self, layer: Inserted) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Any) -> Any:
        return x


def may_call_children(host: nn.Module) -> bool:
    """Whether the host's forward may run through all its children: nn.Sequential's does, and a user's own may."""
    if isinstance(host, nn.MultiheadAttention) or all(isinstance(one, (Inserted, Aside)) for one in host.children()):
        return False
    return isinstance(host, nn.Sequential) or not is_torchs(host)


def is_torchs(module: nn.Module) -> bool:
    """Whether the module's forward is one of torch.nn's own."""
    # Static: a scripted module's is no function; and a generated one (torch.fx) has no home.
    home = inspect.getattr_static(type(module), "forward").__module__
    return str(home).startswith("torch.nn.") and "forward" not in module.__dict__


class Recorder(Inserted):
    """A layer that keeps what passes through it while training, for its part's objective stage, and passes it on."""

    def __init__(self, part: Regularizer) -> None:
        super().__init__(part)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen.append(x)
        return x

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"seen": []}  # activations have a graph: they can neither be copied nor saved


@contextmanager
def drawing(module: nn.Module, draw: int) -> Iterator[None]:
    """Let the inserted layers draw other numbers on the same key, as a second pass within one step needs them."""
    layers = [layer for _path, layer in inserted_layers(module)]
    try:
        for layer in layers:
            layer.draw = draw
        yield
    finally:
        for layer in layers:
            layer.draw = 0


def recordings(module: nn.Module) -> dict[str, dict[str, tuple[Tensor, ...]]]:
    """Return what each part's recorders saw since the root's forward pass began, by part and site, and forget it."""
    found: dict[str, dict[str, tuple[Tensor, ...]]] = {}
    for layer in _layers(module):
        if isinstance(layer, Recorder):
            site = layer.label.partition("/")[2]
            found.setdefault(layer.part, {})[site] = tuple(layer.seen)
            layer.seen = []
    return found


def inserted_layers(module: nn.Module) -> Iterator[tuple[str, Inserted]]:
    """Yield the inserted layers of a module with their paths, in module order."""
    for path, child in module.named_modules():
        if isinstance(child, Inserted):
            yield path, child


class Due:
    """What a root writes into its inserted layers when its forward pass begins: a resolved recipe's dials, and a key.

    Not before: between a forward pass and its backward pass, a checkpoint may ask for the old numbers once more.
    """

    def __init__(self, recipe: Recipe, key: Tensor) -> None:
        self.recipe = recipe
        self.key = key

    def begin(self, training: bool) -> None:
        """Hear that a forward pass begins."""


def set_layers(root: nn.Module, due: Due, later: bool = False) -> None:
    """Write dials and key into the root's inserted layers, now and at the start of each pass; `later`: only then."""
    root._poise_due = due  # type: ignore[assignment]  # a plain attribute on the user's module
    if not later:
        _write(root, due)


def _layers(root: nn.Module) -> tuple[Inserted, ...]:
    """Return the inserted layers of a root that counts calls: found once, because each pass asks three times."""
    found: tuple[Inserted, ...] | None = root.__dict__.get("_poise_layers")
    return tuple(layer for _path, layer in inserted_layers(root)) if found is None else found


def _write(root: nn.Module, due: Due) -> None:
    with torch.inference_mode(False):  # an evaluation in that mode must not leave tensors that refuse to be written
        for layer in _layers(root):
            # New tensors, not copy_: between objective() and backward() autograd still holds the old ones.
            # Past nn.Module.__setattr__, which takes longer than some layers' own work.
            held = layer._buffers
            held["key"] = due.key.to(layer.key.device, copy=True)
            part = due.recipe[layer.part]
            if layer.written is not part:
                for name in layer.dials:
                    held[name] = torch.as_tensor(getattr(part, name)).to(getattr(layer, name), copy=True)
                layer.written = part


def _write_due(root: nn.Module) -> None:
    due = root.__dict__.get("_poise_due")
    if due is not None:
        due.begin(root.training)
        _write(root, due)


# As `torch.compiler.disable`, but the compiler, seconds to import, is imported at the first call only.
_write_due_uncompiled = _disable_dynamo(_write_due)


def begin_pass(root: nn.Module, _: Any = None) -> None:
    """Forward pre-hook of the root; to be called where submodules of it run without it."""
    if recomputing():
        return
    for layer in _layers(root):
        layer.calls = 0
        if isinstance(layer, Recorder):
            layer.seen = []
    # The module is there where anything was compiled, or an optimizer made.
    if torch.compiler.is_compiling() or "torch._dynamo" in sys.modules:
        _write_due_uncompiled(root)
    else:
        _write_due(root)


def move_to(layer: Inserted, module: nn.Module) -> None:
    """Move the layer to where the module's weights are, if it has any."""
    first = next(chain(module.parameters(), module.buffers()), None)
    if first is not None and first.device != layer.key.device:
        layer.to(first.device)


def count_calls(module: nn.Module) -> nn.Module:
    """Let the inserted layers of this root count their calls anew in each of its forward passes; return the root."""
    for _path, layer in inserted_layers(module):
        if layer.key.device.type == "cpu":  # its host has no weights that would say where
            move_to(layer, module)
    if not getattr(module, "_poise_counts_calls", False):
        module.register_forward_pre_hook(begin_pass, prepend=True)  # before layers that edit the model's input
        module._poise_counts_calls = True  # type: ignore[assignment]  # a plain flag on the user's module
    module.__dict__["_poise_layers"] = tuple(layer for _path, layer in inserted_layers(module))
    return module


def forget_calls(module: nn.Module) -> None:
    """Undo `count_calls`."""
    for number, hook in list(module._forward_pre_hooks.items()):
        if hook is begin_pass:
            del module._forward_pre_hooks[number]
    for name in ("_poise_counts_calls", "_poise_due", "_poise_layers"):
        module.__dict__.pop(name, None)
