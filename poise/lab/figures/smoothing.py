"""Label smoothing: the target, and the loss and its slope over the gap between the right logit and the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from poise.batch import LabelSmoothing
from poise.core.context import Batch, Context
from poise.core.rng import Rng, key
from poise.lab.base import Figure
from poise.lab.controls import Control, Preset, Range, State
from poise.lab.scene import Axis, Bars, Dots, Frame, Line, Mark, Number, Plot, Rule, Table
from poise.train.losses import CrossEntropy

__all__ = ["Smoothing", "losses", "targets"]

WIDEST = 12.0  # gap drawn
POINTS = 121


def targets(classes: int, amount: float) -> Tensor:
    """Return the library's target for the first of some classes, float64."""
    hard = torch.eye(classes, dtype=torch.float64)[:1]
    ctx = Context(0, rng=Rng(key(0)), classes=classes)
    smooth, _ = LabelSmoothing(amount).batch(Batch(torch.zeros(1, 1), hard), {}, ctx)
    return smooth.targets[0]


def losses(gaps: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the library's loss at each gap of the first logit over the others, and its slope there."""
    moved = gaps.clone().requires_grad_()
    logits = torch.cat([moved[:, None], torch.zeros(len(gaps), len(target) - 1, dtype=gaps.dtype)], 1)
    loss = CrossEntropy()
    rows = target.expand_as(logits)[:, None]
    each = torch.vmap(lambda row, goal: loss(row, Batch(row, goal)))(logits[:, None], rows)
    (slope,) = torch.autograd.grad(each.sum(), moved)
    return each.detach(), slope


class Smoothing(Figure):
    """Targets, loss and slope."""

    id: ClassVar[str] = "smoothing"
    title: ClassVar[str] = (
        "With smoothed labels the best gap between logits is finite: there is such a thing as too sure"
    )
    caption: ClassVar[str] = (
        "One row of class 1: its target, before (rings) and after smoothing (bars); the loss when the right logit "
        "leads all others by a gap; and the slope of that loss. Without smoothing (dashed) the loss falls for ever, so "
        "training pushes the gap up for ever; with it there is a best gap (square)."
    )
    tries: ClassVar[tuple[str, ...]] = (
        "Set the amount to 0. Where is the lowest point of the loss now?",
        "With more classes, does the best gap become wider or narrower?",
        "Move your gap beyond the best one: what does the slope say?",
    )
    presets: ClassVar[tuple[Preset, ...]] = (
        Preset("none", {"amount": 0.0}),
        Preset("0.1", {"amount": 0.1}),
        Preset("0.3", {"amount": 0.3}),
        Preset("a hundred classes", {"classes": 100, "amount": 0.1}),
        Preset("all of it", {"amount": 1.0}),
    )

    @property
    def controls(self) -> Sequence[Control]:
        return (
            Range("amount", "Amount of smoothing", 0.0, 1.0, 0.1, 0.05, export=11),
            Range("classes", "Classes", 2, 100, 5, 8, log=True, whole=True, export=4),
            Range("gap", "Your gap", 0.0, WIDEST, 8.0, 0.25, export=9),
        )

    def compute(self, state: State) -> Frame:
        amount, classes, gap = float(state["amount"]), int(state["classes"]), float(state["gap"])
        target = targets(classes, amount)
        at, slope = (float(value[0]) for value in losses(torch.tensor([gap], dtype=torch.float64), target))
        right, wrong = float(target[0]), float(target[-1])
        best = math.log(right / wrong) if wrong > 0 else math.inf
        numbers = (
            Number("target of the right class", right, f"{right:.3f}", "train"),
            Number("target of each other class", wrong, f"{wrong:.4f}"),
            Number(
                "best gap",
                best if math.isfinite(best) else math.nan,
                f"{best:.3f}" if wrong > 0 else "none: ever wider",
            ),
            Number("loss at your gap", at, f"{at:.4f}", "train"),
            Number("slope at your gap", slope, f"{slope:+.4f}", "valid"),
        )
        notice = ""
        if wrong == 0:
            notice = "Without smoothing the loss falls for ever: no gap is wide enough, and training never rests."
        elif amount == 1:
            notice = "All of the mass is spread: every class has the same target, and nothing is left to learn."
        return Frame((_bars(classes, target), _loss(target, gap), _slope(target, gap)), numbers, notice)

    def table(self, frame: Frame) -> Table:
        loss, slope = frame.panels[1], frame.panels[2]
        assert isinstance(loss, Plot)
        assert isinstance(slope, Plot)
        lines = [mark for panel in (loss, slope) for mark in panel.marks[:2] if isinstance(mark, Line)]
        places = lines[0].x
        rows = [[places[at], *(line.y[at] for line in lines)] for at in range(0, POINTS, 5)]
        return Table(("gap", "loss", "loss without smoothing", "slope", "slope without smoothing"), rows)

    def code(self, state: State) -> str:
        return f"""\
import math

import torch

import poise

classes = {state["classes"]}
run = poise.Recipe(poise.LabelSmoothing({state["amount"]!r})).start(torch.nn.Linear(1, classes).double())
_, target = run.batch(torch.zeros(1, 1).double(), torch.tensor([0]))
gap = torch.tensor({state["gap"]!r}, dtype=torch.float64, requires_grad=True)
logits = torch.cat([gap[None], torch.zeros(classes - 1, dtype=torch.float64)])
loss = torch.nn.functional.cross_entropy(logits[None], target)
loss.backward()
right, wrong = float(target[0, 0]), float(target[0, -1])
print("target of the right class", right)
print("target of each other class", wrong)
print("best gap", math.log(right / wrong) if wrong > 0 else math.nan)
print("loss at your gap", loss.item())
print("slope at your gap", float(gap.grad))
"""

    def describe(self, state: State, frame: Frame) -> str:
        right, wrong, best, loss, slope = (number.text for number in frame.numbers)
        return (
            f"Smoothing of {state['amount']:g} over {state['classes']} classes: target {right} for the right class and "
            f"{wrong} for each other; best gap {best}; at gap {state['gap']:g} the loss is {loss}, its slope {slope}."
        )


def _bars(classes: int, target: Tensor) -> Plot:
    shown = min(classes, 12)  # the others are like the last
    places = [float(place) for place in range(1, shown + 1)]
    marks: list[Mark] = [
        Bars("smoothed", places, target[:shown].tolist(), "train"),
        Dots("before", places, [1.0] + [0.0] * (shown - 1), "truth", "ring"),
    ]
    title = "Target of a row of class 1" + (f" (12 of {classes} classes)" if shown < classes else "")
    return Plot(title, Axis("class", 0.3, shown + 0.7), Axis("target", 0, 1.08), marks, height=240)


def _over_gaps(target: Tensor) -> tuple[list[float], list[Tensor]]:
    gaps = torch.linspace(0, WIDEST, POINTS, dtype=torch.float64)
    hard = torch.zeros_like(target)
    hard[0] = 1
    return gaps.tolist(), [*losses(gaps, target), *losses(gaps, hard)]


def _best(target: Tensor) -> float | None:
    best = math.log(float(target[0]) / float(target[-1])) if float(target[-1]) > 0 else math.inf
    return best if 0 <= best <= WIDEST else None


def _loss(target: Tensor, gap: float) -> Plot:
    gaps, (soft, _, hard, _) = _over_gaps(target)
    own = float(losses(torch.tensor([gap], dtype=torch.float64), target)[0][0])
    marks: list[Mark] = [
        Line("smoothed", gaps, soft.tolist(), "train"),
        Line("not smoothed", gaps, hard.tolist(), "plain", dashed=True),
        Dots("your gap", [gap], [own], "valid"),
    ]
    best = _best(target)
    if best is not None:
        least = float(losses(torch.tensor([best], dtype=torch.float64), target)[0][0])
        marks += [Rule(f"best gap {best:.2f}", x=best), Dots("lowest", [best], [least], "truth", "square")]
    ceiling = max(2.0, math.ceil(float(max(soft.amax(), hard.amax()))))
    return Plot("Loss", Axis("gap of the right logit", 0, WIDEST), Axis("loss", 0, ceiling), marks, height=240)


def _slope(target: Tensor, gap: float) -> Plot:
    gaps, (_, soft, _, hard) = _over_gaps(target)
    own = float(losses(torch.tensor([gap], dtype=torch.float64), target)[1][0])
    marks: list[Mark] = [
        Line("smoothed", gaps, soft.tolist(), "train"),
        Line("not smoothed", gaps, hard.tolist(), "plain", dashed=True),
        Rule("", y=0.0, role="plain"),
        Dots("your gap", [gap], [own], "valid"),
    ]
    x, y = Axis("gap of the right logit", 0, WIDEST), Axis("slope of the loss", -1, 1)
    return Plot("Slope: where it is above 0, training narrows the gap", x, y, marks, height=240)
