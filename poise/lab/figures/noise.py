"""Noise in the inputs, the units and the weights: what one answer looks like under it, and which penalty it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from poise.batch import InputNoise
from poise.core.recipe import Recipe
from poise.lab.base import Figure
from poise.lab.controls import Choice, Control, Preset, Range, Seed, State
from poise.lab.linear import Quadratic, minimum
from poise.lab.samples import columns, truth, wave_network
from poise.lab.scene import Axis, Band, Bars, Dots, Frame, Line, Mark, Number, Plot, Table
from poise.network import HiddenNoise, WeightNoise, insert

__all__ = ["Noise", "answers", "fitted_with_noise", "with_constant"]

DRAWS = 60  # of the band
COPIES = 100  # noisy copies of the rows, or passes, that stand for training
FIRM = 1e-3  # L2 of the drawn network's output weights: enough for its 24 units on 16 points
WORDS = {"inputs": "the inputs", "units": "the units", "weights": "the weights"}


def with_constant(features: Tensor) -> Tensor:
    """Return the columns with a 1 before them."""
    return torch.cat([torch.ones_like(features[:, :1]), features], 1)


def _units(model: nn.Sequential, x: Tensor) -> Tensor:
    found: Tensor = model[1](model[0](x))
    return found


def _trained(seed: int) -> nn.Sequential:
    """Return the drawn network, its output weights at the minimum of the squared error with a weak L2."""
    model, x, y = wave_network(seed)
    with torch.no_grad():
        found = minimum(Quadratic.of(with_constant(_units(model, x)), y), l2=FIRM)
        weight, bias = model[2].parameters()
        weight.copy_(found[None, 1:])
        bias.copy_(found[:1])
    return model


@lru_cache(maxsize=64)
def answers(kind: str, scale: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return the network's answers on a grid (61,), without noise and in 60 training passes with it (60, 61)."""
    model = _trained(seed)
    grid = torch.linspace(-1, 1, 61, dtype=torch.float64)[:, None]
    with torch.no_grad():
        still = model(grid)[:, 0]
        many = grid.repeat(DRAWS, 1)
        if kind == "inputs":
            run = Recipe(InputNoise(scale)).start(model, seed=seed)
            noisy, _ = run.batch(many, many)
            return still, model(noisy).view(DRAWS, -1)
        if kind == "units":
            insert(model, HiddenNoise(scale), seed=seed)
            return still, model(many).view(DRAWS, -1)
        insert(model, WeightNoise(scale), seed=seed)  # one draw for a batch: a pass for each
        return still, torch.stack([model(grid)[:, 0] for _ in range(DRAWS)])


@lru_cache(maxsize=64)
def fitted_with_noise(kind: str, scale: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return the weights of a linear model trained with noise, and those of the penalty that it should equal."""
    if kind == "units":
        model, x, y = wave_network(seed)
        features = _units(model, x).detach()
        insert(model, HiddenNoise(scale), seed=seed)
        with torch.no_grad():
            noisy, targets = _units(model, x.repeat(COPIES, 1)), y.repeat(COPIES)
        return (
            minimum(Quadratic.of(with_constant(noisy), targets))[1:],
            minimum(Quadratic.of(with_constant(features), y), l2=2 * scale**2)[1:],
        )
    x, y = columns(40, 2.0, seed)
    model = nn.Sequential(skip_init(nn.Linear, 16, 1, dtype=torch.float64))
    if kind == "inputs":
        run = Recipe(InputNoise(scale)).start(model, seed=seed)
        noisy, targets = run.batch(x.repeat(COPIES, 1), y.repeat(COPIES))
        l2 = 2 * scale**2
    else:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
            insert(model, WeightNoise(scale), seed=seed)
            # At weights 0 a pass answers what the noise alone adds, and it adds the same at any weights.
            added = torch.cat([model(x)[:, 0] for _ in range(COPIES)])
        noisy, targets, l2 = x.repeat(COPIES, 1), y.repeat(COPIES) - added, 0.0
    return (
        minimum(Quadratic.of(with_constant(noisy), targets))[1:],
        minimum(Quadratic.of(with_constant(x), y), l2=l2)[1:],
    )


class Noise(Figure):
    """Answers under noise, and its equivalent penalty."""

    id: ClassVar[str] = "noise"
    title: ClassVar[str] = "Noise in the inputs of a linear model is an L2 penalty in disguise"
    caption: ClassVar[str] = (
        "One trained network is asked in training mode again and again: the band holds the middle two thirds of 60 "
        "noisy answers, the thin line is one of them. The bars are the weights of a linear model trained on 100 noisy "
        "copies of its rows; the rings, those that the equal penalty gives without any noise; the crosses, those of "
        "neither."
    )
    tries: ClassVar[tuple[str, ...]] = (
        "Double the noise in the inputs. By which factor does the strength of the equal L2 penalty grow?",
        "Noise in the weights of a linear model: which penalty is it? Predict, then look.",
        "Step through the draws: which of the three noises makes smooth answers, and why?",
    )
    presets: ClassVar[tuple[Preset, ...]] = (
        Preset("inputs", {"kind": "inputs"}),
        Preset("units", {"kind": "units"}),
        Preset("weights", {"kind": "weights"}),
        Preset("much noise", {"kind": "inputs", "scale": 1.0}),
        Preset("none", {"scale": 0.0}),
    )

    @property
    def controls(self) -> Sequence[Control]:
        options = (("inputs", "the inputs"), ("units", "the hidden units"), ("weights", "the weights"))
        return (
            Choice("kind", "Noise in", options, "inputs"),
            Range("scale", "Noise (standard deviation)", 0.01, 1.0, 0.3, 10, log=True, zero=True, export=8),
            Range("draw", "Draw shown", 1, DRAWS, 1, 1, whole=True, export=3),
            Seed(export=2),
        )

    def compute(self, state: State) -> Frame:
        kind, scale, seed = str(state["kind"]), float(state["scale"]), int(state["seed"])
        still, noisy = answers(kind, scale, seed)
        with_noise, equal = fitted_with_noise(kind, scale, seed)
        spread = float(noisy.std(0, unbiased=False).mean())
        apart = float((with_noise - equal).abs().amax())
        l2 = 0.0 if kind == "weights" else 2 * scale**2
        numbers = (
            Number("L2 strength of the same effect", l2, f"{l2:.4g}", "train"),
            Number("largest difference of a weight", apart, f"{apart:.3f}"),
            Number("spread of the answers", spread, f"{spread:.3f}", "valid"),
        )
        notice = ""
        if kind == "weights" and scale > 0:
            notice = (
                "In a linear model, noise in the weights adds the same to the error whatever the weights are: it is no "
                "penalty. In a deep network it is one, on how fast the answer changes with the weights."
            )
        panels = (_band(state, still, noisy), _weights(state, l2, with_noise, equal))
        return Frame(panels, numbers, notice)

    def table(self, frame: Frame) -> Table:
        plot = frame.panels[1]
        assert isinstance(plot, Plot)
        bars, rings = plot.marks[0], plot.marks[-1]
        assert isinstance(bars, Bars)
        assert isinstance(rings, Dots)
        return Table(("weight", "with noise", "with the penalty"), list(zip(bars.at, bars.value, rings.y, strict=True)))

    def code(self, state: State) -> str:
        return _SCRIPTS[str(state["kind"])](state)

    def describe(self, state: State, frame: Frame) -> str:
        l2, apart, spread = (number.text for number in frame.numbers)
        return (
            f"Noise of deviation {state['scale']:.3g} in {WORDS[str(state['kind'])]} spreads the network's answers by "
            f"{spread}; a linear model trained with it has the weights of an L2 penalty of strength {l2}, to {apart}."
        )


def _band(state: State, still: Tensor, noisy: Tensor) -> Plot:
    grid = torch.linspace(-1, 1, len(still), dtype=torch.float64)
    low, high = torch.quantile(noisy, torch.tensor([1 / 6, 5 / 6], dtype=torch.float64), dim=0)
    one = noisy[int(state["draw"]) - 1]
    _, x, y = wave_network(int(state["seed"]))
    places = grid.tolist()
    marks: list[Mark] = [
        Band("two thirds of the answers", places, low.tolist(), high.tolist()),
        Line("truth", places, truth(grid).tolist(), "truth", dashed=True),
        Line("without noise", places, still.tolist(), "train"),
        Line(f"draw {state['draw']}", places, one.tolist(), "plain", thin=True),
        Dots("training points", x[:, 0].tolist(), y.tolist(), "train"),
    ]
    title = f"One network, noise in {WORDS[str(state['kind'])]}"
    return Plot(title, Axis("x", -1, 1), Axis("answer", -2.5, 2.5), marks, height=300)


def _weights(state: State, l2: float, with_noise: Tensor, equal: Tensor) -> Plot:
    kind = str(state["kind"])
    places = [float(place) for place in range(1, len(equal) + 1)]
    marks: list[Mark] = [Bars("trained with noise", places, with_noise.tolist(), "train")]
    if kind == "inputs":
        _, neither = fitted_with_noise(kind, 0.0, int(state["seed"]))
        marks.append(Dots("neither", places, neither.tolist(), "plain", "cross"))
    marks.append(Dots("no penalty" if l2 == 0 else f"L2 of {l2:.3g}", places, equal.tolist(), "truth", "ring"))
    whose = "output weights" if kind == "units" else "weights"
    reach = 0.5 if kind == "units" else 4.0
    most = float(torch.stack([with_noise, equal]).abs().amax())
    while reach < most:
        reach *= 2
    ticks = tuple((place, f"{place:.0f}") for place in places[::3])
    x = Axis("weight", 0.3, len(equal) + 0.7, ticks=ticks)
    return Plot(f"The {whose} that training ends with", x, Axis("value", -reach, reach), marks, height=300)


_HEAD = """\
import torch

import poise
from poise.lab.figures.noise import with_constant
from poise.lab.linear import Quadratic, minimum
from poise.lab.samples import columns, wave_network

scale, seed = {scale!r}, {seed}
grid = torch.linspace(-1, 1, 61, dtype=torch.float64)[:, None]
model, x, y = wave_network(seed)
with torch.no_grad():  # the drawn network: its output weights at the minimum of the error
    found = minimum(Quadratic.of(with_constant(model[:2](x)), y), l2=0.001)
    model[2].bias.copy_(found[:1])
    model[2].weight.copy_(found[None, 1:])
"""

_TAIL = """\
print("L2 strength of the same effect", l2)
print("largest difference of a weight", float((with_noise - equal)[1:].abs().max()))
print("spread of the answers", float(answers.std(0, unbiased=False).mean()))
"""

_INPUTS = """\
recipe = poise.Recipe(poise.InputNoise(scale))
many = grid.repeat(60, 1)
answers = model(recipe.start(model, seed=seed).batch(many, many)[0]).detach().view(60, 61)

x, y = columns(40, 2.0, seed)
linear = torch.nn.Linear(16, 1, dtype=torch.float64)
noisy, targets = recipe.start(linear, seed=seed).batch(x.repeat(100, 1), y.repeat(100))
with_noise = minimum(Quadratic.of(with_constant(noisy), targets))
l2 = 2 * scale**2  # the mean of (w (x + n) - y)^2 over the noise is (w x - y)^2 + scale^2 w^2
equal = minimum(Quadratic.of(with_constant(x), y), l2=l2)
"""

_UNITS = """\
poise.insert(model, poise.HiddenNoise(scale), seed=seed)
answers = model(grid.repeat(60, 1)).detach().view(60, 61)

model, x, y = wave_network(seed)
features = model[:2](x).detach()
poise.insert(model, poise.HiddenNoise(scale), seed=seed)
noisy = model[:2](x.repeat(100, 1)).detach()
with_noise = minimum(Quadratic.of(with_constant(noisy), y.repeat(100)))
l2 = 2 * scale**2  # of the output weights, which multiply the noise
equal = minimum(Quadratic.of(with_constant(features), y), l2=l2)
"""

_WEIGHTS = """\
poise.insert(model, poise.WeightNoise(scale), seed=seed)
answers = torch.stack([model(grid)[:, 0].detach() for _ in range(60)])

x, y = columns(40, 2.0, seed)
linear = torch.nn.Sequential(torch.nn.Linear(16, 1, dtype=torch.float64))
for parameter in linear.parameters():
    torch.nn.init.zeros_(parameter)
poise.insert(linear, poise.WeightNoise(scale), seed=seed)
added = torch.cat([linear(x)[:, 0].detach() for _ in range(100)])  # the same at any weights
with_noise = minimum(Quadratic.of(with_constant(x.repeat(100, 1)), y.repeat(100) - added))
l2 = 0.0
equal = minimum(Quadratic.of(with_constant(x), y))
"""


def _script(body: str) -> Callable[[State], str]:
    return lambda state: _HEAD.format(scale=state["scale"], seed=state["seed"]) + body + _TAIL


_SCRIPTS = {"inputs": _script(_INPUTS), "units": _script(_UNITS), "weights": _script(_WEIGHTS)}
