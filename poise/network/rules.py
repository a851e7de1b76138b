"""The rules that say where layers go, by the names that a part's `where` may hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from poise.core.errors import ArgumentError, shown
from poise.network import sites
from poise.network.activation_sites import convolution_activations, selu_activations
from poise.network.residual import residual_branches, unread

__all__ = ["RULES", "WEIGHT_RULES", "Rule", "check_rule"]


@dataclass(frozen=True)
class Rule:
    """A way to find sites: `words` for the receipt, `notes` says where the rule could not look.

    `before`: the layer edits what enters the host, not what leaves.
    """

    words: str
    find: Callable[[nn.Module], list[tuple[str, nn.Module]]]
    before: bool = False
    notes: Callable[[nn.Module], list[str]] = lambda module: []


RULES: dict[str, Rule] = {
    "inputs": Rule("the model's input", sites.whole, before=True),
    "embeddings": Rule("after every embedding", sites.embeddings),
    "activations": Rule("after every activation", sites.activations),
    "convolution activations": Rule("after every activation of a convolution", convolution_activations),
    "SELU activations": Rule("after every SELU", selu_activations),
    "hidden layers": Rule("after every hidden layer", sites.hidden_layers),
    "weight layers": Rule("after every weight layer", sites.weight_layers),
    "first layer": Rule("after the first weight layer", sites.first_layer),
    "convolutions": Rule("after every convolution", sites.convolutions),
    "recurrent layers": Rule("after every recurrent layer", sites.recurrent_layers),
    "attention": Rule("after every attention", sites.attention),
    "residual branches": Rule("at the end of every residual branch", residual_branches, notes=unread),
    "outputs": Rule("the model's output", sites.whole),
}
"""Every rule goes by type or structure, never by a name in the model. A hidden layer is a linear layer or convolution
that is not the last one; a weight layer may be the last. Layers edit the output of recurrent layers and of attention,
not their states or weights."""

WEIGHT_RULES = ("hidden layers", "weight layers", "first layer", "convolutions")
"""The rules whose sites are linear layers and convolutions: for parts that need the host's weight or features."""


def check_rule(owner: str, where: object, allowed: tuple[str, ...]) -> None:
    """Raise ArgumentError unless `where` is the name of an allowed rule."""
    if where not in allowed:
        raise ArgumentError(
            f"`{owner}.where` must be one of {', '.join(allowed)}; got {shown(where)}. "
            "Sites are found by type or structure, never by name; give two parts two names for two rules."
        )
