"""Training for a diagnosis: a few networks of one kind on some of the rows, as one population where possible."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.core.errors import ArgumentError, PoiseWarning
from poise.core.recipe import Recipe
from poise.core.schedule import OneCycle
from poise.train.failure import UnmappableError
from poise.train.losses import CrossEntropy, Loss, SquaredError
from poise.train.population import Population, Rows, member_seed
from poise.train.run import Run

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
        try:
            population = Population(
                self.build, self.recipe, self.loss, lr=[self.lr] * len(self.seeds), members=self.seeds,
                schedule=OneCycle(1.0, self.steps), classes=self.classes,
            )  # fmt: skip
            population.train(self.data, 1, batch, rows)
        except (UnmappableError, RuntimeError, NotImplementedError) as error:  # torch.vmap has no rule for some layers
            warnings.warn(
                f"this network cannot train as a population ({str(error).splitlines()[0]}); its seeds train one after "
                "another, with the same meaning and more time.",
                PoiseWarning,
                stacklevel=2,
            )
            yield from self._alone(rows, batch, every)
            return
        done = 1
        while done < self.steps:
            some = min(every - done % every, self.steps - done)
            population.train(self.data, some, batch, rows)
            done += some
            yield done, population.outputs

    def _alone(self, rows: Tensor, batch: int, every: int) -> Iterator[tuple[int, Callable[[Tensor], Tensor]]]:
        runs = [self._started(seed) for seed in self.seeds]
        schedule = OneCycle(1.0, self.steps)
        for step in range(self.steps):
            for place, (run, optimizer, own) in enumerate(runs):
                optimizer.param_groups[0]["lr"] = self.lr * float(schedule(step))
                chosen = rows[place][torch.randint(rows.shape[1], (min(batch, rows.shape[1]),), generator=own)]
                inputs, targets = run.batch(self.data.inputs[chosen], self.data.targets[chosen])
                outputs = run.model.train()(inputs)
                loss = F.cross_entropy(outputs, targets) if self.classes else F.mse_loss(outputs, targets)
                run.objective(loss, outputs=outputs).backward()
                run.update(optimizer)
            if (step + 1) % every == 0 or step + 1 == self.steps:
                yield step + 1, lambda inputs: torch.stack([_evaluated(run, inputs) for run, _, _ in runs])

    def _started(self, seed: int) -> tuple[Run, torch.optim.Optimizer, torch.Generator]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(member_seed(0, seed))
            run = self.recipe.start(self.build(), seed=seed, classes=self.classes)
        optimizer = torch.optim.Adam(run.model.parameters(), lr=self.lr)
        return run, optimizer, torch.Generator().manual_seed(seed)


def _evaluated(run: Run, inputs: Tensor) -> Tensor:
    with run.evaluation() as model, torch.no_grad():
        return torch.cat([model(part) for part in inputs.split(512)])
