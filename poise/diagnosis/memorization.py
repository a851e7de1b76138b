"""Whether a network can memorise: the same rows with their targets shuffled, trained beside the true ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from poise.core.recipe import Recipe
from poise.diagnosis.train import Build, Trainer, as_rows
from poise.train.population import Rows

__all__ = ["Memorization", "memorization"]


@dataclass(frozen=True)
class Memorization:
    """How well networks fit their training rows, with the true targets and with shuffled ones.

    The fit is the share of rows answered right for classes, R^2 for numbers; `chance` is what a constant answer gets.
    `steps_true`, `steps_shuffled`: steps to 95 % of the way from chance to a perfect fit, None if not reached.
    """

    true: float
    shuffled: float
    chance: float
    steps_true: int | None
    steps_shuffled: int | None
    steps: int
    recipe: Recipe

    @property
    def share(self) -> float:
        """How much of the shuffled targets was memorised, from 0 (none) to 1 (all)."""
        return max(0.0, (self.shuffled - self.chance) / max(1e-12, 1 - self.chance))

    def __str__(self) -> str:
        def reached(steps: int | None) -> str:
            return f"95 % of the way after {steps:,} steps" if steps is not None else "never 95 % of the way"

        says = (
            "It can store its training rows: without regularization a small training loss says nothing."
            if self.share > 0.5
            else "It cannot store its training rows in these steps."
        )
        return (
            f"true targets:     fit {self.true:.3f} (constant answer {self.chance:.3f}), {reached(self.steps_true)}\n"
            f"shuffled targets: fit {self.shuffled:.3f}, {reached(self.steps_shuffled)}\n{says}"
        )


def memorization(
    build: Build,
    train: tuple[Tensor, Tensor],
    *,
    recipe: Recipe | None = None,
    seeds: int = 2,
    steps: int = 1_000,
    batch: int = 64,
    lr: float = 3e-3,
    seed: int = 0,
) -> Memorization:
    """Train networks on the rows with their targets and, beside them, on the rows with shuffled targets.

    Shuffled targets have nothing to generalise to, so fitting them is memory alone; a recipe that is strong enough
    prevents it while the true ones are still learned. One population of 2 * seeds networks.

    Shapes: train is (inputs (N, ...), targets (N,) int64 classes, (N,) or (N, T) numbers).
    Source: Zhang, Bengio, Hardt, Recht and Vinyals 2017, "Understanding deep learning requires rethinking
    generalization", section 2.
    """
    data, classes = as_rows("memorization.train", train)
    count = len(data)
    own = torch.Generator().manual_seed(seed)
    both = Rows(
        torch.cat([data.inputs, data.inputs]),
        torch.cat([data.targets, data.targets[torch.randperm(count, generator=own)]]),
    )
    rows = torch.stack([torch.arange(count) + count * (one % 2) for one in range(2 * seeds)])
    members = [2 * seed * seeds + one - one % 2 for one in range(2 * seeds)]  # pairs start from the same weights
    trainer = Trainer(build, both, classes, recipe or Recipe(), lr, steps, members)
    chance = float(data.targets.mean(0).max()) if classes else 0.0
    fits = [0.0, 0.0]
    reached: list[int | None] = [None, None]
    for step, outputs in trainer.run(rows, batch, max(1, steps // 50)):
        answered = outputs(data.inputs).detach()
        for kind in (0, 1):
            targets = both.targets[count * kind : count * (kind + 1)]
            fits[kind] = float(_fit(answered[kind::2], targets, classes).mean())
            if reached[kind] is None and fits[kind] >= chance + 0.95 * (1 - chance):
                reached[kind] = step
    return Memorization(fits[0], fits[1], chance, reached[0], reached[1], steps, trainer.recipe)


def _fit(outputs: Tensor, targets: Tensor, classes: int | None) -> Tensor:
    """Return (M,) the share answered right, or R^2."""
    if classes:
        return (outputs.argmax(-1) == targets.argmax(-1)).double().mean(1)
    gaps = (outputs.reshape(len(outputs), *targets.shape) - targets).square().mean((1, 2))
    return 1 - gaps.double() / (targets - targets.mean(0)).square().mean().double()
