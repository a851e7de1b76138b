"""Group normalisation: groups of channels standardised in each row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.core.dial import dial
from poise.core.errors import ArgumentError, shown
from poise.core.kinds import Inserted
from poise.network.attach import AfterHiddenLayers
from poise.network.batch_norm import check_eps, features_of

__all__ = ["GroupNorm", "GroupNormLayer"]


class GroupNormLayer(Inserted):
    """Standardises each row's groups of channels, in training and evaluation alike."""

    is_norm = True
    share: Tensor

    def __init__(self, part: GroupNorm, host: nn.Module) -> None:
        super().__init__(part)
        features, self.dim = features_of(host)
        self.groups, self.eps = part.groups, part.eps
        owner: Tensor = host.weight  # type: ignore[assignment]  # features_of has checked the host
        self.weight = nn.Parameter(torch.ones(features, dtype=owner.dtype, device=owner.device))
        self.bias = nn.Parameter(torch.zeros(features, dtype=owner.dtype, device=owner.device))

    def forward(self, x: Tensor) -> Tensor:
        grouped = x.unflatten(self.dim, (self.groups, -1))
        # A group's channels and positions are the last dimensions, as many as channels and positions had.
        standard = F.layer_norm(grouped, grouped.shape[self.dim :], eps=self.eps).flatten(self.dim - 1, self.dim)
        share = self.share.to(x.dtype)
        shape = (-1, *[1] * (-1 - self.dim))
        gain, offset = ((t.to(x.dtype) * share).reshape(shape) for t in (self.weight, self.bias))
        return torch.addcmul(torch.addcmul(offset, standard, gain), x, 1 - share)


@dataclass(frozen=True)
class GroupNorm(AfterHiddenLayers):
    """Standardise groups of hidden channels in each row, then give each channel a learned scale and shift.

    y = x + share (weight (x - mean) / sqrt(var + eps) + bias - x), mean and variance over one row's group of
    channels / groups channels and all their positions (divided by their number). Behaves alike in training and
    evaluation and for a batch of one row: for convolutions where batches are too small for batch normalisation.
    One group is layer normalisation over channels and positions. Costs three passes over the activations.

    Neutral: share = 0.
    Shapes: (..., F) after a linear layer, groups of F at each position; (B, C, ...) after a convolution.
    Units: share is the weight of the normalised values.
    Raises: ArgumentError if share is outside [0, 1], eps <= 0, groups is not a whole number >= 1, or a hidden layer
        has a number of channels that the groups do not divide (when the layers are inserted, before any is).
    Source: Wu and He 2018, "Group normalization", equations 1 to 7; torch.nn.GroupNorm at share = 1.

    >>> layer = GroupNorm(groups=2, eps=1e-12).layer(nn.Linear(1, 4))
    >>> [round(float(v), 4) for v in layer(torch.tensor([[1.0, 3.0, 50.0, 10.0]]))[0].detach()]
    [-1.0, 1.0, 1.0, -1.0]
    """

    rank: ClassVar[int] = 10
    formula: ClassVar[str] = "y = x + share (weight (x - group mean) / sqrt(group var + eps) + bias - x)"
    cost: ClassVar[str] = "3 passes over the activations"

    share: float = dial(1.0, neutral=0.0, low=0.0, high=1.0, unit="share", search=(0.0, 1.0))
    groups: int = 8
    eps: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.groups, bool) or not isinstance(self.groups, int) or self.groups < 1:
            raise ArgumentError(
                f"`GroupNorm.groups` must be a whole number >= 1; got {shown(self.groups)}. 1 is one group of all."
            )
        check_eps(type(self).__name__, self.eps)

    def network(self, module: nn.Module) -> nn.Module:
        for path, host in self.find(module):
            channels, _dim = features_of(host)
            if channels % self.groups:
                raise ArgumentError(
                    f"`GroupNorm.groups` must divide the channels of every hidden layer; got {self.groups} for the "
                    f"{channels} channels of {path!r}. Choose a divisor of {channels}, or another width."
                )
        return super().network(module)

    def layer(self, host: nn.Module) -> Inserted:
        return GroupNormLayer(self, host)
