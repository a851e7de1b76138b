"""Every member's outputs by kernels, where the network is a chain of layers that they know."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from poise.kernels import available
from poise.kernels import chain as kernels
from poise.train.chain import read_chain
from poise.train.chain_plan import ChainPlan
from poise.train.optimizers import Flat
from poise.train.work import Work, is_plain

__all__ = ["outputs_by_kernels", "places_of"]

_ROWS = 128  # at a time: their activations stay in the core's cache


def outputs_by_kernels(
    module: nn.Module,
    weights: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
    inputs: Tensor,
    rows: Tensor | None = None,
    *,
    at_once: bool = False,
    chosen: Tensor | None = None,
) -> Tensor | None:
    """Return every member's outputs (M, n, K), None where something has no kernel.

    On the same inputs (n, F), or each on its own `rows` (M, n) of them. `at_once`: not some rows at a time, as batch
    statistics need it. Members that are not `chosen` (M,) bool have no outputs: what stands there means nothing.
    """
    if not available() or module.training or not weights or not is_plain(inputs, *weights.values()):
        return None
    if inputs.dim() != 2:
        return None
    total = len(inputs) if rows is None else rows.shape[1]
    if total == 0:
        return None
    flat = Flat.of(weights)
    plan = read_chain(module, places_of(flat), total if at_once else min(_ROWS, total), inputs.shape[1])
    if plan is None or not is_plain(*(buffers.get(name) for names in plan.buffers for name in names.values())):
        return None
    work = Work(len(flat.data))
    outputs = torch.empty(work.members, total, plan.outputs)
    chain = kernels.Chain(
        rows=plan.rows, parameters=flat.data.shape[1], columns=plan.columns, outputs_width=plan.outputs,
        layers_count=len(plan.layers), output=plan.output, layers=pointed(plan, buffers, work),
        params=work.hold(flat.data), keys=work.hold(torch.zeros(work.members, 3, dtype=torch.int64)),
        inputs=work.hold(inputs),
    )  # fmt: skip
    job = kernels.Answers(
        net=ctypes.addressof(chain), total=total, index=None if rows is None else work.hold(rows),
        chosen=None if chosen is None else work.hold(chosen), spare=plan.size, outputs=outputs.data_ptr(),
    )  # fmt: skip
    work.held += [chain, plan]
    work.add("poise_answers", job, plan.size + plan.rows * plan.columns)
    work.run()
    return outputs


def pointed(plan: ChainPlan, buffers: Mapping[str, Tensor], work: Work) -> int:
    """Return the address of the plan's layers, pointed to the members' buffers."""
    layers = (kernels.Layer * len(plan.layers))(*plan.layers)
    for layer, names in zip(layers, plan.buffers, strict=True):
        for field, name in names.items():
            # Statistics are written to where they lie; `hold` copies only what all members share.
            setattr(layer, field, work.hold(buffers[name]))
            if field.startswith("running"):
                work.changed.append(buffers[name])
    work.held.append(layers)
    return ctypes.addressof(layers)


def places_of(flat: Flat) -> dict[str, tuple[int, torch.Size]]:
    """Return where each parameter begins in a member's row, and its shape."""
    places, start = {}, 0
    for name, shape in flat.shapes.items():
        places[name] = (start, shape)
        start += math.prod(shape)
    return places
