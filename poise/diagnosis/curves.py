"""How the gap changes: over the number of training rows, and over the steps of training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from poise.core.errors import ArgumentError, shown
from poise.core.interval import Interval
from poise.core.recipe import Recipe
from poise.diagnosis.answers import Data, RowLoss, answers
from poise.diagnosis.gap import measures
from poise.diagnosis.train import Build, Trainer, as_rows
from poise.train.population import Rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["GapMeter", "LearningCurve", "Point", "learning_curve"]


@dataclass(frozen=True)
class LearningCurve:
    """The loss on seen and unseen rows by the number of training rows, means over seeds with 95 % intervals.

    `steps`, `train_steps`, `validation_steps` follow the training at the largest size; `best_step` is the lowest
    validation loss there. `more` is how much the last growth in rows lowered the validation loss, paired by seed.
    """

    sizes: tuple[int, ...]
    train: tuple[Interval, ...]
    validation: tuple[Interval, ...]
    steps: tuple[int, ...]
    train_steps: tuple[float, ...]
    validation_steps: tuple[float, ...]
    best_step: int
    more: Interval

    def __str__(self) -> str:
        lines = [f"{'rows':>8}{'train loss':>12}{'validation':>12}{'gap':>10}"]
        for size, one, two in zip(self.sizes, self.train, self.validation, strict=True):
            lines.append(f"{size:>8,}{one.value:>12.4g}{two.value:>12.4g}{two.value - one.value:>10.3g}")
        helps = "more rows help" if self.more.low > 0 else "no measurable help of more rows"
        lines.append(
            f"from {self.sizes[-2]:,} to {self.sizes[-1]:,} rows the validation loss fell by {self.more.value:.3g} "
            f"({self.more.low:.3g} to {self.more.high:.3g}): {helps}"
        )
        lines.append(f"at {self.sizes[-1]:,} rows the lowest validation loss came at step {self.best_step:,}")
        return "\n".join(lines)

    def plot(self) -> Figure:
        """Return a matplotlib figure: the loss over rows, and over steps at the largest size."""
        from poise.diagnosis.plots import plot_curve

        return plot_curve(self)


def learning_curve(
    build: Build,
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    *,
    recipe: Recipe | None = None,
    sizes: Sequence[int] | None = None,
    seeds: int = 4,
    steps: int = 500,
    batch: int = 64,
    lr: float = 3e-3,
    seed: int = 0,
) -> LearningCurve:
    """Train networks on growing parts of the training rows and return both losses at each size.

    `build()` returns a new network (logits of classes or numbers); `recipe` is what they train with, nothing if None,
    by Adam with a warm-up and a cosine fall to 0. The seeds of a size train as one population, each on a draw of rows
    of its own that grows from size to size. It costs len(sizes) * seeds trainings of `steps` steps.

    Shapes: train and validation are (inputs (N, ...), targets (N,) int64 classes, (N,) or (N, T) numbers).
    Raises: ArgumentError if sizes are not at least two growing numbers of rows, or seeds is below 2.
    Source: Cortes, Jackel, Solla, Vapnik and Denker 1994, "Learning curves: asymptotic values and rate of
    convergence".
    """
    data, classes = as_rows("learning_curve.train", train)
    unseen, _ = as_rows("learning_curve.validation", validation, classes)
    chosen = _sizes(sizes, len(data))
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 2:
        raise ArgumentError(f"`learning_curve.seeds` must be an int >= 2; got {shown(seeds)}. An interval needs two.")
    own = torch.Generator().manual_seed(seed)
    order = torch.stack([torch.randperm(len(data), generator=own) for _ in range(seeds)])
    trainer = Trainer(build, data, classes, recipe or Recipe(), lr, steps, [seed * seeds + one for one in range(seeds)])
    ends: list[tuple[np.ndarray, np.ndarray]] = []
    path: list[tuple[int, float, float]] = []
    for size in chosen:
        path = []
        last = np.empty(0), np.empty(0)
        for step, outputs in trainer.run(order[:, :size], batch, max(1, steps // 25)):
            mine = [_loss(outputs, data.select(order[one, :size]), classes)[one] for one in range(seeds)]
            last = np.array(mine), _loss(outputs, unseen, classes)
            path.append((step, float(last[0].mean()), float(last[1].mean())))
        ends.append(last)
    best = min(path, key=lambda point: point[2] if math.isfinite(point[2]) else math.inf)[0]
    numbers, seen, other = zip(*path, strict=True)
    more = over_seeds(ends[-2][1] - ends[-1][1])
    each = [tuple(over_seeds(values[part]) for values in ends) for part in (0, 1)]
    return LearningCurve(tuple(chosen), each[0], each[1], numbers, seen, other, best, more)


def _sizes(sizes: Sequence[int] | None, rows: int) -> list[int]:
    if sizes is None:
        return sorted({max(8, int(rows / 2**power)) for power in range(4, -1, -1) if rows >= 8})
    found = list(sizes)
    if len(found) < 2 or found != sorted(set(found)) or found[0] < 1 or found[-1] > rows:
        raise ArgumentError(
            f"`learning_curve.sizes` must be two or more growing numbers from 1 to {rows}; got {shown(found)}."
        )
    return found


def _loss(outputs: Callable[[Tensor], Tensor], data: Rows, classes: int | None) -> np.ndarray:
    """Return every network's mean loss (M,) on the rows."""
    found = outputs(data.inputs).detach()
    if classes:
        losses = -(data.targets * F.log_softmax(found, -1)).sum(-1)
    else:
        losses = (found.reshape(len(found), *data.targets.shape) - data.targets).square().mean(-1)
    values: np.ndarray = losses.mean(1).double().numpy()
    return values


def over_seeds(values: np.ndarray) -> Interval:
    """Return the mean with its 95 % interval of Student's t."""
    half = _T[min(len(values) - 2, len(_T) - 1)] * float(values.std(ddof=1)) / math.sqrt(len(values))
    mean = float(values.mean())
    return Interval(mean, mean - half, mean + half)


# The 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom, so that SciPy is not needed; then the normal's.
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
    1.96,
)


@dataclass(frozen=True)
class Point:
    """The loss on seen and unseen rows at a step, and their gap."""

    step: int
    train: Interval
    validation: Interval
    gap: Interval


class GapMeter:
    """Records the gap in a training loop of one's own: `meter(model, step)` after each epoch, then `meter.plot()`.

    Both sets are as in `gap`; `rows` at most of each tensor pair are looked at, evenly spaced, because a meter that
    runs after each epoch need not see all.

    >>> meter = GapMeter((torch.zeros(4, 1), torch.zeros(4, 1)), (torch.zeros(4, 1), torch.ones(4, 1)))
    >>> meter(torch.nn.Identity(), step=10).gap.value
    1.0
    """

    def __init__(self, train: Data, validation: Data, *, loss: RowLoss | None = None, rows: int = 5_000) -> None:
        self.train, self.validation = _thinned(train, rows), _thinned(validation, rows)
        self.loss = loss
        self.points: list[Point] = []

    def __call__(self, model: Callable[[Any], Any], step: int) -> Point:
        """Return the gap at this step and keep it; the network is left as it was."""
        seen, unseen = answers(model, self.train, self.loss), answers(model, self.validation, self.loss)
        first = measures(seen, unseen, resamples=200, seed=step)[0]
        self.points.append(Point(step, first.train, first.validation, first.gap))
        return self.points[-1]

    @property
    def best_step(self) -> int:
        """The step with the lowest validation loss. Raises ArgumentError before the first call."""
        if not self.points:
            raise ArgumentError("`GapMeter` must have been called once at least: meter(model, step).")
        return min(self.points, key=lambda point: point.validation.value).step

    def plot(self) -> Figure:
        """Return a matplotlib figure of both losses over steps, with a line at the best."""
        from poise.diagnosis.plots import plot_meter

        return plot_meter(self)


def _thinned(data: Data, rows: int) -> Data:
    if isinstance(data, (tuple, list)) and len(data) == 2 and all(isinstance(part, Tensor) for part in data):
        places = torch.linspace(0, len(data[0]) - 1, min(rows, len(data[0]))).long()
        return data[0][places], data[1][places]
    return data
