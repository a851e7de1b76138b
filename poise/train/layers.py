"""The inserted layers of one network: its key and the step's dials written into them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from poise.core.kinds import inserted_layers
from poise.core.recipe import Recipe

__all__ = ["set_layers"]


def set_layers(model: nn.Module, recipe: Recipe, key: Tensor) -> None:
    """Write the key (3,) and the resolved recipe's dials into the model's inserted layers."""
    for _path, layer in inserted_layers(model):
        # New tensors, not copy_: between objective() and backward() autograd still holds the old ones.
        layer.key = key.to(layer.key.device)
        for name, value in recipe[layer.part].dials().items():
            setattr(layer, name, torch.as_tensor(value).to(getattr(layer, name)))
