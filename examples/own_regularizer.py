"""A regularizer of one's own: one class, the common battery, and a run with it."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from poise import ClipNorm, Recipe, Regularizer
from poise.core.context import Context
from poise.core.dial import DialValue, dial, like
from poise.core.regularizer import Memory
from poise.testing import check_regularizer


@dataclass(frozen=True)
class Centralize(Regularizer):
    """Takes from the gradient of each unit's weights its mean over the unit's inputs.

    g_unit <- g_unit - share mean(g_unit), for weights (out, in, ...); vectors (biases, norms) stay. The weights of a
    unit then keep their sum. It costs two passes over the gradients.

    Neutral: share = 0.
    Shapes: gradients keep shape and dtype.
    Units: share is the part of the mean that is taken away.
    Raises: ArgumentError if share is outside [0, 1].
    Source: Yong, Huang, Hua and Zhang 2020, "Gradient centralization", equation 1.

    >>> Centralize(1.0).gradient({"w": torch.tensor([[1.0, 3.0]])}, {}, Context(0, rng=None))[0]
    {'w': tensor([[-1.,  1.]])}
    """

    formula: ClassVar[str] = "g_unit <- g_unit - share * mean(g_unit)"
    cost: ClassVar[str] = "two passes over the gradients"

    share: DialValue = dial(1.0, neutral=0.0, low=0.0, high=1.0, search=(0.0, 1.0))

    def gradient(self, grads: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        return {name: self.centralized(g) if g.dim() > 1 else g for name, g in grads.items()}, memory

    def centralized(self, g: Tensor) -> Tensor:
        return g - like(self.share, g) * g.mean(tuple(range(1, g.dim())), keepdim=True)


report = check_regularizer(Centralize(0.5))
print(f"{report.count} checks ran")

run = Recipe(Centralize(), ClipNorm(1.0)).start(nn.Linear(4, 2))
before = run.model.weight.sum(1).detach()
run.objective(run.model(torch.ones(3, 4)).square().mean()).backward()
run.update(torch.optim.SGD(run.model.parameters(), lr=0.1))
print(f"each unit's weights moved their sum by {float((run.model.weight.sum(1) - before).detach().abs().max()):.0e}")
