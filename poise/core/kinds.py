"""The four kinds of regularizer, as abstract bases that turn one small method into whole stages."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from poise.core.context import Batch, Context
from poise.core.dial import dials_of
from poise.core.errors import ArgumentError
from poise.core.regularizer import Memory, Regularizer
from poise.core.rng import Rng, key
from poise.core.select import check_selection, select

__all__ = [
    "Aside",
    "Inserted",
    "Insertion",
    "Penalty",
    "Proximal",
    "Recorder",
    "Transform",
    "count_calls",
    "drawing",
    "forget_calls",
    "inserted_layers",
    "recordings",
    "summed",
]


def summed(values: list[Tensor]) -> Tensor:
    """Return the sum of scalars, 0 for none; float32 at least, because an fp16 sum of squares overflows."""
    if not values:
        return torch.zeros(())
    return torch.stack([v if v.dtype == torch.float64 else v.float() for v in values]).sum()


@dataclass(frozen=True, kw_only=True)
class Penalty(Regularizer, abstract=True):
    """A term added to the objective: subclasses give `penalty(params, ctx)`."""

    where: str | tuple[str, ...] = "weights"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_selection(type(self).__name__, self.where)

    @abstractmethod
    def penalty(self, params: Mapping[str, Tensor], ctx: Context) -> Tensor:
        """Return the term (0-d) for the selected parameters."""

    def objective(self, terms: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        chosen = {name: ctx.params[name] for name in select(ctx.roles, self.where)}
        return terms | {self.name: self.penalty(chosen, ctx)}, memory


@dataclass(frozen=True, kw_only=True)
class Proximal(Regularizer, abstract=True):
    """A penalty that acts by its proximal operator after the optimizer's step, so that zeros are exact.

    The term is reported among the objective's terms without gradient. The threshold of each coordinate is the
    optimizer's effective step there (`ctx.scale`): with the scalar lr, no weight reaches zero under Adam.
    """

    needs: ClassVar[tuple[str, ...]] = ("scale",)

    where: str | tuple[str, ...] = "weights"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_selection(type(self).__name__, self.where)

    @abstractmethod
    def penalty(self, params: Mapping[str, Tensor], ctx: Context) -> Tensor:
        """Return the value of the penalty (0-d)."""

    @abstractmethod
    def proximal(self, name: str, weight: Tensor, scale: Tensor, ctx: Context) -> Tensor:
        """Return argmin_z penalty(z) + sum (z - weight)^2 / (2 scale) for one parameter."""

    def objective(self, terms: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        chosen = {name: ctx.params[name].detach() for name in select(ctx.roles, self.where)}
        return terms | {self.name: self.penalty(chosen, ctx).detach()}, memory

    def update(self, params: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        chosen = select(ctx.roles, self.where)
        return params | {name: self.proximal(name, params[name], ctx.scale[name], ctx) for name in chosen}, memory


@dataclass(frozen=True, kw_only=True)
class Transform(Regularizer, abstract=True):
    """A random edit of the batch in two halves: `draw` the numbers, then `apply` them; a draw can be replayed."""

    @abstractmethod
    def draw(self, rng: Rng, batch: Batch, ctx: Context) -> Any:
        """Return the random numbers of this step: a tensor, or a tuple of tensors."""

    @abstractmethod
    def apply(self, batch: Batch, draw: Any, ctx: Context) -> Batch:
        """Return the edited batch; no randomness here."""

    def batch(self, batch: Batch, memory: Memory, ctx: Context) -> tuple[Batch, Memory]:
        return self.apply(batch, self.draw(ctx.rng, batch, ctx), ctx), memory


class Inserted(nn.Module):
    """Base of the layers that a recipe inserts: dials and the random key travel as non-persistent buffers.

    A non-persistent buffer is absent from state_dict, so a model with inserted layers saves and loads as without.
    A layer that is called several times in one forward pass (a reused activation, a time step) counts its calls, so
    that each call draws anew; the count restarts with the root's forward pass.
    """

    def __init__(self, part: Regularizer) -> None:
        super().__init__()
        self.part = part.name
        self.label = part.name
        self.calls = 0
        self.draw = 0  # another number gives other masks on the same key: a second pass in one step
        self.watched = self.called = self.acted = False  # the no-op detector's: see poise.train.watch
        self.idle = False  # set where every member's dials are neutral: the layer is then passed by
        self.register_buffer("key", key(0), persistent=False)
        self.key: Tensor
        self.dials = tuple(dials_of(part))
        for name in self.dials:
            value = part.dials()[name]
            start = value(0) if callable(value) else value
            self.register_buffer(name, torch.as_tensor(start, dtype=torch.float32), persistent=False)

    def rng(self) -> Rng:
        """Return the generator of this call."""
        call, self.calls = self.calls, self.calls + 1
        return Rng(self.key, f"{self.label}/{call}" + (f"/{self.draw}" if self.draw else ""))

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


class Aside(nn.Module):
    """Holds an inserted layer in a host that may call all its children in turn, as nn.Sequential does: the identity."""

    def __init__(self, layer: Inserted) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Any) -> Any:
        return x


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
    for _path, layer in inserted_layers(module):
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


def _restart_calls(root: nn.Module, _: Any) -> None:
    for _path, layer in inserted_layers(root):
        layer.calls = 0
        if isinstance(layer, Recorder):
            layer.seen = []


def count_calls(module: nn.Module) -> nn.Module:
    """Let the inserted layers of this root count their calls anew in each of its forward passes; return the root."""
    if not getattr(module, "_poise_counts_calls", False):
        module.register_forward_pre_hook(_restart_calls)
        module._poise_counts_calls = True  # type: ignore[assignment]  # a plain flag on the user's module
    return module


def forget_calls(module: nn.Module) -> None:
    """Undo `count_calls`."""
    for number, hook in list(module._forward_pre_hooks.items()):
        if hook is _restart_calls:
            del module._forward_pre_hooks[number]
    module.__dict__.pop("_poise_counts_calls", None)


@dataclass(frozen=True, kw_only=True)
class Insertion(Regularizer, abstract=True):
    """Layers placed into the network before training, at the sites that a rule names.

    `own_gradient` says that the backward pass is not the derivative of the forward pass, by design.
    """

    sites: ClassVar[str] = ""
    own_gradient: ClassVar[bool] = False

    @abstractmethod
    def find(self, module: nn.Module) -> list[tuple[str, nn.Module]]:
        """Return (path, host module) for each site."""

    @abstractmethod
    def insert(self, host: nn.Module, layer: Inserted) -> None:
        """Attach the layer to its host by hooks, each `partial(function, child's name)`.

        So the hook finds the layer through the host, a deep copy works, and removal knows which hooks to take away.
        """

    @abstractmethod
    def layer(self, host: nn.Module) -> Inserted:
        """Return a new layer for the host."""

    def touches(self) -> str:
        """Return in words where layers go, in any model."""
        return self.sites

    def notes(self, module: nn.Module) -> list[str]:
        """Return a sentence for each place of this model that the rule could not look into."""
        return []

    def place(self, path: str, host: nn.Module, layer: Inserted) -> None:
        """Give the host the layer as a child, named after the part, and attach it."""
        child = f"poise_{self.name}"
        if child in host._modules:
            raise ArgumentError(
                f"`{type(self).__name__}.name` must be new to the model; {path or 'the module'} has a layer of "
                f"the part {self.name!r} already. Insert a recipe once, into a fresh model or a copy of one."
            )
        layer.train(host.training)  # a new layer is in training mode, whatever its host is in
        layer.label = f"{self.name}/{path}"
        container = any(not isinstance(one, (Inserted, Aside)) for one in host.children())
        host.add_module(child, Aside(layer) if container else layer)
        self.insert(host, layer)

    def network(self, module: nn.Module) -> nn.Module:
        for path, host in self.find(module):
            self.place(path, host, self.layer(host))
        return count_calls(module)
