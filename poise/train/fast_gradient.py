"""Losses and gradients by kernels, where the network is a chain of layers that they know, and the loss a known one."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor, nn

from poise.core.context import Batch
from poise.core.errors import ArgumentError, shown
from poise.core.terms import DATA
from poise.kernels import available
from poise.kernels import chain as kernels
from poise.kernels.product import PRODUCTS
from poise.train.chain import read_chain
from poise.train.chain_plan import ChainPlan
from poise.train.fast_forward import places_of, pointed
from poise.train.losses import CrossEntropy, SeveralLosses, SquaredError
from poise.train.optimizers import Flat
from poise.train.work import Work, is_plain

__all__ = ["FastNetwork", "ReadyNetwork"]


class FastNetwork:
    """A network and its loss for kernels; read anew where the batch has another shape or parts went idle.

    Raises: ArgumentError if `products` is none that kernels know.
    """

    def __init__(self, module: nn.Module, loss: Any, products: str = "float32") -> None:
        if products not in PRODUCTS:
            raise ArgumentError(
                f'`Population.products` must be "float32" or "bfloat16"; got {shown(products)}. The second rounds what '
                "is multiplied to half the bits."
            )
        self.module = module
        self.loss = loss
        self.products = products
        self._read: dict[Any, ReadyNetwork | None] = {}

    def ready(self, flat: Flat, batch: Batch) -> ReadyNetwork | None:
        """Return the network and its loss for batches of this shape, None where something has no kernel."""
        if not available() or not self.module.training:
            return None
        inputs, targets = batch.inputs, batch.targets
        if not is_plain(flat.data, inputs, targets, *([] if batch.weights is None else [batch.weights])):
            return None
        if inputs.dim() != 3 or targets.dim() not in (2, 3) or batch.visits is not None:
            return None
        key = (inputs.shape[1:], targets.shape[1:])
        if key not in self._read:
            self._read = {key: self._prepared(flat, inputs, targets)}
        return self._read[key]

    def _prepared(self, flat: Flat, inputs: Tensor, targets: Tensor) -> ReadyNetwork | None:
        plan = read_chain(self.module, places_of(flat), inputs.shape[1], inputs.shape[2], self.products)
        width = 1 if targets.dim() == 2 else targets.shape[2]
        losses = None if plan is None else _losses_of(self.loss, plan.outputs, width)
        narrow = self.products == "bfloat16"
        return None if plan is None or losses is None else ReadyNetwork(plan, losses, flat, width, narrow)


class ReadyNetwork:
    """A chain with everything in it that stays from step to step."""

    def __init__(
        self, plan: ChainPlan, losses: dict[str, kernels.Loss], flat: Flat, targets: int, narrow: bool
    ) -> None:
        self.plan, self.names, self.narrow = plan, list(losses), narrow
        self.losses = (kernels.Loss * len(losses))(*losses.values())
        self.targets = targets
        self._grads = torch.zeros(0, flat.data.shape[1])

    def add(
        self, work: Work, flat: Flat, buffers: dict[str, Tensor], keys: Tensor, batch: Batch
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Put the pass forward and back on the list; return each data term (M,) and the gradients (M, P) to come."""
        members = work.members
        if len(self._grads) != members:
            self._grads = torch.zeros_like(flat.data)  # zero stays where a parameter is in no layer
        terms = torch.empty(*work.shape, len(self.names))
        layers = pointed(self.plan, buffers, work)
        chain = kernels.Chain(
            rows=self.plan.rows, parameters=flat.data.shape[1], columns=self.plan.columns, targets_width=self.targets,
            outputs_width=self.plan.outputs, layers_count=len(self.plan.layers), losses_count=len(self.losses),
            output=self.plan.output, output_grad=self.plan.output_grad, narrow=self.narrow, layers=layers,
            losses=ctypes.addressof(self.losses), params=work.hold(flat.data), grads=self._grads.data_ptr(),
            keys=work.keys(keys), inputs=work.hold(batch.inputs), targets=work.hold(batch.targets),
            weights=None if batch.weights is None else work.hold(batch.weights), terms=terms.data_ptr(),
        )  # fmt: skip
        work.held += [terms, self]
        work.add("poise_chain", chain, self.plan.size, {"keys": 24 * members, "terms": 4 * members * len(self.names)})
        return {name: terms[..., place] for place, name in enumerate(self.names)}, self._grads


def _losses_of(loss: Any, outputs: int, targets: int) -> dict[str, kernels.Loss] | None:
    """Return the data's terms by name, None if a kernel does not know the loss, or the widths do not fit."""
    if type(loss) is SeveralLosses:
        blocks = loss.blocks
        if blocks.width != outputs or targets != outputs + (len(blocks.classes) if blocks.presence else 0):
            return None
        found = {}
        for task, (name, own) in enumerate(zip(loss.names, loss.losses, strict=True)):
            first, past = blocks.spans[task]
            one = _loss_of(own, first, past - first, outputs + task if blocks.presence else -1)
            if one is None:
                return None
            found[f"{DATA}/{name}"] = one
        return found
    one = _loss_of(loss, 0, outputs, -1) if outputs == targets else None
    return None if one is None else {DATA: one}


def _loss_of(loss: Any, first: int, width: int, known: int) -> kernels.Loss | None:
    if type(loss) is SquaredError:
        return kernels.Loss(kind=kernels.LOSSES["squared_error"], first=first, width=width, known=known)
    weights = loss.class_weights if type(loss) is CrossEntropy else None
    if type(loss) is not CrossEntropy or not (weights is None or (is_plain(weights) and weights.shape == (width,))):
        return None
    held = None if weights is None else weights.contiguous()
    found = kernels.Loss(
        kind=kernels.LOSSES["cross_entropy"], first=first, width=width, known=known,
        class_weights=None if held is None else held.data_ptr(),
    )  # fmt: skip
    found.held = held  # so that it lives as long as the pointer
    return found
