"""Layer normalisation: each row standardised over its features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.core.dial import dial
from poise.core.kinds import Inserted
from poise.network.attach import AfterHiddenLayers
from poise.network.batch_norm import check_eps, features_of

__all__ = ["LayerNorm", "LayerNormLayer"]


class LayerNormLayer(Inserted):
    """Standardises each row over its features, in training and evaluation alike."""

    is_norm = True
    share: Tensor

    def __init__(self, part: LayerNorm, host: nn.Module) -> None:
        super().__init__(part)
        features, self.dim = features_of(host)
        self.eps = part.eps
        owner: Tensor = host.weight  # type: ignore[assignment]  # features_of has checked the host
        self.weight = nn.Parameter(torch.ones(features, dtype=owner.dtype, device=owner.device))
        self.bias = nn.Parameter(torch.zeros(features, dtype=owner.dtype, device=owner.device))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.movedim(self.dim, -1)
        share = self.share.to(x.dtype)
        standard = F.layer_norm(rows, (rows.shape[-1],), eps=self.eps)
        out = torch.addcmul(self.bias.to(x.dtype) * share, standard, self.weight.to(x.dtype) * share)
        return torch.addcmul(out, rows, 1 - share).movedim(-1, self.dim)


@dataclass(frozen=True)
class LayerNorm(AfterHiddenLayers):
    """Standardise each row over the hidden features, then give each feature a learned scale and shift.

    y = x + share (weight (x - mean) / sqrt(var + eps) + bias - x), mean and variance over the features of one row
    (divided by n). Behaves alike in training and evaluation and for a batch of one row: use it where batch
    normalisation cannot work (tiny batches, sequences). Costs three passes over the activations.

    Neutral: share = 0.
    Shapes: (..., F) after a linear layer, over F; (B, C, ...) after a convolution, over C at each position.
    Units: share is the weight of the normalised values.
    Raises: ArgumentError if share is outside [0, 1] or eps <= 0.
    Source: Ba, Kiros, Hinton 2016, "Layer normalization", equation 3; torch.nn.LayerNorm at share = 1.

    >>> layer = LayerNorm(eps=1e-12).layer(nn.Linear(1, 2))
    >>> [round(float(v), 4) for v in layer(torch.tensor([[1.0, 3.0]]))[0].detach()]
    [-1.0, 1.0]
    """

    rank: ClassVar[int] = 10
    formula: ClassVar[str] = "y = x + share (weight (x - row mean) / sqrt(row var + eps) + bias - x)"
    cost: ClassVar[str] = "3 passes over the activations"

    share: float = dial(1.0, neutral=0.0, low=0.0, high=1.0, unit="share", search=(0.0, 1.0))
    eps: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_eps(type(self).__name__, self.eps)

    def layer(self, host: nn.Module) -> Inserted:
        return LayerNormLayer(self, host)
