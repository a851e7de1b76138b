"""A factor for each input, learned faster than the weights behind it: a soft selection of inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from poise.core.dial import dial
from poise.core.kinds import Inserted
from poise.core.select import group_numbers
from poise.network.in_weights import InWeights, WeightLayer

__all__ = ["FrontScale", "FrontScaleLayer"]


class FrontScaleLayer(WeightLayer):
    """Multiplies each input's weights by 1 + speed factor, in training and evaluation alike.

    `groups` (in,): which factor belongs to each of the host's inputs.
    """

    in_evaluation = True
    is_norm = True  # the factors' role: not weights to decay
    speed: Tensor

    def __init__(self, part: FrontScale, host: nn.Module) -> None:
        super().__init__(part)
        weight: Tensor = host._parameters["weight"]  # type: ignore[assignment]  # sites have a weight
        # Of a grouped convolution (out, in / parts, ...), each part of the outputs sees inputs of its own.
        self.parts: int = getattr(host, "groups", 1)
        numbers = group_numbers(getattr(host, "column_groups", None) or range(weight.shape[1] * self.parts))
        # No buffer: it is the same for all members, and no part of the state.
        self.groups = torch.tensor(numbers, device=weight.device)
        self.factor = nn.Parameter(torch.zeros(max(numbers, default=-1) + 1, dtype=weight.dtype, device=weight.device))

    def edited(self, weight: Tensor) -> Tensor:
        if self.groups.device != weight.device:
            self.groups = self.groups.to(weight.device)  # once: not at each step
        scale = (1 + self.speed.to(weight.dtype) * self.factor)[self.groups]
        scale = scale.reshape(self.parts, 1, -1, *[1] * (weight.dim() - 2))
        scaled: Tensor = weight.unflatten(0, (self.parts, -1)) * scale
        return scaled.flatten(0, 1)


@dataclass(frozen=True)
class FrontScale(InWeights):
    """Learn a factor for each input, `speed` times as fast as the weights behind it.

    w' = w (1 + speed f): all weights of an input share its factor f, one number that is learned and starts at 0, so
    that nothing changes at first. Inputs that help grow in the first steps and the others fall behind: a soft
    selection of inputs, which pays where many of them say little. It needs an optimizer that evens out the size of
    gradients (Adam): f then moves as fast as a weight, and the input's share `speed` times as fast; under SGD it is
    speed^2 times. The factors live in the inserted layer with the role of a norm, so that state_dict holds them and
    decay leaves them alone. Costs a pass over the first layer's weights forward and two back, in evaluation too.

    Neutral: speed = 0.
    Shapes: the first layer's weight (out, in, ...); a factor for each input or channel, or for each group of the
        layer's `column_groups` where it declares them (`TabularNet`: one for each column of the table).
    Units: speed is how many times the change of a weight a factor's change counts.
    Raises: ArgumentError if speed is negative or not finite.
    Source: Holzmueller, Grinsztajn and Steinwart 2024, "Better by default", the scaling layer of RealMLP: speed 6, with
        a factor for each feature.

    >>> model = FrontScale(6.0).network(nn.Sequential(nn.Linear(2, 1, bias=False)))
    >>> _ = model[0].weight.data.copy_(torch.tensor([[3.0, 4.0]]))
    >>> _ = model[0].poise_front_scale.factor.data.copy_(torch.tensor([0.5, 0.0]))
    >>> model(torch.tensor([[1.0, 1.0]])).item()
    16.0
    """

    rank: ClassVar[int] = 11
    formula: ClassVar[str] = "w' = w (1 + speed f), f learned for each input"
    cost: ClassVar[str] = "a pass over the first layer's weights forward, two back"

    where: str = field(default="first layer", kw_only=True)
    speed: float = dial(6.0, neutral=0.0, low=0.0, log=True, unit="times a weight's speed", search=(1.0, 100.0))

    def layer(self, host: nn.Module) -> Inserted:
        return FrontScaleLayer(self, host)
