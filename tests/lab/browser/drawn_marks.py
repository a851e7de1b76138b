"""A figure with every mark of a plot and every control."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import torch

from poise.lab.base import Figure
from poise.lab.controls import Choice, Control, Preset, Range, Seed, State, Toggle
from poise.lab.scene import (
    Axis,
    Band,
    Bars,
    Dots,
    Frame,
    Intervals,
    Line,
    Note,
    Number,
    Plot,
    Rule,
    Shape,
)

__all__ = ["Marks"]


@final
class Marks(Figure):
    """Every mark of a plot."""

    id = "marks"
    title = "Every mark stands where Python put it"
    caption = "A curve, its data, its band, a rule on each axis, bars, intervals, shapes and a note."
    tries = ("Where does the fit end at power 3?", "Does the truth move?")
    presets = (Preset("cube", {"power": 3.0}), Preset("cube, no band", {"power": 3.0, "band": False}))

    @property
    def controls(self) -> Sequence[Control]:
        return (
            Range("power", "Power", 1, 4, 2.0, 0.5, help="Of the fitted curve."),
            Range("strength", "Strength", 1e-4, 10, 0.01, 4, log=True, zero=True),
            Toggle("band", "Show the band", True),
            Choice("scale", "Scale of the errors", (("linear", "Linear"), ("log", "Logarithmic")), "linear"),
            Seed(),
        )

    def compute(self, state: State) -> Frame:
        power, strength, seed = float(state["power"]), float(state["strength"]), int(state["seed"])
        x = [at / 20 for at in range(21)]
        fit = [value**power for value in x]
        noise = torch.randn(21, generator=torch.Generator().manual_seed(seed)).tolist()
        data = [value**2 + 0.08 * off for value, off in zip(x, noise, strict=True)]
        band = [Band("spread", x, [y - 0.1 for y in fit], [y + 0.1 for y in fit])] if state["band"] else []
        curve = Plot(
            "The fit",
            Axis("x", 0, 1),
            Axis("y", -0.3, 1.3),
            [
                *band,
                Dots("data", x, data),
                Line("truth", x, [value**2 for value in x], "truth", dashed=True),
                Line("fit", x, fit),
                Line("fit of others", x, [y * 0.97 + 0.01 for y in fit], "train"),
                Rule("best", x=0.6),
                Rule("stop", x=0.62),
                Rule("bound", y=1.1, role="zero"),
                Note("here", 0.3, 0.5),
            ],
        )
        weights = [math.sin(at + seed) / (1 + 10 * strength) if at % 3 else 0.0 for at in range(12)]
        bars = Plot(
            "Weights",
            Axis("weight", ticks=tuple((at, str(at + 1)) for at in range(12))),
            Axis("value", -1.1, 1.1),
            [
                Bars("weights", list(range(12)), weights, crossed=[value == 0 for value in weights]),
                Dots("true weights", list(range(12)), [math.sin(at) for at in range(12)], "truth", "ring"),
            ],
        )
        names = ("none", "weight decay", "dropout", "early stopping")
        intervals = Plot(
            "What each is worth",
            Axis("difference"),
            Axis("", ticks=tuple(enumerate(names))),
            [
                Intervals(
                    "difference",
                    [0, 1, 2, 3],
                    [0.0, 0.2, -0.1, 0.4],
                    [-0.1, 0.1, -0.3, 0.2],
                    [0.1, 0.3, 0.1, 0.6],
                    [[-0.05, 0.05], [0.15, 0.25], [-0.2, 0.0], [0.3, 0.5]],
                ),
                Rule("no change", x=0.0),
            ],
        )
        turn = [at * math.tau / 48 for at in range(48)]
        shapes = Plot(
            "The constraint",
            Axis("first weight", -1.5, 1.5),
            Axis("second weight", -1.5, 1.5),
            [
                Shape("disc", [math.cos(a) for a in turn], [math.sin(a) for a in turn], "train"),
                Shape("diamond", [1, 0, -1, 0], [0, 1, 0, -1], "valid"),
                Line(
                    "contour",
                    [0.5 * math.cos(a) + 0.8 for a in turn],
                    [0.3 * math.sin(a) + 0.8 for a in turn],
                    "plain",
                    closed=True,
                    thin=True,
                ),
                Dots("minimum", [0.8], [0.8], "truth", "cross"),
            ],
            square=True,
        )
        losses = [10.0 ** (1 - at / 5) for at in range(21)]
        errors = Plot(
            "Errors",
            Axis("step", 1, 1000, log=True),
            Axis("loss", log=state["scale"] == "log"),
            [
                Line("train", [10 ** (at * 3 / 20) for at in range(21)], losses, "train"),
                Line(
                    "validation",
                    [10 ** (at * 3 / 20) for at in range(21)],
                    [0.1 + y + (at / 20) ** 3 for at, y in enumerate(losses)],
                    "valid",
                ),
                Line("broken", [1, 10, 100, 1000], [1.0, float("nan"), 2.0, 2.5], "plain"),
            ],
        )
        small = [
            Plot(
                f"layer {layer + 1}",
                Axis("", -3, 3),
                Axis("", 0, 1),
                [
                    Bars(
                        "before",
                        [a / 4 for a in range(-10, 11)],
                        [math.exp(-((a / 4) ** 2) / (1 + layer)) for a in range(-10, 11)],
                        "valid",
                        width=0.25,
                    ),
                    Line("after", [a / 4 for a in range(-10, 11)], [math.exp(-((a / 4) ** 2)) for a in range(-10, 11)]),
                ],
                height=170,
                small=True,
            )
            for layer in range(4)
        ]
        end = fit[10]
        zeros = sum(value == 0 for value in weights)
        return Frame(
            [curve, bars, intervals, shapes, errors, *small],
            [
                Number("fit at 0.5", end, f"{end:.4f}", "train"),
                Number("truth at 0.5", 0.25, "0.2500", "truth"),
                Number("weights at zero", zeros, str(zeros), "zero"),
                Number("error", data[10] - end, f"{data[10] - end:.4f}", "valid"),
            ],
            "The strength is above 5: every weight is almost 0. Lower it." if strength > 5 else "",
        )

    def code(self, state: State) -> str:
        return f'# the fit at 0.5\nimport math\n\nprint("fit", math.pow(0.5, {state["power"]}))\n'

    def describe(self, state: State, frame: Frame) -> str:
        return f"At 0.5 the fit of power {state['power']:g} is {frame.numbers[0].text}, and the truth is 0.2500."
