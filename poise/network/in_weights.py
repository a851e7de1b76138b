"""Layers that edit their host's weight for the length of one forward pass."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from poise.core.kinds import Inserted
from poise.core.regularizer import Regularizer
from poise.network.attach import AtSites, child_name, child_of
from poise.network.rules import WEIGHT_RULES

__all__ = ["InWeights", "WeightLayer", "give_back", "lend"]


class WeightLayer(Inserted):
    """Maps a weight to the weight that this forward pass uses.

    The edited tensor stands in the host's place for the parameter only while the host runs. Gradients reach the
    parameter through it, and optimizers, state_dict and functional_call never see it. `weights` names the parameters
    of the host; `in_evaluation` says that evaluation runs on edited weights too, as a reparametrised weight must.
    """

    in_evaluation: ClassVar[bool] = False

    def __init__(self, part: Regularizer, weights: tuple[str, ...] = ("weight",)) -> None:
        super().__init__(part)
        self.weights = weights
        self.lent: list[
            tuple[str, Tensor, Tensor]
        ] = []  # (name, parameter, edited weight); a list, so that torch registers nothing

    @abstractmethod
    def edited(self, weight: Tensor) -> Tensor:
        """Return the weight for this forward pass."""

    def edits(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights for this forward pass, by name."""
        return {name: self.edited(weight) for name, weight in weights.items()}

    def lend(self, host: nn.Module) -> None:
        """Put the edited weights in the parameters' place."""
        self.give_back(host)  # of a forward pass that Ctrl-C cut off
        if self.idle or not (self.training or self.in_evaluation):
            return
        weights: dict[str, Tensor] = {name: host._parameters[name] for name in self.weights}  # type: ignore[misc]  # sites have these weights
        for name, edited in self.edits(weights).items():
            self.note(weights[name], edited)
            # Past nn.Module.__setattr__, which refuses a plain tensor where a parameter is declared.
            host._parameters[name] = edited  # type: ignore[assignment]  # the point of this line
            self.lent.append((name, weights[name], edited))

    def give_back(self, host: nn.Module) -> None:
        """Put the parameters back, unless somebody else (functional_call, another layer) has done so already."""
        while self.lent:
            name, weight, edited = self.lent.pop()
            if host._parameters[name] is edited:
                host._parameters[name] = weight  # type: ignore[assignment]  # a plain tensor under functional_call


def lend(child: str, host: nn.Module, _: Any) -> None:
    """Forward pre-hook."""
    layer = child_of(host, child)
    assert isinstance(layer, WeightLayer)
    layer.lend(host)


def give_back(child: str, host: nn.Module, _: Any, __: Any) -> None:
    """Forward hook; always called, also after an error in the host's forward."""
    layer = child_of(host, child)
    assert isinstance(layer, WeightLayer)
    layer.give_back(host)


@dataclass(frozen=True, kw_only=True)
class InWeights(AtSites, abstract=True):
    """Layers that edit weights at every forward pass. Two on one host nest: last lent, first given back."""

    places: ClassVar[tuple[str, ...]] = WEIGHT_RULES

    where: str = "hidden layers"

    def touches(self) -> str:
        return f"the weights of {self.where}"

    def insert(self, host: nn.Module, layer: Inserted) -> None:
        name = child_name(self)
        host.register_forward_pre_hook(partial(lend, name))
        host.register_forward_hook(partial(give_back, name), prepend=True, always_call=True)
