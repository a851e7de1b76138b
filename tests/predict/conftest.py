"""What tests of the predict stage share: a context, and a run of the plain loop with snapshots of its weights."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from poise.core.context import Context
from poise.core.recipe import Recipe
from poise.core.rng import Rng, key
from poise.train.run import Run


@pytest.fixture
def context() -> Callable[..., Context]:
    def made(seed: int = 0, step: int = 0, **facts: Any) -> Context:
        return Context(step, Rng(key(seed)), **facts)

    return made


@pytest.fixture
def rows() -> tuple[torch.Tensor, torch.Tensor]:
    """Seventy rows of three columns far from standardised, in two classes."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(70, 3, dtype=torch.float64, generator=generator) * torch.tensor([1.0, 3.0, 0.5]) + 2.0
    return x, (x[:, 0] + 0.3 * torch.randn(70, dtype=torch.float64, generator=generator) > 2.0).long()


def network(norm: bool = False) -> nn.Module:
    torch.manual_seed(0)
    hidden: list[nn.Module] = [nn.BatchNorm1d(4)] if norm else []
    return nn.Sequential(nn.Linear(3, 4), *hidden, nn.ReLU(), nn.Linear(4, 2)).double()


@pytest.fixture
def trained(rows: tuple[torch.Tensor, torch.Tensor]) -> Callable[..., tuple[Run, list[dict[str, torch.Tensor]]]]:
    """Train by the plain loop on batches of 35; return the run and the weights after each step."""

    def train(recipe: Recipe, steps: int, norm: bool = False) -> tuple[Run, list[dict[str, torch.Tensor]]]:
        with torch.random.fork_rng(devices=[]):
            run = recipe.start(network(norm), seed=3)
        optimizer = torch.optim.SGD(run.model.parameters(), lr=0.2)
        path = []
        for step in range(steps):
            x, y = (part[35 * (step % 2) : 35 * (step % 2) + 35] for part in rows)
            run.objective(functional.cross_entropy(run.model(x), y)).backward()
            run.update(optimizer)
            path.append({name: p.detach().clone() for name, p in run.model.named_parameters()})
        return run, path

    return train
