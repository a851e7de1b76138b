"""The variants of poise's network for tables that tables_backbone.py compares, one change each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from poise.core.schedule import OneCycle, Schedule
from poise.models.edges import quantile_edges
from poise.models.tabular import TabularNet
from poise.study.problem import Problem
from poise.study.table_network import MOST_COLUMNS, UNITS

__all__ = ["VARIANTS", "Variant"]


@dataclass(frozen=True)
class FlatCosine(Schedule):
    """`value` for half of the steps, then half a cosine to 0; the first twentieth is a warm-up."""

    value: float
    steps: int

    def __call__(self, step: int | Tensor) -> Tensor:
        share = torch.as_tensor((step + 0.5) / self.steps, dtype=torch.float64)
        fall = (1 + torch.cos(math.pi * (2 * share - 1).clamp(min=0.0))) / 2
        return (self.value * torch.minimum(fall, share / 0.05)).float()


@dataclass(frozen=True)
class CosineLog(Schedule):
    """RealMLP's coslog4: (1 - cos(2 pi log2(1 + 15 t))) / 2, four cycles that grow longer."""

    value: float
    steps: int

    def __call__(self, step: int | Tensor) -> Tensor:
        share = torch.as_tensor((step + 0.5) / self.steps, dtype=torch.float64)
        return (self.value * (1 - torch.cos(2 * math.pi * torch.log2(1 + 15 * share))) / 2).float()


def plain(problem: Problem, **options: Any) -> nn.Module:
    edges = options.pop("edges", quantile_edges)
    numeric, bins = problem.plan.numeric(), options.pop("bins", 8)
    found = None
    if numeric and options.get("embedding", "piecewise") == "piecewise":
        found = edges(problem.rows.inputs.numpy(), numeric, max(2, min(bins, 512 // len(numeric))))
    return TabularNet(problem.plan, problem.outputs, **({"width": 128, "depth": 3} | options), edges=found)


def plain_quantiles(inputs: np.ndarray, columns: list[int], bins: int) -> Tensor:
    """Edges at the quantiles of all rows: where many rows share one value, several edges coincide."""
    edges = np.quantile(inputs[:, columns].astype(np.float64), np.linspace(0, 1, bins + 1), axis=0).T
    width = np.maximum(np.maximum(edges[:, -1:] - edges[:, :1], np.abs(edges).max(1, keepdims=True)), 1.0) * 1e-6
    return torch.from_numpy(np.maximum.accumulate(edges, axis=1) + width * np.arange(bins + 1)).float()


def usual(problem: Problem) -> nn.Module:
    """A study's own network: a layer of each number's own behind its bins, where numbers are not too many."""
    return plain(problem, numeric_size=UNITS if 0 < len(problem.plan.numeric()) <= MOST_COLUMNS else 0)


def low_periodic(problem: Problem, sigma: float) -> nn.Module:
    net = plain(problem, embedding="periodic")
    if net.numeric.kind == "periodic":
        with torch.no_grad():
            net.numeric.frequency.mul_(sigma / 0.5)
    return net


def biased(problem: Problem, he: bool = False) -> nn.Module:
    """Each unit's kink lies at a row of the data, rather than near the origin."""
    net = plain(problem)
    rows = problem.rows.inputs
    with torch.no_grad():
        hidden = net_features(net, rows[torch.randint(len(rows), (256,))])
        for block in net.blocks:
            layer, activation = block[0], block[1]
            if he:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            own = hidden[torch.randint(len(hidden), (layer.out_features,))]
            layer.bias.copy_(-(layer.weight * own).sum(1))
            hidden = activation(layer(hidden))
        nn.init.zeros_(net.head.bias)
    return net


def he_init(problem: Problem) -> nn.Module:
    net = plain(problem)
    with torch.no_grad():
        for block in net.blocks:
            nn.init.kaiming_normal_(block[0].weight, nonlinearity="relu")
            nn.init.zeros_(block[0].bias)
        nn.init.zeros_(net.head.bias)
    return net


def zero_head(problem: Problem) -> nn.Module:
    net = plain(problem)
    nn.init.zeros_(net.head.weight)
    nn.init.zeros_(net.head.bias)
    return net


def net_features(net: TabularNet, x: Tensor) -> Tensor:
    parts = [net.numeric(x[:, net.numeric_columns])]
    if net.plain_columns:
        parts.append(x[:, net.plain_columns])
    parts += [x[:, a:b] @ level for (a, b), level in zip(net.spans, net.levels, strict=True)]
    return torch.cat(parts, dim=-1)


class Skipped(TabularNet):
    """A linear map of the features, 0 at first, is added to the network's outputs."""

    def forward(self, x: Tensor) -> Tensor:
        features = net_features(self, x)
        hidden = features
        for block in self.blocks:
            hidden = block(hidden)
        outputs: Tensor = self.head(hidden) + features @ self.skip.T
        return outputs


def linear_skip(problem: Problem) -> nn.Module:
    net = usual(problem)
    net.__class__ = Skipped
    net.skip = nn.Parameter(net.head.weight.new_zeros(net.head.out_features, net.blocks[0][0].in_features))
    net.parameter_roles = {"skip": "weight"}
    return net


def standard_inputs(problem: Problem, inputs: Tensor, clip: float = 3.0) -> Tensor:
    """Undo the smooth clip of the encoder and standardise instead, by the development rows."""
    columns = problem.plan.numeric()
    if not columns:
        return inputs
    found = inputs.clone()

    def undone(x: Tensor) -> Tensor:
        part = x[:, columns].double()
        return part / (1 - (part / clip) ** 2).clamp(min=1e-9).sqrt()

    own = undone(problem.rows.inputs)
    found[:, columns] = ((undone(inputs) - own.mean(0)) / own.std(0).clamp(min=1e-9)).float()
    return found


@dataclass(frozen=True)
class Variant:
    """One change: of the network, of the schedule, of the inputs, of the optimizer, or of a dial that all share."""

    build: Callable[[Problem], nn.Module] = plain
    schedule: Callable[[int], Schedule] = partial(OneCycle, 1.0)
    inputs: Callable[[Problem, Tensor], Tensor] | None = None
    betas: tuple[float, float] = (0.9, 0.95)
    rate: float = 1.0  # factor of every learning rate
    speed: float = 0.0  # of `FrontScale`, in every recipe


def one_cycle(steps: int, warm_up: float) -> Schedule:
    return OneCycle(1.0, steps, warm_up)


VARIANTS: dict[str, Variant] = {
    "base": Variant(),
    "no embedding": Variant(partial(plain, embedding="none")),
    "periodic 0.5": Variant(partial(plain, embedding="periodic")),
    "periodic 0.1": Variant(partial(low_periodic, sigma=0.1)),
    "plain quantiles": Variant(partial(plain, edges=plain_quantiles)),
    "4 bins": Variant(partial(plain, bins=4)),
    "16 bins": Variant(partial(plain, bins=16)),
    "32 bins": Variant(partial(plain, bins=32)),
    "standard inputs": Variant(inputs=standard_inputs),
    "silu": Variant(partial(plain, activation="silu")),
    "mish": Variant(partial(plain, activation="mish")),
    "selu": Variant(partial(plain, activation="selu")),
    "width 256": Variant(partial(plain, width=256)),
    "width 64": Variant(partial(plain, width=64)),
    "depth 2": Variant(partial(plain, depth=2)),
    "depth 4": Variant(partial(plain, depth=4)),
    "residual": Variant(partial(plain, residual=True)),
    "bias at data": Variant(biased),
    "he": Variant(he_init),
    "zero head": Variant(zero_head),
    "coslog4": Variant(schedule=partial(CosineLog, 1.0)),
    "flat cosine": Variant(schedule=partial(FlatCosine, 1.0)),
    "warm up 0.3": Variant(schedule=partial(one_cycle, warm_up=0.3)),
    "beta2 0.99": Variant(betas=(0.9, 0.99)),
    "usual": Variant(usual),
    "gelu": Variant(partial(plain, activation="gelu")),
    "units": Variant(partial(plain, numeric_size=16)),
    "units and 32 bins": Variant(partial(plain, numeric_size=16, bins=32)),
    "half rate": Variant(rate=0.5),
    "double rate": Variant(rate=2.0),
    "front scale 6": Variant(usual, speed=6.0),
    "linear skip": Variant(linear_skip),
    "linear skip and front scale 6": Variant(linear_skip, speed=6.0),
    "front scale 12": Variant(usual, speed=12.0),
    "front scale 24": Variant(usual, speed=24.0),
    "front scale 48": Variant(usual, speed=48.0),
}
