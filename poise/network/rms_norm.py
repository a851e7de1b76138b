"""Root mean square normalisation: each row divided by the size of its features."""

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

__all__ = ["RmsNorm", "RmsNormLayer"]


class RmsNormLayer(Inserted):
    """Divides each row by the root mean square of its features, in training and evaluation alike."""

    is_norm = True
    share: Tensor

    def __init__(self, part: RmsNorm, host: nn.Module) -> None:
        super().__init__(part)
        features, self.dim = features_of(host)
        self.eps = part.eps
        owner: Tensor = host.weight  # type: ignore[assignment]  # features_of has checked the host
        self.weight = nn.Parameter(torch.ones(features, dtype=owner.dtype, device=owner.device))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.movedim(self.dim, -1)
        share = self.share.to(x.dtype)
        normed = F.rms_norm(rows, (rows.shape[-1],), eps=self.eps) * (self.weight.to(x.dtype) * share)
        return torch.addcmul(normed, rows, 1 - share).movedim(-1, self.dim)


@dataclass(frozen=True)
class RmsNorm(AfterHiddenLayers):
    """Divide each row by the root mean square of its hidden features, then give each feature a learned scale.

    y = x + share (weight x / sqrt(mean(x^2) + eps) - x), the mean over the features of one row. Layer normalisation
    without centring and shift: as good in transformers and recurrent networks, and cheaper. Behaves alike in training
    and evaluation. Costs two passes over the activations.

    Neutral: share = 0.
    Shapes: (..., F) after a linear layer, over F; (B, C, ...) after a convolution, over C at each position.
    Units: share is the weight of the normalised values.
    Raises: ArgumentError if share is outside [0, 1] or eps <= 0.
    Source: Zhang and Sennrich 2019, "Root mean square layer normalization", equation 4; torch.nn.RMSNorm at share = 1.

    >>> layer = RmsNorm(eps=1e-12).layer(nn.Linear(1, 2))
    >>> [round(float(v), 4) for v in layer(torch.tensor([[1.0, 7.0]]))[0].detach()]
    [0.2, 1.4]
    """

    rank: ClassVar[int] = 10
    formula: ClassVar[str] = "y = x + share (weight x / sqrt(row mean of x^2 + eps) - x)"
    cost: ClassVar[str] = "2 passes over the activations"

    share: float = dial(1.0, neutral=0.0, low=0.0, high=1.0, unit="share", search=(0.0, 1.0))
    eps: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        check_eps(type(self).__name__, self.eps)

    def layer(self, host: nn.Module) -> Inserted:
        return RmsNormLayer(self, host)
