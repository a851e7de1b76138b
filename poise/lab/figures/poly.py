"""A polynomial fitted to a few noisy points, with five ways to hold it back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from poise.batch import InputNoise
from poise.core.context import Batch, Context
from poise.core.rng import Rng, key
from poise.lab.base import Figure
from poise.lab.controls import Control, Preset, Range, Seed, State, Toggle
from poise.lab.figures.poly_code import script
from poise.lab.linear import Quadratic, minimum, stopped
from poise.lab.samples import NEW, legendre, truth, wave
from poise.lab.scene import Axis, Band, Bars, Dots, Frame, Line, Mark, Number, Plot, Rule, Table
from poise.train.bagging import bootstrap_rows

__all__ = ["COPIES", "EVERY", "MEMBERS", "NEW_POINTS", "PATIENCE", "STEPS", "Fits", "Poly", "fits"]

HIGHEST = 15  # degree
NEW_POINTS = 200
COPIES = 20  # of each point, each with its own noise in x
MEMBERS = 10  # of the bagged model
STEPS = 400  # of gradient descent at most, when it stops early
EVERY = 5  # steps between two evaluations
PATIENCE = 10  # evaluations
LOW, HIGH = 0.05, 20.0  # ends of the error axis


@dataclass(frozen=True)
class Fits:
    """Polynomials of degree 1 to 15 fitted to the same points.

    `weights` (15, M, 16): of each degree and member, constant first; `train` and `new` (15,): root mean squared
    errors; `steps` (15,): at which steps the first member's weights were kept, or None.
    """

    weights: Tensor
    train: Tensor
    new: Tensor
    steps: Tensor | None


def _designed(x: Tensor) -> Tensor:
    return torch.cat([torch.ones_like(x)[..., None], legendre(x, HIGHEST)], -1)


@lru_cache(maxsize=64)
def fits(
    seed: int, points: int, noise: float, l2: float, l1: float, jitter: float, stopping: bool, bagging: bool
) -> Fits:
    """Return the fits of every degree under these settings."""
    x, y = wave(points, noise, seed)
    new_x, new_y = wave(NEW_POINTS, noise, seed + NEW)
    rows = bootstrap_rows(range(MEMBERS), points, seed) if bagging else torch.arange(points)[None]
    own_x, own_y = x[rows], y[rows]
    if jitter > 0:
        own_x, own_y = own_x.repeat(1, COPIES), own_y.repeat(1, COPIES)
        part = InputNoise(jitter)
        ctx = Context(0, rng=Rng(key(seed)))
        draw = part.draw(ctx.rng.fold(part.name), Batch(own_x[0], own_y[0]), ctx)
        own_x = part.apply(Batch(own_x, own_y), draw, ctx).inputs
    whole = Quadratic.of(_designed(own_x), own_y)
    # A model of degree d is the largest one whose higher weights are left out.
    used = (torch.arange(HIGHEST + 1) <= torch.arange(1, HIGHEST + 1)[:, None]).to(x.dtype)
    curvature = whole.curvature * (used[:, None, :, None] * used[:, None, None, :])
    each = Quadratic(curvature, whole.slope * used[:, None])
    new_features = _designed(new_x)
    steps = None
    if stopping:  # by points of their own: those that choose the step would flatter it
        kept_x, kept_y = wave(NEW_POINTS, noise, seed + 2 * NEW)
        found = stopped(each, _designed(kept_x), kept_y, l2=l2, l1=l1, steps=STEPS, every=EVERY, patience=PATIENCE)
        weights, steps = found.weights, found.best_step[:, 0]
    else:
        weights = minimum(each, l2, l1)
    mean = weights.mean(1)  # of the members' answers: they are linear in the weights

    def error(features: Tensor, targets: Tensor) -> Tensor:
        return torch.square(mean @ features.mT - targets).mean(-1).sqrt()

    return Fits(weights, error(_designed(x), y), error(new_features, new_y), steps)


class Poly(Figure):
    """Polynomial fit: degree against noise, with five regularizers."""

    id: ClassVar[str] = "poly"
    title: ClassVar[str] = "A polynomial of degree 12 learns the noise, and a new point finds out"
    caption: ClassVar[str] = (
        "Sixteen noisy points (dots) of a smooth curve (dashed), and the polynomial fitted to them. Each fit is the "
        "minimum of the library's own objective, found at once because it is a linear model; training arrives there "
        "too, as the code below shows. Early stopping descends step by step and watches other points, kept aside."
    )
    tries: ClassVar[tuple[str, ...]] = (
        "The training error falls with every degree. At which degree does the error on new points begin to rise?",
        "Set the L2 strength to 0.01. How many of the twelve weights become smaller? Does any become zero?",
        "Double the number of points at degree 12 without any penalty. What is worth more, the data or the penalty?",
        "Bagging alone does harm here, and together with L2 it does not. What does a fit do where points are missing?",
    )
    presets: ClassVar[tuple[Preset, ...]] = (
        Preset("too simple", {"degree": 1}),
        Preset("about right", {"degree": 4}),
        Preset("too free", {"degree": 12}),
        Preset("too free, with L2", {"degree": 12, "l2": 0.01}),
        Preset("with L1", {"degree": 12, "l1": 0.05}),
    )

    @property
    def controls(self) -> Sequence[Control]:
        return (
            Range("degree", "Degree", 1, HIGHEST, 12, 1, whole=True, export=15),
            Range("l2", "L2 strength", 1e-6, 1.0, 0.0, 4, log=True, zero=True, export=4),
            Range("l1", "L1 strength", 1e-3, 1.0, 0.0, 8, log=True, zero=True, export=3),
            Range("jitter", "Noise in x", 0.01, 0.3, 0.0, 8, log=True, zero=True, help="20 noisy copies", export=2),
            Toggle("stopping", "Early stopping", help="gradient descent that Patience stops by points kept aside"),
            Toggle("bagging", "Bagging", help="the mean of 10 fits to points drawn anew"),
            Range("noise", "Noise in y", 0.0, 0.8, 0.3, 0.05, export=2),
            Range("points", "Points", 8, 60, 16, 1, whole=True, export=2),
            Seed(export=1),
        )

    def compute(self, state: State) -> Frame:
        degree, found = int(state["degree"]), _fits(state)
        weights = found.weights[degree - 1]
        train, new = float(found.train[degree - 1]), float(found.new[degree - 1])
        zeros = int((weights.mean(0)[1 : degree + 1] == 0).sum())
        numbers = (
            Number("error on the training points", train, f"{train:.3f}", "train"),
            Number("error on new points", new, f"{new:.3f}", "valid"),
            Number("gap", new - train, f"{new - train:.3f}"),
            Number("weights that are 0", zeros, f"{zeros} of {degree}", "zero"),
        )
        panels = (_fit(state, weights), _errors(state, found), _coefficients(weights.mean(0), degree))
        return Frame(panels, numbers, _notice(state, found))

    def code(self, state: State) -> str:
        return script(state)

    def table(self, frame: Frame) -> Table:
        errors, weights = frame.panels[1], frame.panels[2]
        assert isinstance(errors, Plot)
        assert isinstance(weights, Plot)
        train, new, own = errors.marks[0], errors.marks[1], weights.marks[0]
        assert isinstance(train, Line)
        assert isinstance(new, Line)
        assert isinstance(own, Bars)
        rows = [
            [degree, train.y[degree - 1], new.y[degree - 1], own.value[degree - 1] if degree <= len(own.value) else ""]
            for degree in range(1, HIGHEST + 1)
        ]
        return Table(("degree", "training error", "error on new points", "weight here"), rows)

    def describe(self, state: State, frame: Frame) -> str:
        train, new, gap, zeros = frame.numbers
        return (
            f"Degree {state['degree']} on {state['points']} points: error {train.text} on the points it was fitted to, "
            f"{new.text} on new ones, a gap of {gap.text}; {zeros.text} weights are exactly 0."
        )


def _fits(state: State) -> Fits:
    numbers = [float(state[name]) for name in ("noise", "l2", "l1", "jitter")]
    return fits(int(state["seed"]), int(state["points"]), *numbers, bool(state["stopping"]), bool(state["bagging"]))


def _fit(state: State, weights: Tensor) -> Plot:
    x, y = wave(int(state["points"]), float(state["noise"]), int(state["seed"]))
    grid = torch.linspace(-1, 1, 121, dtype=torch.float64)
    curves = _designed(grid) @ weights.mT
    mean = curves.mean(-1)
    marks: list[Mark] = []
    if state["bagging"]:
        marks.append(Band("the 10 fits", grid.tolist(), curves.amin(-1).tolist(), curves.amax(-1).tolist()))
    marks += [
        Line("truth", grid.tolist(), truth(grid).tolist(), "truth", dashed=True),
        Line("mean of 10 fits" if state["bagging"] else "fit", grid.tolist(), mean.tolist(), "train"),
        Dots("training points", x.tolist(), y.tolist(), "train"),
    ]
    return Plot("The fit", Axis("x", -1, 1), Axis("y", -2.5, 2.5), marks, height=320)


def _errors(state: State, found: Fits) -> Plot:
    degrees = [float(degree) for degree in range(1, HIGHEST + 1)]
    at = int(state["degree"])
    marks: list[Mark] = [
        Line("training", degrees, found.train.tolist(), "train"),
        Line("new points", degrees, found.new.tolist(), "valid"),
        Dots("", [at], [float(found.train[at - 1])], "train"),
        Dots("", [at], [float(found.new[at - 1])], "valid", "square"),
        Rule(f"degree {at}", x=at, role="plain"),
    ]
    if float(state["noise"]) >= LOW:
        marks.append(Rule("the noise itself", y=float(state["noise"])))
    y = Axis("error (root mean square)", LOW, HIGH, log=True)
    return Plot("Error against degree", Axis("degree", 1, HIGHEST), y, marks, height=240)


def _coefficients(weights: Tensor, degree: int) -> Plot:
    own = weights[1 : degree + 1]
    most = max(2.0, float(own.abs().amax()))
    ceiling = 2.0 ** math.ceil(math.log2(most))  # in powers of two, so that the axis stands still while sliding
    bars = Bars(
        "weights", [float(order) for order in range(1, degree + 1)], own.tolist(), "train", crossed=(own == 0).tolist()
    )
    x = Axis("of the polynomial of degree", 0.4, HIGHEST + 0.6)
    return Plot("The weights", x, Axis("weight", -ceiling, ceiling), [bars], height=240)


def _notice(state: State, found: Fits) -> str:
    degree, points = int(state["degree"]), int(state["points"])
    words = []
    if degree + 1 > points and not (state["l2"] or state["l1"]):
        words.append(
            f"{degree + 1} weights and {points} points: many fits are perfect; the one of shortest weights is shown."
        )
    if float(found.new[degree - 1]) > HIGH:
        words.append("The error on new points is beyond the axis: take fewer degrees, more points or a penalty.")
    if found.steps is not None and int(found.steps[degree - 1]) == STEPS:
        words.append(
            f"After {STEPS} steps the error on points kept aside still fell: Patience has not stopped the descent."
        )
    return " ".join(words)
