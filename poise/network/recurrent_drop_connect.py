"""Recurrent DropConnect: weights from state to state switched off at random while training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from poise.core.dial import dial
from poise.core.kinds import Inserted
from poise.network.drop_connect import DropConnectLayer
from poise.network.dropout import dropped
from poise.network.in_weights import InWeights
from poise.network.sequence_sites import recurrent_weights

__all__ = ["RecurrentDropConnect", "RecurrentDropConnectLayer"]


class RecurrentDropConnectLayer(DropConnectLayer):
    """Zeroes each recurrent weight of its host with probability `p` for one forward pass."""

    def edits(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        rng = self.rng()  # one call, however many weights: a checkpoint that repeats it must find its number
        return {
            name: dropped(weight, rng.margin(name, tuple(weight.shape), self.p), self.p)
            for name, weight in weights.items()
        }


@dataclass(frozen=True)
class RecurrentDropConnect(InWeights):
    """Switch off each recurrent weight with probability p at every training step, and scale the others.

    w' = w m / (1 - p), m ~ Bernoulli(1 - p) for each weight from state to state, one mask for the whole forward pass,
    so for all time steps and rows. Regularizes the recurrence itself without touching the state, so torch's fused
    recurrent layers keep their speed; together with `LockedDropout` it is the dropout of AWD-LSTM. Evaluation uses w;
    biases and the weights of inputs are kept. Costs one mask and two passes over the recurrent weights.

    Neutral: p = 0.
    Shapes: every weight_hh_l* of nn.RNN, nn.LSTM and nn.GRU; cells, called step by step, are left alone.
    Units: p is the share of weights dropped, not the share kept; 0.5 is the paper's.
    Raises: ArgumentError if p is outside [0, 1].
    Source: Merity, Keskar, Socher 2018, "Regularizing and optimizing LSTM language models", section 2.

    >>> import torch
    >>> model = RecurrentDropConnect(1.0).network(nn.RNN(1, 3, bias=False))
    >>> x = torch.ones(2, 1, 1)
    >>> output, _ = model(x)
    >>> bool((output == torch.tanh(x @ model.weight_ih_l0.T)).all())
    True
    """

    rank: ClassVar[int] = 30
    formula: ClassVar[str] = "w' = w m / (1 - p), m ~ Bernoulli(1 - p)"
    cost: ClassVar[str] = "one mask and two passes over the recurrent weights"
    places: ClassVar[tuple[str, ...]] = ("recurrent layers",)

    where: str = field(default="recurrent layers", kw_only=True)
    p: float = dial(0.5, neutral=0.0, low=0.0, high=1.0, unit="share of weights", search=(0.0, 0.8))

    def touches(self) -> str:
        return "the recurrent weights of recurrent layers"

    def layer(self, host: nn.Module) -> Inserted:
        return RecurrentDropConnectLayer(self, recurrent_weights(host))
