"""Optimizers over a whole population: one flat (M, P) tensor, one learning rate a member.

Weight decay is not here: it is a regularizer (`poise.update.Decay`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from poise.core.trees import Tree
from poise.kernels.compiled import compiled

__all__ = ["Adam", "Flat", "Optimizer", "Sgd"]


class Flat:
    """All weights of a population in one tensor (M, P), with a named view for each parameter."""

    def __init__(self, data: Tensor, shapes: Mapping[str, torch.Size]) -> None:
        self.data = data
        self.shapes = dict(shapes)
        self._views = self.named(data)
        self._gathered: tuple[Tensor, dict[str, Tensor]] | None = None

    @staticmethod
    def of(params: Mapping[str, Tensor]) -> Flat:
        """Return stacked parameters {name: (M, ...)} as one tensor: what they are views of side by side, or a copy."""
        shapes = {name: p.shape[1:] for name, p in params.items()}
        members = next(iter(params.values())).shape[0]
        data = _whole(params, shapes, members)
        if data is None:
            data = torch.cat([p.reshape(members, -1) for p in params.values()], dim=1)
        return Flat(data, shapes)

    @staticmethod
    def empty(like: Tensor, members: int, shapes: Mapping[str, torch.Size]) -> Flat:
        """Return room for so many members' parameters of these shapes, on the device and of the dtype of `like`."""
        return Flat(like.new_empty(members, sum(math.prod(shape) for shape in shapes.values())), shapes)

    def views(self) -> dict[str, Tensor]:
        """Return the parameters by name; writing to a view writes to the population."""
        return dict(self._views)

    def named(self, data: Tensor) -> dict[str, Tensor]:
        """Return the views of any (M, P) tensor that is laid out like this one."""
        views, start = {}, 0
        for name, shape in self.shapes.items():
            size = math.prod(shape)
            views[name] = data[:, start : start + size].view(data.shape[0], *shape)
            start += size
        return views

    def gather(self, values: Mapping[str, Tensor]) -> Tensor:
        """Return {name: (M, ...)} laid out as (M, P): what they are views of, or a copy that the next call writes over.

        Into a tensor that is kept: `torch.cat` makes a new one each time and takes five times as long.
        """
        if (found := self.whole(values)) is not None:
            return found
        if self._gathered is None:
            data = torch.empty_like(self.data)
            self._gathered = (data, self.named(data))
        data, views = self._gathered
        for name, view in views.items():
            view.copy_(values[name])
        return data

    def whole(self, values: Mapping[str, Tensor]) -> Tensor | None:
        """Return the (M, P) tensor that {name: (M, ...)} are the views of, if they lie there as the weights do here."""
        return _whole(values, self.shapes, len(self.data))

    def set(self, values: Mapping[str, Tensor]) -> None:
        """Write values in; a value that is the view itself is left alone."""
        for name, view in self._views.items():
            if values[name] is not view:
                view.copy_(values[name])

    def select(self, members: Tensor) -> Flat:
        """Return the population of the given members."""
        return Flat(self.data[members], self.shapes)


def _whole(values: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], members: int) -> Tensor | None:
    """Return the (M, P) tensor whose columns, in order, the values (M, ...) are views of, if there is one."""
    first = values[next(iter(shapes))]
    width = sum(math.prod(shape) for shape in shapes.values())
    start = first.storage_offset()
    storage = first.untyped_storage()._cdata  # what the views share; not its address, which some devices do not tell
    for name, shape in shapes.items():
        tensor = values[name]
        inner = torch.empty(shape, device="meta").stride()
        if (
            tensor.storage_offset() != start
            or tensor.untyped_storage()._cdata != storage
            or tensor.shape != (members, *shape)
            or tensor.stride() != (width, *inner)
            or tensor.dtype != first.dtype
        ):
            return None
        start += math.prod(shape)
    return first.as_strided((members, width), (width, 1))


class Optimizer(ABC):
    """An update rule for (M, P) tensors. `scale` is its effective step per coordinate, for proximal regularizers."""

    @abstractmethod
    def start(self, weights: Flat) -> Tree:
        """Return the state at step 0."""

    @abstractmethod
    def step(self, weights: Flat, grads: Tensor, state: Tree, lr: Tensor, done: int | Tensor) -> None:
        """Change weights and state in place; `lr` (M,) float64, `done` steps taken before: a tensor while recorded."""

    @abstractmethod
    def scale(self, weights: Flat, state: Tree, lr: Tensor, done: int | Tensor) -> Tensor:
        """Return the effective step (M, P) of the step just taken, `done` steps taken before it."""


@dataclass(frozen=True)
class Sgd(Optimizer):
    """w <- w - lr m, m <- momentum m + g. Effective step lr / (1 - momentum): that of a constant gradient."""

    momentum: float = 0.0

    def start(self, weights: Flat) -> Tree:
        return {"momentum": torch.zeros_like(weights.data)} if self.momentum else {}

    def step(self, weights: Flat, grads: Tensor, state: Tree, lr: Tensor, done: int | Tensor) -> None:
        if self.momentum:
            grads = state["momentum"].mul_(self.momentum).add_(grads)
        weights.data.sub_(grads * lr[:, None].to(grads))

    def scale(self, weights: Flat, state: Tree, lr: Tensor, done: int | Tensor) -> Tensor:
        return (lr / (1 - self.momentum))[:, None].to(weights.data).expand_as(weights.data)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015) with bias correction; with `poise.update.Decay` in the recipe, AdamW.

    Effective step lr / (sqrt(v / (1 - b2^t)) + eps).
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def start(self, weights: Flat) -> Tree:
        return {"first": torch.zeros_like(weights.data), "second": torch.zeros_like(weights.data)}

    def step(self, weights: Flat, grads: Tensor, state: Tree, lr: Tensor, done: int | Tensor) -> None:
        first, second = self.betas
        if not weights.data.is_cpu:
            self._step_at_once(weights.data, grads, state, lr, done)
            return
        # One member at a time: its four rows stay in the core's cache, a pass over all members would not.
        corrected = math.sqrt(1 - second ** (done + 1))
        begun = 1 - first ** (done + 1)
        rows = zip(weights.data, grads, state["first"], state["second"], lr.tolist(), strict=True)
        for weight, grad, m, v, own in rows:
            m.lerp_(grad, 1 - first)
            v.mul_(second).addcmul_(grad, grad, value=1 - second)
            weight.addcdiv_(m, v.sqrt().div_(corrected).add_(self.eps), value=-(own / begun))

    def _step_at_once(self, weights: Tensor, grads: Tensor, state: Tree, lr: Tensor, done: int | Tensor) -> None:
        """Make the same step of all members: on a GPU, members one by one would cost a launch each."""
        first, second = self.betas
        rate = (lr / (1 - first ** (done + 1)))[:, None].to(weights)
        corrected = (torch.ones_like(lr) * (1 - second ** (done + 1)) ** 0.5)[:, None].to(weights)
        _adam(first, second, self.eps)(weights, grads, state["first"], state["second"], rate, corrected)

    def scale(self, weights: Flat, state: Tree, lr: Tensor, done: int | Tensor) -> Tensor:
        corrected = (1 - self.betas[1] ** (done + 1)) ** 0.5
        effective: Tensor = lr[:, None].to(weights.data) / (state["second"].sqrt() / corrected + self.eps)
        return effective


@cache
def _adam(first: float, second: float, eps: float) -> Callable[..., None]:
    """Return the update of weights (M, P) and moments in place, by rates and roots of the correction (M, 1)."""

    @compiled
    def update(weights: Tensor, grads: Tensor, mean: Tensor, square: Tensor, rate: Tensor, corrected: Tensor) -> None:
        mean.lerp_(grads, 1 - first)
        square.mul_(second).addcmul_(grads, grads, value=1 - second)
        weights.addcdiv_(mean * -rate, square.sqrt().div_(corrected).add_(eps))

    return update
