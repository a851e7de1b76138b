"""What parameter sharing does: how many parameters it saves, what it makes equivariant, and what it does to the gap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from poise.core.context import Batch
from poise.core.errors import ArgumentError, shown
from poise.core.interval import Interval
from poise.core.recipe import Recipe
from poise.diagnosis.curves import over_seeds
from poise.diagnosis.train import Build, Trainer, as_rows
from poise.train.population import Rows

__all__ = ["Shared", "SharingReport", "equivariance_error", "independent_parameters", "sharing_report"]


@dataclass(frozen=True)
class Shared:
    """What was measured of one of the two kinds of network, means over seeds with 95 % intervals."""

    parameters: int
    train: Interval
    validation: Interval
    gap: Interval
    equivariance: float | None


@dataclass(frozen=True)
class SharingReport:
    """Networks that share parameters beside networks that do not, trained alike.

    `wider` is the gap of the unshared networks minus that of the shared ones, `worse` the same of the validation loss,
    both paired by seed. `equivariance` of a kind is the relative error under circular shifts after training, None for
    inputs that are no images.
    """

    shared: Shared
    unshared: Shared
    wider: Interval
    worse: Interval
    shift: tuple[int, int]
    seeds: int

    def __str__(self) -> str:
        lines = [f"{'':<10}{'parameters':>12}{'train':>10}{'validation':>12}{'gap':>10}{'shift error':>13}"]
        for words, kind in (("shared", self.shared), ("unshared", self.unshared)):
            losses = f"{kind.train.value:>10.4g}{kind.validation.value:>12.4g}{kind.gap.value:>10.3g}"
            error = "-" if kind.equivariance is None else f"{kind.equivariance:.2g}"
            lines.append(f"{words:<10}{kind.parameters:>12,}{losses}{error:>13}")
        for words, one in (("gap", self.wider), ("validation loss", self.worse)):
            lines.append(
                f"unshared - shared, {words}: {one.value:.3g} ({one.low:.3g} to {one.high:.3g}), {self.seeds} seeds"
            )
        return "\n".join(lines)


def independent_parameters(model: nn.Module) -> int:
    """Return how many numbers training can move apart: a parameter of several names counts once.

    >>> from poise.models import tie
    >>> model = nn.ModuleDict({"words": nn.Embedding(50, 8), "head": nn.Linear(8, 50, bias=False)})
    >>> independent_parameters(model), independent_parameters(tie(model, "words.weight", "head.weight"))
    (800, 400)
    """
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def equivariance_error(function: Callable[[Tensor], Any], inputs: Tensor, shift: tuple[int, int] = (1, 1)) -> float:
    """Return |f(shift x) - shift f(x)| / |f(x)| for a circular shift of the images, in Euclidean norms over all rows.

    Outputs that are no images ought not to change at all, so that it is |f(shift x) - f(x)| / |f(x)| for them: the
    error of invariance. A convolution with circular padding and stride 1 has none but rounding; zero padding breaks
    the symmetry at the borders, and a stride or a pooling of s leaves that of shifts by multiples of s.

    Shapes: inputs (B, C, H, W); outputs (B, O, H', W') or any other, with or without a dimension of members in front.
    Raises: ArgumentError for inputs that are no images.
    Source: Goodfellow, Bengio, Courville 2016, "Deep Learning", section 9.2, for the property.

    >>> images = torch.eye(4).view(1, 1, 4, 4)
    >>> equivariance_error(nn.Identity(), images), equivariance_error(lambda x: x.mean((2, 3)), images)
    (0.0, 0.0)
    >>> equivariance_error(nn.Flatten(), images, shift=(0, 1)) == 2**0.5
    True
    """
    if not isinstance(inputs, Tensor) or inputs.dim() != 4:
        raise ArgumentError(f"`equivariance_error.inputs` must be images (B, C, H, W); got {shown(inputs)}.")
    with torch.no_grad():
        plain, moved = function(inputs).double(), function(inputs.roll(shift, (-2, -1))).double()
    expected = plain.roll(shift, (-2, -1)) if _is_image(plain, inputs) else plain
    return float((moved - expected).norm() / plain.norm().clamp(min=torch.finfo(torch.float64).tiny))


def _is_image(outputs: Tensor, inputs: Tensor) -> bool:
    """Whether the outputs keep the places of the images."""
    return outputs.dim() >= 4 and outputs.shape[-2:] == inputs.shape[-2:]


def sharing_report(
    shared: Build,
    unshared: Build,
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    *,
    recipe: Recipe | None = None,
    seeds: int = 4,
    steps: int = 300,
    batch: int = 64,
    lr: float = 3e-3,
    shift: tuple[int, int] = (1, 1),
) -> SharingReport:
    """Train networks with and without sharing alike, and return their sizes, symmetry and gaps.

    `shared()` and `unshared()` return new networks; `poise.models.unshared` makes the second from the first, with
    the same function before training. Both kinds train with `recipe` (nothing if None) on all training rows, with
    the same seeds, rows and steps, by Adam with a warm-up and a cosine fall to 0; the seeds of a kind as one
    population. It costs 2 * seeds trainings of `steps` steps.

    Shapes: train and validation are (inputs (N, ...), targets (N,) or (N, T) int64 classes, or floats to predict).
    Raises: ArgumentError if seeds is below 2.
    Source: Goodfellow, Bengio, Courville 2016, "Deep Learning", section 7.9.
    """
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 2:
        raise ArgumentError(f"`sharing_report.seeds` must be an int >= 2; got {shown(seeds)}. An interval needs two.")
    data, classes = as_rows("sharing_report.train", train)
    unseen, _ = as_rows("sharing_report.validation", validation, classes)
    kinds, gaps, losses = [], [], []
    for build in (shared, unshared):
        trainer = Trainer(build, data, classes, recipe or Recipe(), lr, steps, list(range(seeds)))
        outputs = [found for _, found in trainer.run(torch.arange(len(data)).expand(seeds, -1), batch, steps)][-1]
        seen, other = (_loss(trainer, outputs, rows) for rows in (data, unseen))
        error = equivariance_error(outputs, unseen.inputs, shift) if unseen.inputs.dim() == 4 else None
        losses_of_kind = over_seeds(seen), over_seeds(other), over_seeds(other - seen)
        kinds.append(Shared(independent_parameters(build()), *losses_of_kind, error))
        gaps.append(other - seen)
        losses.append(other)
    apart = [over_seeds(values[1] - values[0]) for values in (gaps, losses)]
    return SharingReport(kinds[0], kinds[1], apart[0], apart[1], shift, seeds)


def _loss(trainer: Trainer, outputs: Callable[[Tensor], Tensor], rows: Rows) -> np.ndarray:
    """Return every network's mean loss (M,) on the rows."""
    batch = Batch(rows.inputs, rows.targets)
    losses: list[Any] = [trainer.loss(own, batch) for own in outputs(rows.inputs).detach()]  # one task, one tensor
    return np.array([float(one) for one in losses])
