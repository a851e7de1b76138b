"""Trained members as one thing that predicts: M sets of weights under one structure."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from poise.core.kinds import inserted_layers
from poise.core.trees import map_tree
from poise.train.fast_forward import outputs_by_kernels
from poise.train.looped import map_network

__all__ = ["Stack", "join_stacks", "map_stack"]


@dataclass(frozen=True)
class Stack:
    """M networks of one structure. Shapes: each weight and buffer (M, ...).

    `buffers` holds the inserted layers' dials too, because a norm's share matters at prediction.
    """

    module: nn.Module
    weights: dict[str, Tensor]
    buffers: dict[str, Tensor]

    def __len__(self) -> int:
        return int(next(iter(self.weights.values())).shape[0])

    def outputs(self, inputs: Tensor, rows: Tensor | None = None, *, chunk: int = 512) -> Any:
        """Return every member's outputs (M, n, ...): on the same inputs (n, ...), or each on its own `rows` (M, n).

        A network that returns a dict by task gives such a dict.
        """
        by_kernels = outputs_by_kernels(self.module, self.weights, self.buffers, inputs, rows)
        if by_kernels is not None:
            return by_kernels

        def answer(x: Tensor, own: Tensor | None = None) -> Any:
            def one(weights: dict[str, Tensor], buffers: dict[str, Tensor], rows: Tensor | None) -> Any:
                return functional_call(self.module, (weights, buffers), (x if rows is None else rows,))

            return map_network(self.module, one, len(self), self.weights, self.buffers, own)

        with torch.no_grad():
            if rows is None:
                found = [answer(part) for part in inputs.split(chunk)]
            else:
                found = [answer(inputs, inputs[part]) for part in rows.split(chunk, dim=1)]
            return map_tree(lambda *pieces: torch.cat(pieces, dim=1), *found)

    def to(self, device: torch.device | str) -> Stack:
        """Return the networks on a device."""
        there = map_stack(lambda tensor: tensor.to(device), self)
        return replace(there, module=copy.deepcopy(self.module).to(device))

    def select(self, members: Tensor) -> Stack:
        """Return the given members."""
        return map_stack(lambda tensor: tensor[members], self)

    def network(self, place: int) -> nn.Module:
        """Return one member as a plain module in evaluation mode."""
        module = copy.deepcopy(self.module)
        own = {name: tensor[place] for name, tensor in {**self.weights, **self.buffers}.items()}
        with torch.no_grad():
            for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
                if name in own:
                    tensor.copy_(own[name])
        for _path, layer in inserted_layers(module):
            layer.idle = False
        return module.eval()


def map_stack(function: Callable[[Tensor], Tensor], stack: Stack) -> Stack:
    """Return the stack with a function applied to every tensor."""
    weights = {name: function(tensor) for name, tensor in stack.weights.items()}
    buffers = {name: function(tensor) for name, tensor in stack.buffers.items()}
    return Stack(stack.module, weights, buffers)


def join_stacks(stacks: Sequence[Stack]) -> Stack:
    """Return the members of several stacks of one structure as one, in order."""
    first = stacks[0]
    return Stack(
        first.module,
        {name: torch.cat([stack.weights[name] for stack in stacks]) for name in first.weights},
        {name: torch.cat([stack.buffers[name] for stack in stacks]) for name in first.buffers},
    )
