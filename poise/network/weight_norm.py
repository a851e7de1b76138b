"""Weight normalisation: the length and the direction of each unit's weights learned apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from poise.core.dial import dial
from poise.core.kinds import Inserted
from poise.network.in_weights import InWeights, WeightLayer

__all__ = ["WeightNorm", "WeightNormLayer"]

_LEAST_NORM = 1e-12  # as in torch.nn.functional.normalize: weights that are all 0 stay 0


class WeightNormLayer(WeightLayer):
    """Gives each unit's weights the learned length `gain`, in training and evaluation alike."""

    in_evaluation = True
    is_norm = True  # the gain's role: not a weight to decay
    share: Tensor

    def __init__(self, part: WeightNorm, host: nn.Module) -> None:
        super().__init__(part)
        weight: Tensor = host._parameters["weight"]  # type: ignore[assignment]  # sites have a weight
        # The present length, so that the network is at first the one that it was.
        self.gain = nn.Parameter(_lengths(weight.detach()).flatten().to(weight.dtype))

    def edited(self, weight: Tensor) -> Tensor:
        length = _lengths(weight)
        wide = weight.to(length.dtype)
        gain = self.gain.to(length.dtype).reshape(length.shape)
        normed = wide * (gain / length.clamp(min=_LEAST_NORM))
        return torch.lerp(wide, normed, self.share.to(length.dtype)).to(weight.dtype)


def _lengths(weight: Tensor) -> Tensor:
    """Return the norm of each unit's weights (out, 1, ...), float32 at least."""
    wide = weight.to(torch.promote_types(weight.dtype, torch.float32))
    norms: Tensor = torch.linalg.vector_norm(wide.flatten(1), dim=1)
    return norms.reshape(-1, *[1] * (weight.dim() - 1))


@dataclass(frozen=True)
class WeightNorm(InWeights):
    """Learn the length of each unit's weights apart from their direction.

    w' = w + share (gain w / |w| - w): a unit is a row of (out, in) or a filter of (out, in, ...), and gain, one number
    a unit, is learned; it starts at |w|, so that nothing changes at first. Evens out the speed at which units learn,
    without the noise and the batch of batch normalisation; decay of w then only speeds up its turning. The gain lives
    in the inserted layer with the role of a norm, so that state_dict holds it and decay leaves it alone. Costs two
    passes over the weights at each forward pass, in evaluation too.

    Neutral: share = 0.
    Shapes: the weights of all Linear and Conv layers; biases are left alone. Units of length 0 stay 0.
    Units: share is the weight of the normalised weights; gain is a length in units of a weight.
    Raises: ArgumentError if share is outside [0, 1].
    Source: Salimans and Kingma 2016, "Weight normalization", equation 2; torch.nn.utils.parametrizations.weight_norm
        (dim = 0) at share = 1.

    >>> model = WeightNorm().network(nn.Sequential(nn.Linear(2, 1, bias=False)))
    >>> _ = model[0].weight.data.copy_(torch.tensor([[3.0, 4.0]])), model[0].poise_weight_norm.gain.data.fill_(10.0)
    >>> model(torch.tensor([[1.0, 0.0]])).item()
    6.0
    """

    rank: ClassVar[int] = 12
    formula: ClassVar[str] = "w' = w + share (gain w / |w| - w)"
    cost: ClassVar[str] = "two passes over the weights"

    where: str = field(default="weight layers", kw_only=True)
    share: float = dial(1.0, neutral=0.0, low=0.0, high=1.0, unit="share", search=(0.0, 1.0))

    def layer(self, host: nn.Module) -> Inserted:
        return WeightNormLayer(self, host)
