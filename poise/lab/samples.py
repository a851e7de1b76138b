"""The small data sets of the chapter's first sections: each a function of its seed."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init  # without a draw from the global generator

from poise.train.rows import Rows

__all__ = [
    "NEW",
    "TRUE_WEIGHTS",
    "bumps",
    "columns",
    "generator",
    "legendre",
    "masked_network",
    "slopes",
    "truth",
    "wave",
    "wave_network",
]

NEW = 1_000_000  # added to a seed: new points of the same law


def generator(seed: int) -> torch.Generator:
    """Return torch's generator at a seed; the global one stays as it is."""
    return torch.Generator().manual_seed(seed)


def truth(x: Tensor) -> Tensor:
    """Return the function behind `wave`: sin 3x."""
    return torch.sin(3 * x)


def wave(count: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return `count` points x in [-1, 1], one in each of as many equal parts, and y = sin 3x + noise; float64."""
    draw = generator(seed)
    x = 2 * (torch.arange(count) + torch.rand(count, generator=draw, dtype=torch.float64)) / count - 1
    return x, truth(x) + noise * torch.randn(count, generator=draw, dtype=torch.float64)


def legendre(x: Tensor, degree: int) -> Tensor:
    """Return the Legendre polynomials P_1 .. P_degree at x, one a column.

    With the constant they span all polynomials of that degree; unlike the powers of x they do not nearly repeat each
    other, so that a network of one layer can be trained on them.

    >>> legendre(torch.tensor([0.5]), 2)
    tensor([[ 0.5000, -0.1250]])
    """
    columns = [torch.ones_like(x), x]
    for order in range(1, degree):
        columns.append(((2 * order + 1) * x * columns[-1] - order * columns[-2]) / (order + 1))
    return torch.stack(columns[1 : degree + 1], dim=-1)


TRUE_WEIGHTS = (3.0, -2.0, 0.0, 0.0, 1.5, 1.5, 0.0, 0.0, -1.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0)
"""Of `columns`: six of sixteen columns matter; the fifth and the sixth nearly tell the same."""


def columns(count: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return `count` rows of 16 standard normal columns, the fifth and sixth correlated 0.9, and y = X w + noise."""
    draw = generator(seed)
    inputs = torch.randn(count, len(TRUE_WEIGHTS), generator=draw, dtype=torch.float64)
    inputs[:, 5] = 0.9 * inputs[:, 4] + (1 - 0.9**2) ** 0.5 * inputs[:, 5]
    weights = torch.tensor(TRUE_WEIGHTS, dtype=torch.float64)
    return inputs, inputs @ weights + noise * torch.randn(count, generator=draw, dtype=torch.float64)


def bumps(seed: int, sets: int = 1) -> tuple[Rows, Rows]:
    """Return `sets` training sets of 40 rows, one after the other, and 400 new rows; of 8 columns 3 matter."""
    draw = generator(seed)
    inputs = torch.randn(sets * 40 + 400, 8, generator=draw)
    targets = torch.sin(2 * inputs[:, :1]) + 0.7 * inputs[:, 1:2] * inputs[:, 2:3]
    targets = targets + 0.5 * torch.randn(len(inputs), 1, generator=draw)
    return Rows(inputs[: sets * 40], targets[: sets * 40]), Rows(inputs[sets * 40 :], targets[sets * 40 :])


def slopes(seed: int) -> tuple[Rows, Rows]:
    """Return 40 training rows and 400 new ones; of 8 columns 3 matter, each in its own smooth way."""
    draw = generator(seed)
    inputs = torch.randn(440, 8, generator=draw)
    targets = torch.tanh(2 * inputs[:, :1]) + 0.8 * inputs[:, 1:2] - 0.5 * inputs[:, 2:3]
    targets = targets + 0.7 * torch.randn(440, 1, generator=draw)
    return Rows(inputs[:40], targets[:40]), Rows(inputs[40:], targets[40:])


def masked_network(kind: str, layers: int, width: int) -> tuple[nn.Sequential, Tensor]:
    """Return a small network with `layers` hidden layers of sigmoids, untrained, and one input for it.

    Of kind "spatial" it has convolutions over 12 places, whose `width` feature maps are averaged before the output.
    """
    draw = generator(layers * 100 + width)
    maps = kind == "spatial"
    parts: list[nn.Module] = []
    for place in range(layers):
        inputs = width if place else (1 if maps else 3)
        layer = skip_init(nn.Conv1d, inputs, width, 3, padding=1) if maps else skip_init(nn.Linear, inputs, width)
        parts += [layer, nn.Sigmoid()]
    parts += [*([nn.AdaptiveAvgPool1d(1), nn.Flatten()] if maps else []), skip_init(nn.Linear, width, 1)]
    model = nn.Sequential(*parts)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * (1.2 if parameter.dim() > 1 else 0.3))
    shape = (1, 1, 12) if maps else (1, 3)
    return model, torch.randn(shape, generator=draw)


def wave_network(seed: int, hidden: int = 24) -> tuple[nn.Sequential, Tensor, Tensor]:
    """Return a network of fixed tanh units whose output weights are 0, and 16 points of `wave` as columns; float64."""
    draw = generator(seed + NEW)
    model = nn.Sequential(skip_init(nn.Linear, 1, hidden), nn.Tanh(), skip_init(nn.Linear, hidden, 1)).double()
    with torch.no_grad():
        for parameter, size in zip(model.parameters(), (3.0, 1.5, 0.0, 0.0), strict=True):
            parameter.copy_(size * torch.randn(parameter.shape, generator=draw, dtype=torch.float64))
    x, y = wave(16, 0.2, seed)
    return model, x[:, None], y
