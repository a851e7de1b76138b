"""SWAG: a Gaussian around the averaged weights, and networks sampled from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from poise.core.context import Context
from poise.core.errors import ArgumentError, shown
from poise.core.regularizer import Memory, Regularizer
from poise.core.rng import Rng
from poise.predict.averaged import check_count, check_space
from poise.predict.copies import copies_with
from poise.predict.ensemble import Ensemble

__all__ = ["Swag"]


@dataclass(frozen=True)
class Swag(Regularizer):
    """Fits a Gaussian to the weights along the end of training, and predicts with the mean of networks drawn from it.

    w = mean + sqrt(scale) (sqrt(variance) z1 + D z2 / sqrt(K - 1)), z1 and z2 standard normal: mean and variance of
    each weight over the snapshots at steps start, start + every, ...; D the last K deviations w_i - mean_i from the
    mean so far, the first of which is 0. scale = 1/2 is the paper's 1/sqrt(2) and 1/sqrt(2 (K - 1)). Train at a
    constant learning rate from `start` on, large enough that the weights move. Evaluation during training uses the
    weights as they are: add `Swa(start, every)` for their mean. It costs 2 + deviations copies of the weights in
    memory and, a snapshot, one pass over all of them (so let `every` be some steps); at prediction `samples` networks
    in memory and as many forward passes, and with batch norm a pass over the training inputs for each.

    Neutral: leave it out. scale = 0 predicts with the mean, which is `Swa`'s at less cost.
    Shapes: outputs keep theirs, (N, ..., K), classes last; mean, variance and D are float32 at least.
    Units: start and every count optimizer steps from 0, the step after which the weights are read; scale is a factor
    on the covariance. The raw weights are read, also beside a part that averages.
    Raises: ArgumentError if start or deviations is not an int >= 0, every or samples not an int >= 1, scale not a
    finite number >= 0, or space is no space.
    Source: Maddox, Garipov, Izmailov, Vetrov and Wilson 2019, "A simple baseline for Bayesian uncertainty in deep
    learning", algorithm 1; the variance is summed by deviations (Welford 1962), not as E w^2 - (E w)^2.

    >>> part = Swag(start=0, deviations=0)
    >>> memory = part.remember({"w": torch.zeros(1)})
    >>> for step, value in enumerate([0.0, 3.0, 6.0]):
    ...     params = {"w": torch.tensor([value])}
    ...     _, memory = part.average(params, memory, Context(step, rng=None, params=params))
    >>> float(memory["mean/w"]), float(memory["variance/w"])  # (9 + 0 + 9) / 3
    (3.0, 6.0)
    """

    rank: ClassVar[int] = 10
    formula: ClassVar[str] = "mean over samples of f(x; w), w ~ N(mean, scale (diag(variance) + D D' / (K - 1)))"
    cost: ClassVar[str] = "2 + K copies of the weights in memory; samples forward passes at each prediction"

    start: int
    every: int = 1
    deviations: int = 20
    samples: int = 30
    scale: float = 0.5
    space: str = "probability"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, low in (("start", 0), ("every", 1), ("deviations", 0), ("samples", 1)):
            check_count("Swag", name, getattr(self, name), low)
        valid = isinstance(self.scale, (int, float)) and not isinstance(self.scale, bool)
        if not (valid and 0 <= self.scale < math.inf):
            raise ArgumentError(
                f"`Swag.scale` must be a finite number >= 0; got {shown(self.scale)}. 0.5 is the paper's."
            )
        check_space("Swag", self.space)

    def remember(self, params: Mapping[str, Tensor]) -> Memory:
        memory: Memory = {}
        for name, w in params.items():
            zero = torch.zeros_like(w, dtype=torch.promote_types(w.dtype, torch.float32)).detach()
            memory |= {f"mean/{name}": zero, f"variance/{name}": zero.clone()}
            memory[f"deviation/{name}"] = zero.new_zeros(self.deviations, *w.shape)
        return memory

    def average(self, weights: dict[str, Tensor], memory: Memory, ctx: Context) -> tuple[dict[str, Tensor], Memory]:
        """Take the weights into the moments where a snapshot is due; the weights that evaluation uses stay."""
        # A branch, because the step is a plain number that all members share: the other steps then cost nothing.
        before, rest = divmod(ctx.step - self.start, self.every)
        if rest or before < 0:
            return weights, memory
        gain, new = 1 / (before + 1), {}
        for name, w in ctx.params.items():
            old, variance, rows = (memory[f"{what}/{name}"] for what in ("mean", "variance", "deviation"))
            w = w.detach().to(old)
            mean = torch.lerp(old, w, gain)
            new[f"mean/{name}"] = mean
            new[f"variance/{name}"] = torch.lerp(variance, (w - old) * (w - mean), gain)
            if self.deviations:
                place = before % self.deviations  # over the oldest
                new[f"deviation/{name}"] = torch.cat([rows[:place], (w - mean)[None], rows[place + 1 :]])
        return weights, memory | new

    def draw(self, memory: Mapping[str, Tensor], snapshots: int, rng: Rng) -> dict[str, Tensor]:
        """Return one sample of the weights by name, from the moments of so many snapshots."""
        count = min(snapshots, self.deviations)
        # The same for all weights: that is what makes them move together.
        shared = rng.normal("deviations", (count,), torch.float64)
        sample = {}
        for key, mean in memory.items():
            what, name = key.split("/", 1)
            if what != "mean":
                continue
            away = memory[f"variance/{name}"].sqrt() * rng.normal(name, tuple(mean.shape), mean.dtype).to(mean)
            if count > 1:
                rows = memory[f"deviation/{name}"][:count]
                away = away + torch.tensordot(shared.to(rows), rows, 1) / math.sqrt(count - 1)
            sample[name] = mean + math.sqrt(self.scale) * away
        return sample

    def predict(self, predictor: nn.Module, ctx: Context) -> nn.Module:
        snapshots = (ctx.step - 1 - self.start) // self.every + 1  # a step is read after it
        if snapshots < 1:
            return predictor
        own = {name: p.dtype for name, p in predictor.named_parameters()}
        drawn = [self.draw(ctx.memory, snapshots, ctx.rng.fold(f"sample/{i}")) for i in range(self.samples)]
        members = [{name: w.to(own.get(name, w.dtype)) for name, w in sample.items()} for sample in drawn]
        return Ensemble(copies_with(predictor, members, self.name, ctx), space=self.space).eval()
