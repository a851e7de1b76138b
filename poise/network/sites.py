"""Where layers go: the activations, hidden layers and weight layers of a network, found by type, never by name."""

from __future__ import annotations

from torch import nn

from poise.core.kinds import Inserted

__all__ = [
    "ACTIVATIONS",
    "WEIGHT_LAYERS",
    "activations",
    "attention",
    "convolutions",
    "embeddings",
    "first_layer",
    "hidden_layers",
    "recurrent_layers",
    "weight_layers",
    "whole",
]

Site = tuple[str, nn.Module]

ACTIVATIONS: tuple[type[nn.Module], ...] = (
    nn.CELU,
    nn.ELU,
    nn.GELU,
    nn.GLU,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.Hardtanh,
    nn.LeakyReLU,
    nn.LogSigmoid,
    nn.Mish,
    nn.PReLU,
    nn.ReLU,
    nn.RReLU,
    nn.SELU,
    nn.SiLU,
    nn.Sigmoid,
    nn.Softplus,
    nn.Softsign,
    nn.Tanh,
    nn.Tanhshrink,
)
"""Torch's activations between layers, and their subclasses (ReLU6). Softmax and the shrinkages end a network or
denoise a signal: noise behind them would change what they are for."""

WEIGHT_LAYERS: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers that multiply their input by `weight`."""


def activations(module: nn.Module) -> list[Site]:
    """Return (path, module) of every activation, in module order; one that is used twice appears once.

    >>> [path for path, _ in activations(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))]
    ['1']
    """
    return [(path, host) for path, host in module.named_modules() if isinstance(host, ACTIVATIONS)]


def weight_layers(module: nn.Module) -> list[Site]:
    """Return (path, module) of every linear layer and convolution that owns its weight, in module order.

    Left out: layers whose weight is computed (torch's parametrizations), layers that a recipe inserted, and the
    projection inside nn.MultiheadAttention, whose forward torch never calls.

    >>> [path for path, _ in weight_layers(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))]
    ['0', '2']
    """
    never_called = nn.modules.linear.NonDynamicallyQuantizableLinear
    return [
        (path, host)
        for path, host in module.named_modules()
        if isinstance(host, WEIGHT_LAYERS)
        and not isinstance(host, (never_called, Inserted))
        and host._parameters.get("weight") is not None
    ]


def hidden_layers(module: nn.Module) -> list[Site]:
    """Return the weight layers without the last one in module order, which is taken for the output layer.

    >>> [path for path, _ in hidden_layers(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))]
    ['0']
    """
    return weight_layers(module)[:-1]


def first_layer(module: nn.Module) -> list[Site]:
    """Return the first weight layer in module order, which is taken for the one that reads the inputs.

    >>> [path for path, _ in first_layer(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))]
    ['0']
    """
    return weight_layers(module)[:1]


def convolutions(module: nn.Module) -> list[Site]:
    """Return the weight layers that are convolutions."""
    return [(path, host) for path, host in weight_layers(module) if not isinstance(host, nn.Linear)]


def recurrent_layers(module: nn.Module) -> list[Site]:
    """Return every nn.RNN, nn.LSTM and nn.GRU; cells are left out, because their output is also their next state."""
    return _of_type(module, (nn.RNNBase,))


def embeddings(module: nn.Module) -> list[Site]:
    """Return every nn.Embedding and nn.EmbeddingBag."""
    return _of_type(module, (nn.Embedding, nn.EmbeddingBag))


def attention(module: nn.Module) -> list[Site]:
    """Return every nn.MultiheadAttention."""
    return _of_type(module, (nn.MultiheadAttention,))


def whole(module: nn.Module) -> list[Site]:
    """Return the model itself as the only site."""
    return [("", module)]


def _of_type(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> list[Site]:
    return [(path, host) for path, host in module.named_modules() if isinstance(host, kinds)]
