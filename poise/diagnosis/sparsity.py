"""How sparse weights really are: the shares that are exactly zero, and that are small, by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from poise.core.errors import ArgumentError, shown

__all__ = ["LayerSparsity", "sparsity"]


@dataclass(frozen=True)
class LayerSparsity:
    """One weight tensor: how many weights it has, how many are exactly 0, how many are at most the threshold in size.

    NaN counts as neither.
    """

    name: str
    weights: int
    zeros: int
    small: int

    @property
    def zero_share(self) -> float:
        """The share that is exactly zero."""
        return self.zeros / self.weights if self.weights else 0.0

    @property
    def small_share(self) -> float:
        """The share whose size is at most the threshold, the zeros among them."""
        return self.small / self.weights if self.weights else 0.0


def sparsity(
    weights: nn.Module | Mapping[str, Tensor], threshold: float = 0.0, *, biases: bool = False
) -> tuple[LayerSparsity, ...]:
    """Return the sparsity of each weight tensor of a network, in its own order.

    Only a weight that is exactly zero can be left out without a change; L1 and its kin make such, weight decay does
    not. Tensors of less than two dimensions (biases, gains of norms) count only with `biases`.

    Raises: ArgumentError if the threshold is no number >= 0.

    >>> sparsity({"weight": torch.tensor([[0.0, 0.5], [1e-4, 2.0]])}, 0.001)[0]
    LayerSparsity(name='weight', weights=4, zeros=1, small=2)
    """
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold < float("inf"):
        raise ArgumentError(
            f"`sparsity.threshold` must be a number >= 0; got {shown(threshold)}. 0 counts exact zeros."
        )
    named = dict(weights.named_parameters()) if isinstance(weights, nn.Module) else weights
    found = []
    with torch.no_grad():
        for name, tensor in named.items():
            if tensor.dim() > 1 or biases:
                size = tensor.detach().abs()
                found.append(
                    LayerSparsity(name, tensor.numel(), int((size == 0).sum()), int((size <= threshold).sum()))
                )
    return tuple(found)
