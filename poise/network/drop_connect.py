"""DropConnect: weights switched off at random while training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from poise.core.dial import dial
from poise.core.kinds import Inserted
from poise.network.dropout import dropped
from poise.network.in_weights import InWeights, WeightLayer

__all__ = ["DropConnect", "DropConnectLayer"]


class DropConnectLayer(WeightLayer):
    """Zeroes each weight of its host with probability `p` for one forward pass."""

    p: Tensor

    def edited(self, weight: Tensor) -> Tensor:
        return dropped(weight, self.rng().margin("keep", tuple(weight.shape), self.p), self.p)


@dataclass(frozen=True)
class DropConnect(InWeights):
    """Switch off each weight of the hidden layers with probability p at every training step, and scale the others.

    w' = w m / (1 - p), m ~ Bernoulli(1 - p) for each weight; one mask for all rows of the batch (the paper draws
    one for each row, which would cost a weight matrix for each row). Evaluation uses w, the mean. Biases are kept.
    A finer noise than dropout, for dense layers with many redundant weights; costs one mask and two passes over
    the weights, little where the batch is larger than the layer.

    Neutral: p = 0.
    Shapes: hidden Linear and Conv layers; the last weight layer is left alone.
    Units: p is the share of weights dropped, not the share kept.
    Raises: ArgumentError if p is outside [0, 1].
    Source: Wan, Zeiler, Zhang, LeCun, Fergus 2013, "Regularization of neural networks using DropConnect".

    >>> import torch
    >>> model = DropConnect(0.75).network(nn.Sequential(nn.Linear(100, 1), nn.Linear(1, 1)))
    >>> _ = model[0].weight.data.fill_(1.0)
    >>> seen = []
    >>> _ = model[0].register_forward_pre_hook(lambda host, _: seen.append(host._parameters["weight"]))
    >>> _ = model(torch.ones(1, 100))
    >>> sorted(set(seen[0].flatten().tolist())), float(model[0].weight.detach().mean())
    ([0.0, 4.0], 1.0)
    """

    rank: ClassVar[int] = 30
    formula: ClassVar[str] = "w' = w m / (1 - p), m ~ Bernoulli(1 - p)"
    cost: ClassVar[str] = "one mask and two passes over the hidden weights"

    p: float = dial(0.2, neutral=0.0, low=0.0, high=1.0, unit="share of weights", search=(0.0, 0.8))

    def layer(self, host: nn.Module) -> Inserted:
        return DropConnectLayer(self)
