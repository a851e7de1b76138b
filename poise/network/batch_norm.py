"""Batch normalisation: each feature standardised over the rows of the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from poise.core.dial import dial
from poise.core.errors import ArgumentError, shown
from poise.core.inserted import Inserted, recomputing
from poise.core.regularizer import Regularizer
from poise.network.attach import AfterHiddenLayers
from poise.network.standardize import standardize

__all__ = ["BatchNorm", "BatchNormLayer", "check_eps", "check_statistics", "features_of"]


def features_of(host: nn.Module) -> tuple[int, int]:
    """Return (number of features, their dimension counted from the end) of a linear layer's or convolution's output."""
    if isinstance(host, nn.Linear):
        return host.out_features, -1
    if isinstance(host, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return host.out_channels, -1 - len(host.kernel_size)
    raise ArgumentError(
        f"a normalisation must stand behind a linear layer or a convolution; got {type(host).__name__}."
    )


def check_statistics(owner: str, momentum: object, eps: object) -> None:
    """Raise ArgumentError unless the momentum of the running statistics and eps are in their ranges."""
    if not (isinstance(momentum, float) and 0 < momentum <= 1):
        raise ArgumentError(f"`{owner}.momentum` must be in (0, 1]; got {shown(momentum)}. It weighs the new batch.")
    check_eps(owner, eps)


def check_eps(owner: str, eps: object) -> None:
    """Raise ArgumentError unless eps, which keeps a division from 0, is positive."""
    if not (isinstance(eps, float) and 0 < eps < float("inf")):
        raise ArgumentError(f"`{owner}.eps` must be a finite number > 0; got {shown(eps)}. 1e-5 is usual.")


class BatchNormLayer(Inserted):
    """Standardises features: by the batch while training, by running statistics in evaluation."""

    is_norm = True
    share: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, part: Regularizer, host: nn.Module, momentum: float, eps: float) -> None:
        super().__init__(part)
        features, self.dim = features_of(host)
        self.momentum, self.eps = momentum, eps
        owner: Tensor = host.weight  # type: ignore[assignment]  # features_of has checked the host
        self.weight = nn.Parameter(torch.ones(features, dtype=owner.dtype, device=owner.device))
        self.bias = nn.Parameter(torch.zeros(features, dtype=owner.dtype, device=owner.device))
        self.register_buffer("running_mean", torch.zeros(features, dtype=owner.dtype, device=owner.device))
        self.register_buffer("running_var", torch.ones(features, dtype=owner.dtype, device=owner.device))

    def forward(self, x: Tensor) -> Tensor:
        if x.numel() == 0:
            return x
        # float32 at least, as in torch: bfloat16 sums over a batch lose the variance.
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        shape = (-1, *[1] * (-1 - self.dim))
        share = self.share.to(wide.dtype)
        gain = (self.weight.to(wide.dtype) * share).reshape(shape)
        offset = (self.bias.to(wide.dtype) * share).reshape(shape)
        if not self.training:
            slope = gain * torch.rsqrt(self.running_var.to(wide.dtype) + self.eps).reshape(shape)
            shift = offset - self.running_mean.to(wide.dtype).reshape(shape) * slope
            return torch.addcmul(shift, wide, slope + (1 - share)).to(x.dtype)
        out, mean, var = self.standardized(wide, gain, offset, 1 - share)
        if not recomputing():  # a checkpoint that repeats the pass must not move them again
            self._remember(mean.detach(), var.detach())
        return out.to(x.dtype)

    def standardized(self, x: Tensor, gain: Tensor, offset: Tensor, rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the output, and the mean (F,) and variance (F,) of the rows, divided by their number less 1."""
        rows = x.numel() // x.shape[self.dim]
        if rows == 1:
            raise ArgumentError(
                f"`{type(self).__name__.removesuffix('Layer')}` must see 2 rows or more in a training batch; got 1. "
                "Pass drop_last=True to the data loader, or use LayerNorm."
            )
        dims = tuple(d for d in range(x.dim()) if d != x.dim() + self.dim)
        out, mean, var = standardize(x, gain, offset, rest, self.eps, dims)
        return out, mean.flatten(), var.flatten() * (rows / (rows - 1))

    def _remember(self, mean: Tensor, var: Tensor) -> None:
        """Move the running statistics in place: an assignment would be lost under vmap and functional_call.

        A layer of share 0 is as if it were not there, and so its statistics stay.
        """
        for running, batch in ((self.running_mean, mean), (self.running_var, var)):
            moved = running * (1 - self.momentum) + batch.to(running.dtype) * self.momentum
            running.copy_(torch.where(self.share == 0, running, moved))


@dataclass(frozen=True)
class BatchNorm(AfterHiddenLayers):
    """Standardise each hidden feature over the batch, then give it a learned scale and shift.

    y = x + share (weight (x - mean) / sqrt(var + eps) + bias - x). Mean and variance are those of the batch while
    training (variance divided by n), and running ones in evaluation: running = (1 - momentum) running + momentum
    batch, the variance divided by n - 1, as torch has it; they stay as they are while share = 0. Helps deep networks
    to train at higher learning rates and regularizes through the noise of batch statistics; costs two passes over the
    activations forward and five back.

    Neutral: share = 0.
    Shapes: (..., F) after a linear layer, (B, C, ...) after a convolution; statistics over all other dimensions.
    Units: share is the weight of the normalised values; momentum is the weight of the new batch.
    Raises: ArgumentError if share is outside [0, 1], momentum outside (0, 1], eps <= 0; in training with one row.
    Source: Ioffe and Szegedy 2015, "Batch Normalization", algorithms 1 and 2; torch.nn.BatchNorm1d at share = 1.

    >>> model = BatchNorm(eps=1e-12).network(nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)))
    >>> hidden = model[0](torch.tensor([[1.0], [3.0]])).abs().detach()
    >>> [round(float(v), 4) for v in hidden.flatten()]
    [1.0, 1.0]
    """

    rank: ClassVar[int] = 10
    formula: ClassVar[str] = "y = x + share (weight (x - batch mean) / sqrt(batch var + eps) + bias - x)"
    cost: ClassVar[str] = "2 passes over the activations forward, 5 back"

    share: float = dial(1.0, neutral=0.0, low=0.0, high=1.0, unit="share", search=(0.0, 1.0))
    momentum: float = 0.1
    eps: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_statistics(type(self).__name__, self.momentum, self.eps)

    def layer(self, host: nn.Module) -> Inserted:
        return BatchNormLayer(self, host, self.momentum, self.eps)
