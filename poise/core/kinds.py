"""The four kinds of regularizer, as abstract bases that turn one small method into whole stages."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
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

__all__ = ["Inserted", "Insertion", "Penalty", "Proximal", "Transform", "inserted_layers", "summed"]


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
        self.idle = False  # set where every member's dials are neutral: the layer is then passed by
        self.register_buffer("key", key(0), persistent=False)
        self.key: Tensor
        for name in dials_of(part):
            value = part.dials()[name]
            start = value(0) if callable(value) else value
            self.register_buffer(name, torch.as_tensor(start, dtype=torch.float32), persistent=False)

    def rng(self) -> Rng:
        """Return the generator of this call."""
        call, self.calls = self.calls, self.calls + 1
        return Rng(self.key, f"{self.label}/{call}")


def inserted_layers(module: nn.Module) -> Iterator[tuple[str, Inserted]]:
    """Yield the inserted layers of a module with their paths, in module order."""
    for path, child in module.named_modules():
        if isinstance(child, Inserted):
            yield path, child


def _restart_calls(root: nn.Module, _: Any) -> None:
    for _path, layer in inserted_layers(root):
        layer.calls = 0


@dataclass(frozen=True, kw_only=True)
class Insertion(Regularizer, abstract=True):
    """Layers placed into the network before training, at the sites that a rule names."""

    sites: ClassVar[str] = ""

    @abstractmethod
    def find(self, module: nn.Module) -> list[tuple[str, nn.Module]]:
        """Return (path, host module) for each site."""

    @abstractmethod
    def insert(self, host: nn.Module, layer: Inserted) -> None:
        """Attach the layer to its host with hooks that find it through the host, so that deepcopy keeps working."""

    @abstractmethod
    def layer(self, host: nn.Module) -> Inserted:
        """Return a new layer for the host."""

    def network(self, module: nn.Module) -> nn.Module:
        for path, host in self.find(module):
            child = f"poise_{self.name}"
            if child in host._modules:
                raise ArgumentError(
                    f"`{type(self).__name__}.name` must be new to the model; {path or 'the module'} has a layer of "
                    f"the part {self.name!r} already. Insert a recipe once, into a fresh model or a copy of one."
                )
            layer = self.layer(host).train(host.training)  # a new layer is in training mode, whatever its host is in
            layer.label = f"{self.name}/{path}"
            host.add_module(child, layer)
            self.insert(host, layer)
        if not getattr(module, "_poise_counts_calls", False):
            module.register_forward_pre_hook(_restart_calls)
            module._poise_counts_calls = True  # type: ignore[assignment]  # a plain flag on the user's module
        return module
