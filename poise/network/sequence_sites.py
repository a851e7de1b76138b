"""Where layers for sequences go: recurrent weights and attention weights."""

from __future__ import annotations

from torch import nn

from poise.network.sites import WEIGHT_LAYERS, Site

__all__ = ["attention_weights", "recurrent_weights"]


def attention_weights(module: nn.Module) -> list[Site]:
    """Return (path, module) of every nn.MultiheadAttention, and of every nn.Softmax that is used as attention.

    A softmax is taken for attention if a weight layer follows it in module order; one that ends a network is not.

    >>> block = nn.Sequential(nn.Linear(2, 4), nn.Softmax(-1), nn.Linear(4, 2), nn.Softmax(-1))
    >>> [path for path, _ in attention_weights(block)]
    ['1']
    """
    named = list(module.named_modules())
    weighted = [place for place, (_, host) in enumerate(named) if isinstance(host, WEIGHT_LAYERS)]
    last = max(weighted, default=-1)
    return [
        (path, host)
        for place, (path, host) in enumerate(named)
        if isinstance(host, nn.MultiheadAttention) or (isinstance(host, nn.Softmax) and place < last)
    ]


def recurrent_weights(host: nn.Module) -> tuple[str, ...]:
    """Return the names of the weights from state to state of an nn.RNN, nn.LSTM or nn.GRU.

    >>> recurrent_weights(nn.GRU(2, 3, num_layers=2))
    ('weight_hh_l0', 'weight_hh_l1')
    """
    return tuple(name for name in host._parameters if name.startswith("weight_hh"))
