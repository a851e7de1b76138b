"""Where layers go that suit certain activations only: those of convolutions, which have channels, and SELU."""

from __future__ import annotations

from torch import nn

from poise.network.sites import ACTIVATIONS, WEIGHT_LAYERS, Site

__all__ = ["convolution_activations", "selu_activations"]


def convolution_activations(module: nn.Module) -> list[Site]:
    """Return (path, module) of every activation whose last weight layer before it, in module order, is a convolution.

    Behind a linear layer the second dimension may be time and not a channel, so these activations are left out.

    >>> network = nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2, 2), nn.ReLU())
    >>> [path for path, _ in convolution_activations(network)]
    ['1']
    """
    found: list[Site] = []
    behind_convolution = False
    for path, host in module.named_modules():
        if isinstance(host, (*WEIGHT_LAYERS, nn.modules.conv._ConvNd)):
            behind_convolution = isinstance(host, nn.modules.conv._ConvNd)
        elif behind_convolution and isinstance(host, ACTIVATIONS):
            found.append((path, host))
    return found


def selu_activations(module: nn.Module) -> list[Site]:
    """Return (path, module) of every SELU."""
    return [(path, host) for path, host in module.named_modules() if isinstance(host, nn.SELU)]
