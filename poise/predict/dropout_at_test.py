"""Dropout at test time: several passes with units dropped, averaged."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from poise.core.context import Context
from poise.core.errors import PoiseWarning
from poise.core.kinds import Inserted, Recorder, drawing
from poise.core.regularizer import Regularizer
from poise.core.rng import Rng
from poise.predict.averaged import Averaged, check_count, check_space

__all__ = ["DropoutAtTest", "DropoutPasses", "random_layers"]

# Their own `training` does no more than to choose the fast path, which has no dropout.
_FAST_PATHS = (nn.TransformerEncoder, nn.TransformerEncoderLayer)


def random_layers(module: nn.Module) -> list[nn.Module]:
    """Return the layers that draw in training and keep nothing of it: inserted ones, and torch's dropout of any form.

    Layers with running statistics stay out: in training mode the rows to predict would move them.
    """

    def draws(layer: nn.Module) -> bool:
        if isinstance(layer, Inserted):
            kept = layer._buffers.keys() - layer._non_persistent_buffers_set
            return not (kept or isinstance(layer, Recorder) or getattr(layer, "is_norm", False))
        inside = isinstance(layer, (nn.RNNBase, nn.MultiheadAttention)) and layer.dropout > 0
        return inside or (isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p > 0)

    return [layer for layer in module.modules() if draws(layer)]


class DropoutPasses(Averaged):
    """Averages passes through a predictor whose random layers are on; the same rows get the same passes each time."""

    key: Tensor

    def __init__(self, predictor: nn.Module, samples: int, rng: Rng, space: str) -> None:
        super().__init__(None, space)
        self.predictor = predictor
        self.samples = samples
        self.stream = rng.name
        self.register_buffer("key", rng.keys.clone(), persistent=False)

    def answers(self, inputs: Any) -> Tensor:
        """Return the outputs of each pass (samples, N, ..., K)."""
        passes = []
        with _switched_on(self.predictor):
            for number in range(1, self.samples + 1):
                rng = Rng(self.key, f"{self.stream}/pass/{number}")
                with drawing(self.predictor, number), _keyed(self.predictor, rng), _seeded(self.predictor, rng):
                    passes.append(self.predictor(inputs))
        return self.stacked(passes)


@contextmanager
def _switched_on(predictor: nn.Module) -> Iterator[None]:
    """Put the layers that draw in training mode; plain dropout draws by `_keyed`."""
    fast = [module for module in predictor.modules() if isinstance(module, _FAST_PATHS)]
    drawing_layers = [layer for layer in random_layers(predictor) if not isinstance(layer, nn.Dropout)]
    modes = {layer: layer.training for layer in [*drawing_layers, *fast]}
    try:
        for layer in modes:
            layer.training = True
        yield
    finally:
        for layer, mode in modes.items():
            layer.training = mode


@contextmanager
def _keyed(predictor: nn.Module, rng: Rng) -> Iterator[None]:
    """Let plain dropout drop by masks of this pass, which no generator of torch's has a part in."""
    calls = itertools.count()

    def mask(layer: nn.Dropout, inputs: tuple[Tensor, ...], _: Tensor) -> Tensor:
        x, rate = inputs[0], layer.p
        keep = rng.keep(str(next(calls)), tuple(x.shape), rate).to(x.device)
        return torch.where(keep, x / (1 - rate), 0.0)

    layers = [layer for layer in random_layers(predictor) if isinstance(layer, nn.Dropout)]
    hooks = [layer.register_forward_hook(mask) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _seeded(predictor: nn.Module, rng: Rng) -> Iterator[None]:
    """Let the other layers of torch's that drop draw from a generator of this pass; the global one is put back."""
    if all(isinstance(layer, (Inserted, nn.Dropout)) for layer in random_layers(predictor)):
        yield
        return
    cards = {p.device.index or 0 for p in predictor.parameters() if p.is_cuda}
    with torch.random.fork_rng(devices=sorted(cards)):
        torch.manual_seed(int(rng.words("seed", 1)))
        yield


@dataclass(frozen=True)
class DropoutAtTest(Regularizer):
    """Predicts with the mean of `samples` passes in which dropout and noise layers draw as in training.

    log 1/S sum_s softmax(f(x; mask_s)), or 1/S sum_s f(x; mask_s). All layers that draw take part: those a recipe
    inserted, and torch's own dropout, also inside recurrent layers and attention; norms stay in evaluation mode. It
    corrects for f being far from linear in its masks, and `disagreement(inputs)` of the predictor tells rows of which
    the network is unsure. It costs `samples` forward passes at each prediction. Draws are keyed: the same rows in the
    same order get the same answer, and torch's global generator is left alone.

    Neutral: leave it out. One sample is one noisy pass, not the plain network.
    Shapes: outputs keep theirs, (N, ..., K), classes last.
    Units: samples counts forward passes; space "probability" for classes (the result is log-probabilities), "output"
    for regression.
    Raises: ArgumentError if samples is not an int >= 1 or space is no space; PoiseWarning if no layer draws.
    Source: Gal and Ghahramani 2016, "Dropout as a Bayesian approximation", section 4.

    >>> part, ctx = DropoutAtTest(samples=8, space="output"), Context(0, Rng(torch.tensor([0, 0, 0])))
    >>> passes = part.predict(nn.Sequential(nn.Dropout(0.5)).eval(), ctx)
    >>> sorted(set(passes.answers(torch.ones(1, 1)).flatten().tolist()))  # kept units are doubled
    [0.0, 2.0]
    """

    rank: ClassVar[int] = 30
    formula: ClassVar[str] = "mean over samples of f(x; masks drawn as in training)"
    cost: ClassVar[str] = "samples forward passes at each prediction; nothing in training"

    samples: int = 20
    space: str = "probability"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("DropoutAtTest", "samples", self.samples)
        check_space("DropoutAtTest", self.space)

    def predict(self, predictor: nn.Module, ctx: Context) -> nn.Module:
        if not random_layers(predictor):
            warnings.warn(
                f"{self.name} found no dropout or noise layer: the predictor is left as it is.",
                PoiseWarning,
                stacklevel=2,
            )
            return predictor
        return DropoutPasses(predictor, self.samples, ctx.rng, self.space).eval()
