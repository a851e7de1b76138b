"""Training for a diagnosis: a few networks of one kind on some of the rows, as one population."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.core.errors import ArgumentError
from poise.core.recipe import Recipe
from poise.core.schedule import OneCycle
from poise.train.losses import CrossEntropy, Loss, SquaredError
from poise.train.population import Population, Rows

__all__ = ["Build", "Trainer", "as_rows"]

Build = Callable[[], nn.Module]
"""Returns a new network, with initial weights from torch's generator."""


def as_rows(name: str, data: object, classes: int | None = None) -> tuple[Rows, int | None]:
    """Return a pair of tensors as rows, with classes as distributions, and the number of classes.

    Unseen rows are given that of the training rows, as they may lack the last class.
    """
    if not (isinstance(data, (tuple, list)) and len(data) == 2 and all(isinstance(part, Tensor) for part in data)):
        raise ArgumentError(
            f"`{name}` must be a pair of tensors (inputs, targets); got {type(data).__name__}. "
            "Stack the data set first: torch.stack([x for x, _ in dataset])."
        )
    inputs, targets = data
    if targets.is_floating_point():
        return Rows(inputs, targets if targets.dim() > 1 else targets[:, None]), None
    classes = classes or int(targets.max()) + 1
    return Rows(inputs, F.one_hot(targets, classes).to(torch.get_default_dtype())), classes


class Trainer:
    """Networks of one kind that train for `steps` steps, each on rows of its own, and can be asked on the way."""

    def __init__(
        self, build: Build, data: Rows, classes: int | None, recipe: Recipe, lr: float, steps: int, seeds: list[int]
    ) -> None:
        self.build, self.data, self.classes, self.recipe = build, data, classes, recipe
        self.steps, self.seeds, self.lr = steps, seeds, lr
        self.loss: Loss = CrossEntropy() if classes else SquaredError()

    def run(self, rows: Tensor, batch: int, every: int) -> Iterator[tuple[int, Callable[[Tensor], Tensor]]]:
        """Yield (step, outputs) after each `every` steps; `outputs` maps inputs (n, ...) to (M, n, ...).

        Shapes: rows (M, n) int64.
        """
        population = Population(
            self.build, self.recipe, self.loss, lr=[self.lr] * len(self.seeds), members=self.seeds,
            schedule=OneCycle(1.0, self.steps), classes=self.classes,
        )  # fmt: skip
        done = 0
        while done < self.steps:
            some = min(every, self.steps - done)
            population.train(self.data, some, batch, rows)
            done += some
            yield done, population.outputs
