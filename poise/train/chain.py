"""The fast way through a network: where its forward pass is a chain of known layers, kernels train each member alone.

`read_chain` reads a network as such a chain, or returns None where some layer, hook or parameter has no kernel; the
step then goes by `torch.vmap`, which is the definition of both. Results agree to rounding, random numbers to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as torch_module

from poise.core.inserted import Aside, Inserted, begin_pass
from poise.core.links import Beside, Features, Link, Linked, Piecewise, Through, links_of
from poise.core.rng import stream
from poise.kernels.chain import ACTIVATIONS, kept_of_bins
from poise.network.attach import child_of, through
from poise.network.batch_norm import BatchNormLayer
from poise.network.dropout import DropoutLayer
from poise.network.front_scale import FrontScaleLayer
from poise.network.hidden_noise import HiddenNoiseLayer
from poise.network.in_weights import give_back, lend
from poise.train.chain_plan import ChainPlan, Value
from poise.train.chain_reading import Reading, UnknownError, join

__all__ = ["read_chain"]

_ACTIVATIONS = {nn.ReLU: "relu", nn.SiLU: "silu", nn.Mish: "mish", nn.SELU: "selu", nn.Tanh: "tanh", nn.GELU: "gelu"}

FEWEST_BINS = {"float32": 6, "bfloat16": 12}
"""Bins of a column from which on a product does without their features; measured with 8, 16, 32 and 64."""


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
    except UnknownError:
        return None


class _Reader(Reading):
    """Follows the chain from the input on, and gives every value its place."""

    def __init__(self, module: nn.Module, places: Mapping[str, Any], rows: int, columns: int, fewest_bins: int) -> None:
        super().__init__(module, places, rows, columns)
        self.fewest_bins = fewest_bins
        self.input = self.value
        self.beside: Value | None = None  # the value that goes round the layers which are being read
        self.waiting: tuple[str, Features] | None = None  # features that a product may do without

    def read(self) -> ChainPlan:
        self._modules("", self.module)
        self._settle()
        if self.value.place < 0 or self.value.stride != self.value.width:
            raise UnknownError
        self.plan.outputs, self.plan.output, self.plan.output_grad = self.value.width, self.value.place, self.value.grad
        return self.plan

    # --- modules -------------------------------------------------------------------------------------------------

    def _modules(self, path: str, module: nn.Module) -> None:
        """Go through a module and the inserted layers behind it."""
        for hook in module._forward_pre_hooks.values():
            if hook is not begin_pass and not (isinstance(hook, partial) and hook.func is lend):
                raise UnknownError
        if module._backward_hooks or module._backward_pre_hooks or "forward" in module.__dict__:
            raise UnknownError
        self._own(path, module)
        for hook in module._forward_hooks.values():
            if isinstance(hook, partial) and hook.func is give_back:
                continue
            if not (isinstance(hook, partial) and hook.func is through):
                raise UnknownError
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
                    self._modules(join(path, name), child)
        elif isinstance(module, Linked) and (links := links_of(module)):
            for link in links:
                self._link(path, module, link)
        elif kind is not nn.Identity:
            raise UnknownError

    def _link(self, path: str, module: nn.Module, link: Link) -> None:
        if isinstance(link, Features):
            if self.value.place >= 0 or self.waiting:
                raise UnknownError
            self.waiting = path, link
            return
        child = module.get_submodule(link.path)
        if isinstance(link, Beside):
            self._settle()
            self.value = replace(self.value, learned=0)
        before = self.value
        if isinstance(link, Beside):
            if not _begins_with_product(child):  # else a layer would change the value that is still to be added
                raise UnknownError
            self.beside, products = before, self.plan.products
            self._modules(join(path, link.path), child)
            self.beside, after = None, self.value
            # A second product would write its gradient where the value's own still stands.
            if after.width != before.width or before.stride != before.width or self.plan.products != products + 1:
                raise UnknownError
            self.layer("add", source=before, target=after, outputs=after.width)
        elif isinstance(link, Through):
            self._modules(join(path, link.path), child)

    # --- layers --------------------------------------------------------------------------------------------------

    def _linear(self, path: str, module: nn.Linear) -> None:
        weight = self.parameter(f"{path}.weight", (module.out_features, module.in_features))
        bias = -1 if module.bias is None else self.parameter(f"{path}.bias", (module.out_features,))
        binned = self._settle(before_product=True)
        size = self.width_of(*binned) if binned else 0
        if module.in_features != size + (0 if binned and self.value.place < 0 else self.value.width):
            raise UnknownError
        before, width = self.value, module.out_features
        scaled = self._front_scale(module, weight)
        self.value = Value(self.plan.reserve(self.plan.rows * width), width, width, self.next_grad())
        if binned:
            self._bins(*binned, inputs=size, weight=weight, bias=bias, weight_stride=module.in_features, **scaled)
        if module.in_features > size:
            # The gradient of a value that goes round the product is there before the product's own.
            self.layer("linear", source=before, target=self.value, inputs=before.width, outputs=width,
                       bias=-1 if binned else bias, weight=weight + size, weight_stride=module.in_features,
                       onto=bool(binned), add=before is self.beside, learned=before.learned,
                       **{name: place + size for name, place in scaled.items()})  # fmt: skip

    def _front_scale(self, module: nn.Linear, weight: int) -> dict[str, Any]:
        """Read what edits a product's weights; return where the edited ones and their gradient lie, {} if nothing."""
        hooks = [hook for hook in module._forward_pre_hooks.values() if hook is not begin_pass]
        layers = [child_of(module, hook.args[0]) for hook in hooks]  # type: ignore[attr-defined]  # `_modules` has asked
        # An idle layer without a kernel, too: else a member's way, and its last bits, would change when others leave.
        if any(type(layer) is not FrontScaleLayer or layer.watched for layer in layers) or len(layers) > 1:
            raise UnknownError
        if not layers or layers[0].idle:
            return {}
        layer = layers[0]
        assert isinstance(layer, FrontScaleLayer)
        path, (rows, inputs) = self._path_of(layer), module.weight.shape
        places = {name: self.plan.reserve(rows * inputs) for name in ("scaled", "scaled_grad")}
        groups, count = layer.groups.cpu(), len(layer.factor)
        self.plan.constants.append(groups)
        target = Value(places["scaled"], inputs, inputs, places["scaled_grad"])
        self.layer("front_scale", {"dial": f"{path}.speed"}, source=self.input, target=target, inputs=inputs,
                    outputs=rows, weight=weight, bias=self.parameter(f"{path}.factor", (count,)), detail=count,
                    columns=groups.data_ptr(), kept=self.plan.reserve(2 * inputs))  # fmt: skip
        return places

    def _settle(self, *, before_product: bool = False) -> tuple[str, Piecewise] | None:
        """Read the features that wait. A product needs no features of bins: they are returned, the others are read."""
        if self.waiting is None:
            return None
        (path, link), self.waiting = self.waiting, None
        first, *rest = link.parts
        if not (before_product and isinstance(first, Piecewise) and self.bins_of(path, first) >= self.fewest_bins):
            self.features(path, link)
            return None
        if rest:
            self.features(path, Features(tuple(rest)))
        return path, first

    def _bins(self, path: str, part: Piecewise, *, inputs: int, **rest: int) -> None:
        """Read bins and the product behind them as one layer."""
        columns, size, width = torch.tensor(part.columns), self.bins_of(path, part), self.value.width
        self.plan.constants.append(columns)
        kept = self.plan.reserve(kept_of_bins(self.plan.rows, len(columns), size, width))
        self.layer("bins", {"low": join(path, part.low), "slope": join(path, part.slope)}, source=self.input,
                    target=self.value, inputs=len(columns), outputs=width, detail=size, columns=columns.data_ptr(),
                    kept=kept, **rest)  # fmt: skip

    def _inserted(self, layer: Inserted) -> None:
        kind, path = type(layer), self._path_of(layer)
        if layer.draw or layer.watched:
            raise UnknownError
        if kind is BatchNormLayer and layer.dim == -1:
            if layer.training and self.plan.rows < 2:  # an error to be told by the layer itself
                raise UnknownError
            width = self.value.width
            weight, bias = self.parameter(f"{path}.weight", (width,)), self.parameter(f"{path}.bias", (width,))
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
            raise UnknownError

    # --- in place --------------------------------------------------------------------------------------------------

    def _bytes(self) -> int:
        """Return how many floats hold one byte a value."""
        return -(-self.value.width * self.plan.rows // 4)

    def _path_of(self, layer: Inserted) -> str:
        return str(next(path for path, module in self.module.named_modules() if module is layer))

    def _in_place(self, kind: str, kept: int, buffers: dict[str, str] | None = None, **rest: Any) -> None:
        if self.value.place < 0 or self.value.stride != self.value.width:
            raise UnknownError
        self.value = replace(self.value, learned=0)  # the layer asks for the gradient of all columns
        self.layer(kind, buffers, source=self.value, target=self.value, inputs=self.value.width,
                    outputs=self.value.width, kept=self.plan.reserve(kept) if kept else 0, **rest)  # fmt: skip


def _begins_with_product(module: nn.Module) -> bool:
    while type(module) is nn.Sequential and len(module):
        module = module[0]
    return type(module) is nn.Linear
