"""Figures for the tests of the page: every mark, every panel, every control, one that is slow and one that plays."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import final

import torch

from poise.lab.controls import Choice, Control, Preset, Range, Seed, State, Toggle
from poise.lab.figure import Figure
from poise.lab.scene import (
    Axis,
    Band,
    Bars,
    Dots,
    Frame,
    Heat,
    Images,
    Intervals,
    Line,
    Network,
    Node,
    Note,
    Number,
    Numbers,
    Panel,
    Parallel,
    Plot,
    Press,
    Rule,
    Shape,
    Table,
    tile_of,
)
from poise.lab.section import Section, Show

__all__ = ["CHAPTER", "FIGURES"]


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


@final
class Others(Figure):
    """Every other panel."""

    id = "others"
    title = "Every other panel draws what it was given"
    presets = (Preset("all dropped", {"rate": 1.0}),)

    @property
    def controls(self) -> Sequence[Control]:
        return (Range("rate", "Drop probability", 0, 1, 0.5, 0.05), Seed())

    def compute(self, state: State) -> Frame:
        rate, seed = float(state["rate"]), int(state["seed"])
        dice = torch.Generator().manual_seed(seed)
        sizes = (4, 8, 6, 2)
        kept = [
            torch.rand(size, generator=dice) >= (rate if 0 < layer < 3 else 0.0) for layer, size in enumerate(sizes)
        ]
        edges = [
            torch.randn(after, before, generator=dice).tolist() for before, after in zip(sizes, sizes[1:], strict=False)
        ]
        edges[0][0][0], edges[0][1][0] = 0.0, float("nan")
        press = Press("seed", "The next mask")
        network = Network(
            "A network with dropout",
            [
                [Node(not k, text="income" if layer == 0 and at == 0 else "") for at, k in enumerate(mask.tolist())]
                for layer, mask in enumerate(kept)
            ],
            ("inputs", "hidden 1", "hidden 2", "outputs"),
            edges,
            press=press,
        )
        values = [[(row - 2) * (column - 3) / 6 for column in range(7)] for row in range(5)]
        values[0][0] = float("nan")
        signed = Heat(
            "A signed grid",
            Axis("learning rate", 1e-4, 1e-1, log=True),
            Axis("strength", 0, 1),
            values,
            "change",
            signed=True,
            marked=[(5, 3)],
        )
        table = Heat(
            "A table of shares",
            Axis("guess", ticks=((0, "cat"), (1, "dog"))),
            Axis("truth", ticks=((0, "cat"), (1, "dog"))),
            [[0.9, 0.1], [0.3, 0.7]],
            "share",
            0,
            1,
            texts=[["0.9", "0.1"], ["0.3", "0.7"]],
        )
        ramp = torch.linspace(0, 1, 64).reshape(8, 8)
        images = Images(
            "Pictures",
            [tile_of(ramp, "grey ramp"), tile_of(torch.stack([ramp, ramp.T, 1 - ramp]), "three channels", chosen=True)],
            press=press,
        )
        numbers = Numbers(
            "At a glance", [("kept units", str(int(sum(k.sum() for k in kept))), "of 20"), ("rate", f"{rate:g}", "")]
        )
        axes = (Axis("learning rate", 1e-4, 1e-1, log=True), Axis("dropout", 0, 0.8), Axis("loss"))
        members = [
            [
                10 ** (-4 + 3 * torch.rand((), generator=dice).item()),
                0.8 * torch.rand((), generator=dice).item(),
                torch.rand((), generator=dice).item(),
            ]
            for _ in range(20)
        ]
        parallel = Parallel("The population", axes, members, chosen=[3])
        rows = Table(
            ("name", "share"), [["<b>bold</b>", 0.5], ["=1+1", 0.25]], "A table", ("/f/marks", "javascript:alert(1)")
        )
        panels: list[Panel] = [network, signed, table, images, numbers, parallel, rows]
        dropped = int(sum((~k).sum() for k in kept))
        return Frame(panels, [Number("dropped", dropped, str(dropped), "zero")])

    def table(self, frame: Frame) -> Table:
        panel = frame.panels[-1]
        assert isinstance(panel, Table)
        return panel

    def code(self, state: State) -> str:
        return f"print({state['rate']!r})\n"

    def describe(self, state: State, frame: Frame) -> str:
        return f"{frame.numbers[0].text} of 20 units are dropped."


@final
class Slow(Figure):
    """Takes its time."""

    id = "slow"
    title = "The newest value lands, however slow the figure"

    @property
    def controls(self) -> Sequence[Control]:
        return (Range("value", "Value", 0, 100, 0, 1, whole=True), Toggle("fails", "Fails"))

    def compute(self, state: State) -> Frame:
        time.sleep(0.12)
        if state["fails"]:
            raise RuntimeError("on purpose")
        value = int(state["value"])
        return Frame(
            [Plot("", Axis("x", 0, 1), Axis("y", 0, 100), [Line("value", [0, 1], [value, value])])],
            [Number("value", value, str(value))],
        )

    def code(self, state: State) -> str:
        return f"print({state['value']})\n"

    def describe(self, state: State, frame: Frame) -> str:
        return f"The value is {frame.numbers[0].text}."


@final
class Training(Figure):
    """A run that plays."""

    id = "training"
    title = "A run is drawn while it trains"
    streams = True

    @property
    def controls(self) -> Sequence[Control]:
        return (Range("steps", "Steps", 5, 400, 40, 1, whole=True),)

    def stream(self, state: State) -> Iterator[Frame]:
        steps = int(state["steps"])
        for count in range(1, steps + 1):
            x = list(range(count + 1))
            train = [math.exp(-at / 12) for at in x]
            valid = [math.exp(-at / 9) + 0.0006 * at**1.4 + 0.1 for at in x]
            best = min(x, key=lambda at: valid[at])
            plot = Plot(
                "",
                Axis("step", 0, steps),
                Axis("loss", 0, 1.2),
                [Line("train", x, train), Line("validation", x, valid, "valid"), Rule(f"best step {best}", x=best)],
            )
            yield Frame([plot], [Number("step", count, str(count))])

    def compute(self, state: State) -> Frame:
        return list(self.stream(state))[-1]

    def code(self, state: State) -> str:
        return f"print({state['steps']})\n"

    def describe(self, state: State, frame: Frame) -> str:
        return f"{frame.numbers[0].text} steps were taken."


FIGURES = {figure.id: figure for figure in (Marks, Others, Slow, Training)}
CHAPTER = (
    Section(
        "drawing",
        "Everything that is drawn comes from Python",
        (
            "A paragraph to read, with *stress* and `code`, before the figure. Set the power to [3](#marks.power=3&marks.band=false).",
            Show("marks"),
            "The other panels follow.",
            Show("others"),
        ),
    ),
    Section("moving", "Slow and moving figures stay calm", ("Words between.", Show("slow"), Show("training"))),
)
