"""The four kinds of regularizer, as abstract bases that turn one small method into whole stages."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from poise.core.context import Batch, Context
from poise.core.errors import ArgumentError
from poise.core.inserted import (
    Aside,
    Due,
    Inserted,
    Recorder,
    count_calls,
    drawing,
    forget_calls,
    inserted_layers,
    may_call_children,
    move_to,
    recordings,
    set_layers,
)
from poise.core.regularizer import Memory, Regularizer
from poise.core.rng import Rng
from poise.core.select import check_selection, select
from poise.core.visits import draws_of

__all__ = [
    "Aside",
    "Due",
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
    "set_layers",
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
    """A random edit of the batch in two halves: `draw` the numbers, then `apply` them; a draw can be replayed.

    Draws ask for shapes that begin with the rows: they are then those of the samples where the batch has visits.
    """

    @abstractmethod
    def draw(self, rng: Rng, batch: Batch, ctx: Context) -> Any:
        """Return the random numbers of this step: a tensor, or a tuple of tensors."""

    @abstractmethod
    def apply(self, batch: Batch, draw: Any, ctx: Context) -> Batch:
        """Return the edited batch; no randomness here."""

    def batch(self, batch: Batch, memory: Memory, ctx: Context) -> tuple[Batch, Memory]:
        return self.apply(batch, self.draw(draws_of(ctx.rng, batch), batch, ctx), ctx), memory


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
        move_to(layer, host)
        layer.label = f"{self.name}/{path}"
        host.add_module(child, Aside(layer) if may_call_children(host) else layer)
        self.insert(host, layer)

    def network(self, module: nn.Module) -> nn.Module:
        for path, host in self.find(module):
            self.place(path, host, self.layer(host))
        return count_calls(module)
