"""Batch statistics for averaged weights: the running ones belong to the raw weights, and would mislead evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from poise.core.dial import dials_of
from poise.core.schedule import Schedule
from poise.core.trees import where_members
from poise.network.batch_norm import BatchNormLayer
from poise.train.fast_forward import outputs_by_kernels
from poise.train.homes import forward
from poise.train.looped import map_network
from poise.train.step import Program, State, with_dials

__all__ = ["restated_buffers"]


def restated_buffers(program: Program, state: State, inputs: Tensor) -> dict[str, Tensor]:
    """Return the buffers with the statistics of one pass of the averaged weights over `inputs` (M, n, ...).

    Dropout and noise are off, each norm normalises by the rows it sees, and its statistics become those of these
    rows. Members that no part averages, or that no norm normalises, keep their running statistics, whatever their
    neighbours do.

    Source: Izmailov et al. 2018, "Averaging weights leads to wider optima", section 3.2.
    """
    norms = [m for m in program.module.modules() if isinstance(m, (BatchNormLayer, nn.modules.batchnorm._BatchNorm))]
    norms = [norm for norm in norms if not (isinstance(norm, BatchNormLayer) and norm.idle)]
    if state.averaged is None or not norms:
        return state.buffers
    buffers = {name: buffer.clone() for name, buffer in with_dials(program, state).items()}
    needed = _averages(program, state) & _normalises(program, norms, buffers, len(state.keys))
    momenta = [norm.momentum for norm in norms]
    program.module.eval()
    try:
        for norm in norms:
            norm.training = True
            norm.momentum = 1.0
        with torch.no_grad():
            _pass(program, state.averaged, buffers, inputs, needed)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        program.module.eval()
    own = {name: buffers[name] for name in state.buffers}
    return where_members(needed, own, state.buffers)  # type: ignore[no-any-return]  # a dict like its inputs


def _pass(
    program: Program, weights: dict[str, Tensor], buffers: dict[str, Tensor], inputs: Tensor, needed: Tensor
) -> None:
    """Pass each needed member's inputs (M, n, ...) through its network once; norms that train move their statistics."""
    members, rows = inputs.shape[:2]
    own = torch.arange(members * rows, device=inputs.device).view(members, rows)
    if (
        outputs_by_kernels(program.module, weights, buffers, inputs.flatten(0, 1), own, at_once=True, chosen=needed)
        is None
    ):
        given = (weights, buffers, inputs)
        map_network(program.module, partial(forward, program.module, program.homes), members, *given)


def _normalises(program: Program, norms: Sequence[nn.Module], buffers: dict[str, Tensor], members: int) -> Tensor:
    """Return (M,) whether some norm does anything to the member: all but inserted ones of share 0."""
    shares = [buffers[f"{path}.share"] for path, layer in program.inserted if layer in norms]
    if len(shares) < len(norms):
        return torch.ones(members, dtype=torch.bool, device=next(iter(buffers.values())).device)
    return torch.stack(shares).ne(0).any(0)


def _averages(program: Program, state: State) -> Tensor:
    """Return (M,) whether some part of the average stage is not neutral for the member."""
    members, device = state.keys.shape[0], state.keys.device
    found = torch.zeros(members, dtype=torch.bool, device=device)
    for part in program.recipe.stage("average"):
        declared = dials_of(part)
        if not declared:
            return torch.ones(members, dtype=torch.bool, device=device)
        for field, dial in declared.items():
            value = state.dials.get(f"{part.name}.{field}", getattr(part, field))
            moved = isinstance(value, Schedule) or torch.as_tensor(value, device=device) != dial.neutral
            found = found | moved
    return found
