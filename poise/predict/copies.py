"""A network again, with other weights: what samples and snapshots of the weights predict with."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from poise.core.context import Context
from poise.core.errors import ArgumentError, PoiseWarning

__all__ = ["copies_with", "copy_with"]


def copies_with(
    network: nn.Module, weights: Iterable[Mapping[str, Tensor]], part: str, ctx: Context
) -> list[nn.Module]:
    """Return a copy of the network for each set of weights, each with batch statistics of its own.

    They are counted on the training inputs that the caller of `Run.predictor(batches)` gave; without these a network
    with batch normalisation is warned of, because its running statistics belong to other weights.
    """
    made = [copy_with(network, one, part) for one in weights]
    for member in made:
        if ctx.restate is not None:
            ctx.restate(member)
    if ctx.restate is None and any(name.endswith("running_mean") for name, _ in network.named_buffers()):
        warnings.warn(
            f"{part} predicts with weights that the running statistics of batch normalisation do not belong to: "
            "give it training inputs, run.predictor(batches).",
            PoiseWarning,
            stacklevel=3,
        )
    return made


def copy_with(network: nn.Module, weights: Mapping[str, Tensor], part: str = "copy_with") -> nn.Module:
    """Return a copy of the network with these weights by name, which no longer train; buffers are copied.

    Weights that are not given are shared with the network, and a weight that stands in several places is exchanged
    in all of them. No weight is copied, so under `torch.vmap` they may be mapped.

    Raises: ArgumentError if the network has no parameter of a name: a predictor that another part has wrapped.

    >>> import torch
    >>> copy_with(nn.Linear(1, 1, bias=False), {"weight": torch.tensor([[2.0]])})(torch.ones(1, 1)).item()
    2.0
    """
    own = dict(network.named_parameters())
    if unknown := sorted(weights.keys() - own.keys()):
        raise ArgumentError(
            f"`{part}` needs the network itself to put weights in; got {type(network).__name__} without "
            f"{unknown[0]!r}. A recipe takes one part that predicts with weights of its own."
        )
    new = {id(own[name]): nn.Parameter(weight, requires_grad=False) for name, weight in weights.items()}
    kept = {id(tensor): tensor for tensor in [*own.values(), *network.buffers()]}
    made = copy.deepcopy(network, dict(kept))  # deepcopy takes what is in its memo for copied already
    for module in made.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = new.get(id(parameter), parameter)
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else buffer.clone()
    return made
