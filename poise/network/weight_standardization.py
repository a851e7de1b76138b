"""Weight standardisation: each unit's weights brought to mean 0 and variance 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.core.dial import dial
from poise.core.kinds import Inserted
from poise.network.batch_norm import check_eps
from poise.network.in_weights import InWeights, WeightLayer

__all__ = ["WeightStandardization", "WeightStandardizationLayer"]


class WeightStandardizationLayer(WeightLayer):
    """Standardises each unit's weights, in training and evaluation alike."""

    in_evaluation = True
    share: Tensor

    def __init__(self, part: WeightStandardization) -> None:
        super().__init__(part)
        self.eps = part.eps

    def edited(self, weight: Tensor) -> Tensor:
        wide = weight.to(torch.promote_types(weight.dtype, torch.float32))
        units = wide.flatten(1)
        standard = F.layer_norm(units, (units.shape[1],), eps=self.eps).reshape(weight.shape)
        return torch.lerp(wide, standard, self.share.to(wide.dtype)).to(weight.dtype)


@dataclass(frozen=True)
class WeightStandardization(InWeights):
    """Bring the weights of each hidden unit to mean 0 and variance 1 before they are used.

    w' = w + share ((w - mean) / sqrt(var + eps) - w), mean and variance over the weights into one unit (a row of
    (out, in) or a filter of (out, in, ...)), var divided by their number. Makes the loss smoother; made for group
    normalisation with tiny batches, where batch normalisation cannot work. Put a norm behind it: the standardised
    weights are sqrt(in) times larger than usual ones. Costs three passes over the weights at each forward pass, in
    evaluation too.

    Neutral: share = 0.
    Shapes: the weights of hidden Linear and Conv layers with two inputs to a unit or more; biases are left alone.
    Units: share is the weight of the standardised weights; eps is a variance of weights.
    Raises: ArgumentError if share is outside [0, 1] or eps <= 0.
    Source: Qiao, Wang, Liu, Shen, Yuille 2019, "Micro-batch training with batch-channel normalization and weight
        standardization"; their code adds eps to the deviation instead.

    >>> model = WeightStandardization(eps=1e-12).network(nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(1, 1)))
    >>> _ = model[0].weight.data.copy_(torch.tensor([[1.0, 3.0]]))
    >>> model[0](torch.tensor([[0.0, 1.0], [1.0, 0.0]])).flatten().tolist()
    [1.0, -1.0]
    """

    rank: ClassVar[int] = 10
    formula: ClassVar[str] = "w' = w + share ((w - unit mean) / sqrt(unit var + eps) - w)"
    cost: ClassVar[str] = "three passes over the hidden weights"

    share: float = dial(1.0, neutral=0.0, low=0.0, high=1.0, unit="share", search=(0.0, 1.0))
    eps: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_eps(type(self).__name__, self.eps)

    def find(self, module: nn.Module) -> list[tuple[str, nn.Module]]:
        # A single weight standardised is 0: the layer would be cut.
        return [(path, host) for path, host in super().find(module) if _inputs_of(host) > 1]

    def layer(self, host: nn.Module) -> Inserted:
        return WeightStandardizationLayer(self)


def _inputs_of(host: nn.Module) -> int:
    weight: Tensor = host._parameters["weight"]  # type: ignore[assignment]  # hidden layers have a weight
    return weight[0].numel()
