"""Trained members as one thing that predicts: M sets of weights under one structure."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from poise.core.kinds import inserted_layers
from poise.core.trees import map_tree

__all__ = ["Stack", "map_stack"]


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

        def one(weights: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Any:
            return functional_call(self.module, (weights, buffers), (x,))

        answer = torch.vmap(one, in_dims=(0, 0, None if rows is None else 0))
        with torch.no_grad():
            parts = inputs.split(chunk) if rows is None else [inputs[part] for part in rows.split(chunk, dim=1)]
            found = [answer(self.weights, self.buffers, part) for part in parts]
            return map_tree(lambda *pieces: torch.cat(pieces, dim=1), *found)

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
