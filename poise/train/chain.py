"""The fast way through a network: where its forward pass is a chain of known layers, kernels train each member alone.

`read_chain` reads a network as such a chain, or returns None where some layer, hook or parameter has no kernel; the
step then goes by `torch.vmap`, which is the definition of both. Results agree to rounding, random numbers to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as torch_module

from poise.core.inserted import Aside, Inserted, begin_pass
from poise.core.links import Beside, Columns, Features, Levels, Link, Linked, Periodic, Piecewise, Through, links_of
from poise.core.rng import stream
from poise.kernels.chain import ACTIVATIONS, KINDS, Layer, kept_of_bins
from poise.network.attach import child_of, through
from poise.network.batch_norm import BatchNormLayer
from poise.network.dropout import DropoutLayer
from poise.network.hidden_noise import HiddenNoiseLayer
from poise.train.chain_plan import ChainPlan, Value

__all__ = ["read_chain"]

_ACTIVATIONS = {nn.ReLU: "relu", nn.SiLU: "silu", nn.Mish: "mish", nn.SELU: "selu", nn.Tanh: "tanh", nn.GELU: "gelu"}

FEWEST_BINS = {"float32": 6, "bfloat16": 12}
"""Bins of a column from which on a product does without their features; measured with 8, 16, 32 and 64."""


class _UnknownError(Exception):
    """Something in the network has no kernel."""


def read_chain(
    module: nn.Module, places: Mapping[str, tuple[int, torch.Size]], rows: int, columns: int, products: str = "float32"
) -> ChainPlan | None:
    """Return the network as a chain for batches (rows, columns), None if it is none.

    `places`: where each trained parameter begins in a member's row of parameters, and its shape. `products`: what the
    operands of its products are.
    """
    if torch_module._has_any_global_hook():
        return None
    try:
        return _Reader(module, places, rows, columns, FEWEST_BINS[products]).read()
    except _UnknownError:
        return None


class _Reader:
    """Follows the chain from the input on, and gives every value its place."""

    def __init__(self, module: nn.Module, places: Mapping[str, Any], rows: int, columns: int, fewest_bins: int) -> None:
        self.module, self.fewest_bins = module, fewest_bins
        self.places = dict(places)
        self.plan = ChainPlan(rows, columns)
        self.value = self.input = Value(-1, columns, columns)
        self.beside: Value | None = None  # the value that goes round the layers which are being read
        self.waiting: tuple[str, Features] | None = None  # features that a product may do without
        # Gradients live from one product to the next only: two places take turns.
        sides = [side for one in module.modules() if isinstance(one, nn.Linear) for side in one.weight.shape]
        self.widest = max(sides, default=0)
        self.grads = (self.plan.reserve(rows * self.widest), self.plan.reserve(rows * self.widest))

    def read(self) -> ChainPlan:
        self._modules("", self.module)
        self._settle()
        if self.value.place < 0 or self.value.stride != self.value.width:
            raise _UnknownError
        self.plan.outputs, self.plan.output, self.plan.output_grad = self.value.width, self.value.place, self.value.grad
        return self.plan

    # --- modules -------------------------------------------------------------------------------------------------

    def _modules(self, path: str, module: nn.Module) -> None:
        """Go through a module and the inserted layers behind it."""
        for hook in module._forward_pre_hooks.values():
            if hook is not begin_pass:
                raise _UnknownError
        if module._backward_hooks or module._backward_pre_hooks or "forward" in module.__dict__:
            raise _UnknownError
        self._own(path, module)
        for hook in module._forward_hooks.values():
            if not (isinstance(hook, partial) and hook.func is through):
                raise _UnknownError
            layer = child_of(module, hook.args[0])
            if not layer.idle:
                self._settle()
                self._inserted(layer)

    def _own(self, path: str, module: nn.Module) -> None:
        kind = type(module)
        if kind is nn.Linear:
            self._linear(path, module)  # type: ignore[arg-type]  # asked for just now
        elif kind in _ACTIVATIONS and getattr(module, "approximate", "none") == "none":  # GELU's by tanh is another
            self._settle()
            self._in_place("activation", self._bytes() if kind is nn.ReLU else self.value.width * self.plan.rows,
                           detail=ACTIVATIONS[_ACTIVATIONS[kind]])  # fmt: skip
        elif kind is nn.Sequential:
            for name, child in module.named_children():
                if not isinstance(child, (Inserted, Aside)):
                    self._modules(_join(path, name), child)
        elif isinstance(module, Linked) and (links := links_of(module)):
            for link in links:
                self._link(path, module, link)
        elif kind is not nn.Identity:
            raise _UnknownError

    def _link(self, path: str, module: nn.Module, link: Link) -> None:
        if isinstance(link, Features):
            if self.value.place >= 0 or self.waiting:
                raise _UnknownError
            self.waiting = path, link
            return
        child = module.get_submodule(link.path)
        if isinstance(link, Beside):
            self._settle()
            self.value = replace(self.value, learned=0)
        before = self.value
        if isinstance(link, Beside):
            if not _begins_with_product(child):  # else a layer would change the value that is still to be added
                raise _UnknownError
            self.beside, products = before, self.plan.products
            self._modules(_join(path, link.path), child)
            self.beside, after = None, self.value
            # A second product would write its gradient where the value's own still stands.
            if after.width != before.width or before.stride != before.width or self.plan.products != products + 1:
                raise _UnknownError
            self._layer("add", source=before, target=after, outputs=after.width)
        elif isinstance(link, Through):
            self._modules(_join(path, link.path), child)

    # --- layers --------------------------------------------------------------------------------------------------

    def _linear(self, path: str, module: nn.Linear) -> None:
        weight = self._parameter(f"{path}.weight", (module.out_features, module.in_features))
        bias = -1 if module.bias is None else self._parameter(f"{path}.bias", (module.out_features,))
        binned = self._settle(before_product=True)
        size = self._width_of(*binned) if binned else 0
        if module.in_features != size + (0 if binned and self.value.place < 0 else self.value.width):
            raise _UnknownError
        before, width = self.value, module.out_features
        self.value = Value(self.plan.reserve(self.plan.rows * width), width, width, self._next_grad())
        if binned:
            self._bins(*binned, inputs=size, weight=weight, bias=bias, weight_stride=module.in_features)
        if module.in_features > size:
            # The gradient of a value that goes round the product is there before the product's own.
            self._layer("linear", source=before, target=self.value, inputs=before.width, outputs=width,
                        bias=-1 if binned else bias, weight=weight + size, weight_stride=module.in_features,
                        onto=bool(binned), add=before is self.beside, learned=before.learned)  # fmt: skip

    def _settle(self, *, before_product: bool = False) -> tuple[str, Piecewise] | None:
        """Read the features that wait. A product needs no features of bins: they are returned, the others are read."""
        if self.waiting is None:
            return None
        (path, link), self.waiting = self.waiting, None
        first, *rest = link.parts
        if not (before_product and isinstance(first, Piecewise) and self._bins_of(path, first) >= self.fewest_bins):
            self._features(path, link)
            return None
        if rest:
            self._features(path, Features(tuple(rest)))
        return path, first

    def _bins(self, path: str, part: Piecewise, *, inputs: int, **rest: int) -> None:
        """Read bins and the product behind them as one layer."""
        columns, size, width = torch.tensor(part.columns), self._bins_of(path, part), self.value.width
        self.plan.constants.append(columns)
        kept = self.plan.reserve(kept_of_bins(self.plan.rows, len(columns), size, width))
        self._layer("bins", {"low": _join(path, part.low), "slope": _join(path, part.slope)}, source=self.input,
                    target=self.value, inputs=len(columns), outputs=width, detail=size, columns=columns.data_ptr(),
                    kept=kept, **rest)  # fmt: skip

    def _inserted(self, layer: Inserted) -> None:
        kind, path = type(layer), self._path_of(layer)
        if layer.draw or layer.watched:
            raise _UnknownError
        if kind is BatchNormLayer and layer.dim == -1:
            if layer.training and self.plan.rows < 2:  # an error to be told by the layer itself
                raise _UnknownError
            width = self.value.width
            weight, bias = self._parameter(f"{path}.weight", (width,)), self._parameter(f"{path}.bias", (width,))
            buffers = {"dial": f"{path}.share", "running_mean": f"{path}.running_mean",
                       "running_var": f"{path}.running_var"}  # fmt: skip
            kind_of_norm = "batch_norm" if layer.training else "fixed_norm"
            kept = (self.plan.rows + 1) * width if layer.training else 0
            self._in_place(kind_of_norm, kept, buffers, weight=weight, bias=bias, momentum=layer.momentum,
                           eps=layer.eps)  # fmt: skip
        elif kind in (DropoutLayer, HiddenNoiseLayer) and not layer.training:
            return
        elif kind is DropoutLayer:
            self._in_place("dropout", self._bytes(), {"dial": f"{path}.p"}, stream=stream(f"{layer.label}/0/keep"))
        elif kind is HiddenNoiseLayer:
            self._in_place("noise", 0, {"dial": f"{path}.scale"}, stream=stream(f"{layer.label}/0/noise"))
        else:
            raise _UnknownError

    def _features(self, path: str, link: Features) -> None:
        widths = [self._width_of(path, part) for part in link.parts]
        total = sum(widths)
        if total > self.widest:
            raise _UnknownError
        own = [start for start, part in zip(accumulate(widths, initial=0), link.parts, strict=False)
               if isinstance(part, (Levels, Periodic))]  # fmt: skip
        learned = own[0] if own else 0
        whole, grad = self.plan.reserve(self.plan.rows * total), self._next_grad() if own else -1
        start = 0
        for part, width in zip(link.parts, widths, strict=True):
            target = Value(whole + start, total, width, grad + start if own else -1)
            if isinstance(part, Levels):
                place, shape = self.places.pop(_join(path, part.parameter))
                source = Value(-1 - part.first, self.plan.columns, shape[0])
                self._layer("levels", source=source, target=target, inputs=shape[0], outputs=width, weight=place)
            else:
                self._feature(path, part, target)
            start += width
        self.value = Value(whole, total, total, grad, learned)

    def _feature(self, path: str, part: Columns | Piecewise | Periodic, target: Value) -> None:
        """Read features of single columns."""
        columns, rest, buffers = torch.tensor(part.columns), {}, {}
        self.plan.constants.append(columns)
        kind = "columns"
        if isinstance(part, Piecewise):
            kind, buffers = "piecewise", {"low": _join(path, part.low), "slope": _join(path, part.slope)}
        elif isinstance(part, Periodic):
            kind, shape = "periodic", (len(part.columns), target.width // len(part.columns) - 1)
            rest = {"weight": self._parameter(_join(path, part.frequency), shape),
                    "bias": self._parameter(_join(path, part.phase), shape),
                    "kept": self.plan.reserve(self.plan.rows * shape[0] * shape[1])}  # fmt: skip
        self._layer(kind, buffers, source=self.value, target=target, inputs=len(part.columns), outputs=target.width,
                    columns=columns.data_ptr(), **rest)  # fmt: skip

    def _width_of(self, path: str, part: Columns | Piecewise | Periodic | Levels) -> int:
        if isinstance(part, (Levels, Periodic)):
            name = _join(path, part.parameter if isinstance(part, Levels) else part.frequency)
            if name not in self.places:
                raise _UnknownError
            size = int(self.places[name][1][1])
            return size if isinstance(part, Levels) else len(part.columns) * (1 + size)
        if isinstance(part, Piecewise):
            return len(part.columns) * (1 + self._bins_of(path, part))
        return len(part.columns)

    def _bins_of(self, path: str, part: Piecewise) -> int:
        return int(self.module.get_buffer(_join(path, part.low)).shape[1])

    # --- places --------------------------------------------------------------------------------------------------

    def _bytes(self) -> int:
        """Return how many floats hold one byte a value."""
        return -(-self.value.width * self.plan.rows // 4)

    def _parameter(self, name: str, shape: tuple[int, ...]) -> int:
        """Return where a parameter begins. A frozen one is not there, nor one that another layer had already."""
        place, found = self.places.pop(name, (-1, torch.Size()))
        if tuple(found) != shape:
            raise _UnknownError
        return int(place)

    def _path_of(self, layer: Inserted) -> str:
        return str(next(path for path, module in self.module.named_modules() if module is layer))

    def _in_place(self, kind: str, kept: int, buffers: dict[str, str] | None = None, **rest: Any) -> None:
        if self.value.place < 0 or self.value.stride != self.value.width:
            raise _UnknownError
        self.value = replace(self.value, learned=0)  # the layer asks for the gradient of all columns
        self._layer(kind, buffers, source=self.value, target=self.value, inputs=self.value.width,
                    outputs=self.value.width, kept=self.plan.reserve(kept) if kept else 0, **rest)  # fmt: skip

    def _layer(
        self, kind: str, buffers: dict[str, str] | None = None, *, source: Value, target: Value, **rest: Any
    ) -> None:
        layer = Layer(
            kind=KINDS[kind], source=source.place, source_stride=source.stride, target=target.place,
            target_stride=target.stride, source_grad=source.grad, target_grad=target.grad,
            **({"weight": -1, "bias": -1} | rest),
        )  # fmt: skip
        self.plan.layers.append(layer)
        self.plan.buffers.append(buffers or {})

    def _next_grad(self) -> int:
        return self.grads[1] if self.value.grad == self.grads[0] else self.grads[0]


def _begins_with_product(module: nn.Module) -> bool:
    while type(module) is nn.Sequential and len(module):
        module = module[0]
    return type(module) is nn.Linear


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
