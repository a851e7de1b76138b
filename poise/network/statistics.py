"""Exact statistics for batch normalisation after training: for averaged weights, and for weights that moved last."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from poise.core.errors import ArgumentError
from poise.network.batch_norm import BatchNormLayer

__all__ = ["reestimate"]

_TORCH_BATCH_NORM = nn.modules.batchnorm._BatchNorm


class _Tally:
    """Number, mean and sum of squared deviations of the rows seen so far, in float64."""

    def __init__(self) -> None:
        self.rows = 0
        self.mean: Tensor | float = 0.0
        self.squares: Tensor | float = 0.0

    def add(self, x: Tensor, dim: int) -> None:
        """Merge a batch. Source: Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm for
        computing sample variances".
        """
        flat = x.detach().to(torch.float64).movedim(dim, -1).reshape(-1, x.shape[dim])
        rows = flat.shape[0]
        if rows == 0:
            return
        mean = flat.mean(0)
        both = self.rows + rows
        gap = mean - self.mean
        self.squares = self.squares + (flat - mean).square().sum(0) + gap.square() * (self.rows * rows / both)
        self.mean = self.mean + gap * (rows / both)
        self.rows = both


def _listen(tally: _Tally, dim: int, _: nn.Module, inputs: tuple[Any, ...]) -> None:
    tally.add(inputs[0], dim)


@torch.no_grad()
def reestimate(module: nn.Module, batches: Iterable[Any], forward: Callable[[Any], Any] | None = None) -> int:
    """Set the running statistics of every batch normalisation to those of all rows of all batches; return their number.

    mean = sum of x / n, var = sum of (x - mean)^2 / (n - 1) over all n rows, by the law of total variance, so a short
    last batch counts by its rows (`torch.optim.swa_utils.update_bn` counts batches alike). The layers normalise by
    each batch's own statistics on the way, as in training; dropout and noise are off. Each batch is an input tensor,
    or a tuple whose first element is; `forward` (default: the module) runs one. Modes and momentum are left as before.

    Raises: ArgumentError if there are no batches, or a layer sees fewer than two rows.
    Source: Izmailov, Podoprikhin, Garipov, Vetrov, Wilson 2018, "Averaging weights leads to wider optima and better
        generalization", section 3.2.

    >>> norm = nn.BatchNorm1d(1)
    >>> reestimate(norm, [torch.tensor([[0.0], [2.0]]), torch.tensor([[4.0], [6.0], [8.0]])])
    1
    >>> float(norm.running_mean), float(norm.running_var)
    (4.0, 10.0)
    """
    ours = [layer for layer in module.modules() if isinstance(layer, BatchNormLayer)]
    theirs = [
        layer for layer in module.modules() if isinstance(layer, _TORCH_BATCH_NORM) and layer.running_mean is not None
    ]
    layers: list[nn.Module] = [*ours, *theirs]
    if not layers:
        return 0
    tallies = {layer: _Tally() for layer in layers}
    modes = {child: child.training for child in module.modules()}
    saved = {layer: [b.clone() for b in layer.buffers(recurse=False)] for layer in layers}
    hooks = [
        layer.register_forward_pre_hook(partial(_listen, tallies[layer], getattr(layer, "dim", 1))) for layer in layers
    ]
    try:
        module.eval()
        for layer in layers:
            layer.training = True
        for batch in batches:
            (forward or module)(batch[0] if isinstance(batch, (tuple, list)) else batch)
    finally:
        for hook in hooks:
            hook.remove()
        for child, mode in modes.items():
            child.training = mode
        for layer in layers:
            for buffer, before in zip(layer.buffers(recurse=False), saved[layer], strict=True):
                buffer.copy_(before)
    short = [tally.rows for tally in tallies.values() if tally.rows < 2]
    if short:
        raise ArgumentError(
            f"`reestimate.batches` must give every batch normalisation 2 rows or more; got {short[0]}. "
            "Pass the training batches; a generator that was used up gives none."
        )
    for layer, tally in tallies.items():
        layer.running_mean.copy_(tally.mean)  # type: ignore[operator, arg-type]  # tensors in these layers
        layer.running_var.copy_(tally.squares / (tally.rows - 1))  # type: ignore[operator, arg-type]  # as above
    return len(layers)
