"""A run whose learning rate falls again and again, and the snapshots at the ends of its cycles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.core.recipe import Recipe
from poise.core.schedule import CosineCycles
from poise.predict import Ensemble, SnapshotEnsemble
from poise.train.failure import TrainingError

__all__ = ["GRID", "STEPS", "Course", "course", "error_of", "finished", "rows_of_seed", "truth"]

STEPS = 600  # of each of the two trainings
EVERY = 10  # steps between two points of the curves
DRAWN = 60  # steps between two frames of the stream
ROWS, BATCH, NOISE = 24, 8, 0.4
GRID = torch.linspace(-2, 2, 61)[:, None]  # places at which answers are drawn


def truth(x: Tensor) -> Tensor:
    """Return what the rows follow but for their noise."""
    return torch.sin(3 * x) + 0.5 * x


def rows_of_seed(seed: int) -> tuple[Tensor, Tensor]:
    """Return 24 noisy rows."""
    generator = torch.Generator().manual_seed(seed)
    x = 4 * torch.rand(ROWS, 1, generator=generator) - 2
    return x, truth(x) + NOISE * torch.randn(x.shape, generator=generator)


def error_of(answers: Tensor) -> float:
    """Return the mean squared distance of answers (places, 1) on the grid from the truth."""
    return float((answers - truth(GRID)).double().square().mean())


@dataclass
class Course:
    """A run as far as it has come: what was measured every 10 steps, and the predictor so far."""

    cycles: int
    steps: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    error: list[float] = field(default_factory=list)
    answers: Tensor | None = None  # of the snapshots, (snapshots, places, 1)
    mean: Tensor | None = None
    failure: str = ""

    def ends(self) -> list[int]:
        """Return the steps at which snapshots were taken."""
        each = STEPS // self.cycles
        return [each * (place + 1) for place in range(0 if self.answers is None else len(self.answers))]


def course(cycles: int, rate: float, seed: int) -> Iterator[Course]:
    """Train one network and yield its course every few steps; the last one is complete."""
    x, y = rows_of_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))
    each = STEPS // cycles
    run = Recipe(SnapshotEnsemble(cycles=cycles, steps=each, space="output")).start(model, seed=seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    schedule = CosineCycles(rate, 0.0, steps=each)
    generator = torch.Generator().manual_seed(seed + 1)
    found = Course(cycles)
    for step in range(cycles * each):
        optimizer.param_groups[0]["lr"] = float(schedule(step))
        rows = torch.randint(ROWS, (BATCH,), generator=generator)
        try:
            run.objective(F.mse_loss(run.model(x[rows]), y[rows])).backward()
            run.update(optimizer)
        except TrainingError as error:
            found.failure, found.answers, found.mean = str(error), None, None
            break
        done = step + 1
        if done % EVERY == 0 or done % each == 0:
            with torch.no_grad():
                found.steps.append(done)
                found.loss.append(float(F.mse_loss(run.model(x), y)))
                found.error.append(error_of(run.model(GRID)))
        if done % each == 0:
            _look(found, run.predictor())
        if done % DRAWN == 0 and done < cycles * each:
            yield found
    yield found


def _look(found: Course, predictor: nn.Module) -> None:
    """Take the answers of the snapshots and of their mean."""
    with torch.no_grad():
        found.mean = predictor(GRID)
        found.answers = predictor.answers(GRID) if isinstance(predictor, Ensemble) else found.mean[None]


@lru_cache(maxsize=32)
def finished(cycles: int, rate: float, seed: int) -> Course:
    """Return the whole course."""
    *_, last = course(cycles, rate, seed)
    return last
