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
class ScaledSign(Regularizer):
    """Moves each gradient towards its sign, times the mean size of its numbers.

    g <- (1 - share) g + share mean|g| sign(g), for each parameter by itself. Rare large numbers then count as much as
    small ones. It costs two passes over the gradients.

    Neutral: share = 0.
    Shapes: gradients keep shape and dtype.
    Units: share is how far the gradient goes towards its sign.
    Raises: ArgumentError if share is outside [0, 1].
    Source: Karimireddy, Rebjock, Stich and Jaggi 2019, "Error feedback fixes SignSGD", the scaled sign.

    >>> ScaledSign(1.0).gradient({"w": torch.tensor([1.0, -3.0])}, {}, Context(0, rng=None))[0]
    {'w': tensor([ 2., -2.])}
    """

    formula: ClassVar[str] = "g <- (1 - share) g + share * mean|g| * sign(g)"
    cost: ClassVar[str] = "two passes over the gradients"

    share: DialValue = dial(1.0, neutral=0.0, low=0.0, high=1.0, search=(0.0, 1.0))

    def gradient(self, grads: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        return {name: g + like(self.share, g) * (g.abs().mean() * g.sign() - g) for name, g in grads.items()}, memory


report = check_regularizer(ScaledSign(0.5))
print(f"{report.count} checks ran")

run = Recipe(ScaledSign(), ClipNorm(1.0)).start(nn.Linear(4, 2))
before = run.model.weight.detach().clone()
run.objective(run.model(torch.ones(3, 4)).square().mean()).backward()
run.update(torch.optim.SGD(run.model.parameters(), lr=0.1))
moved = (run.model.weight - before).detach().abs()
print(f"every weight moved as far as any other, but for {float(moved.max() - moved.min()):.6f}")
