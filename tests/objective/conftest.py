"""What the tests of terms over rows share: one step of a small network in float64, without a trainer."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from poise.core.context import Batch, Context
from poise.core.regularizer import Regularizer
from poise.core.rng import Rng, key
from poise.core.select import roles_of
from poise.train.losses import usual_loss


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Step:
    """Rows and a network: 5 rows of 4 columns in 3 classes through one hidden layer, unless told otherwise."""

    module: nn.Module
    inputs: Tensor
    targets: Tensor
    weights: Tensor | None = None
    classes: int | None = 3
    seed: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def params(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self.module.named_parameters()}

    def context(self, params: Mapping[str, Tensor] | None = None) -> Context:
        weights = dict(self.params if params is None else params)
        batch = Batch(self.inputs, self.targets, self.weights)

        def forward(inputs: Any, draw: int = 0) -> Any:
            return functional_call(self.module, weights, (inputs,))

        ctx = Context(
            0, Rng(key(self.seed)), params=weights, roles=roles_of(self.module), batch=batch, classes=self.classes,
            outputs=forward(self.inputs), forward=forward,
            loss=lambda outputs, batch: usual_loss(outputs, batch, self.classes),
        )  # fmt: skip
        return replace(ctx, **self.facts)

    def data(self, params: Mapping[str, Tensor] | None = None) -> Tensor:
        ctx = self.context(params)
        return ctx.loss(ctx.outputs, ctx.batch)

    def term(self, part: Regularizer, params: Mapping[str, Tensor] | None = None) -> Tensor:
        """The part's term, the data's own being what its loss is."""
        ctx = self.context(params)
        terms, _ = part.objective({"data": self.data(params)}, part.remember(ctx.params), ctx)
        return terms[part.name]

    def gradient(self, part: Regularizer) -> dict[str, Tensor]:
        return torch.func.grad(lambda params: self.term(part, params))(self.params)

    def but(self, **fields: Any) -> "Step":
        return replace(self, **fields)


def network(columns: int = 4, outputs: int = 3, hidden: int = 6) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(columns, hidden), nn.Tanh(), nn.Linear(hidden, outputs)).double()


@pytest.fixture
def step() -> Step:
    """A classification; `weights` are None."""
    return Step(network(), draw(5, 4), torch.eye(3, dtype=torch.float64)[torch.tensor([0, 1, 2, 1, 0])])


@pytest.fixture
def regression() -> Step:
    """Five rows of four columns with two numbers to predict."""
    return Step(network(outputs=2), draw(5, 4), draw(5, 2, seed=3), classes=None)


@pytest.fixture
def linear() -> Step:
    """A linear classifier of two classes, whose logits are (0, w x + b): logistic regression."""

    class Logistic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(draw(4, seed=5))
            self.bias = nn.Parameter(draw(1, seed=6))

        def forward(self, inputs: Tensor) -> Tensor:
            score = inputs @ self.weight + self.bias
            return torch.stack([torch.zeros_like(score), score], dim=-1)

    return Step(Logistic(), draw(6, 4), torch.eye(2, dtype=torch.float64)[torch.tensor([0, 1, 1, 0, 1, 0])], classes=2)
