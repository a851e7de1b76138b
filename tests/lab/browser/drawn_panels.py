"""A figure with every panel that is no plot."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import final

import torch

from poise.lab.base import Figure
from poise.lab.controls import Control, Preset, Range, Seed, State
from poise.lab.scene import (
    Axis,
    Frame,
    Heat,
    Images,
    Network,
    Node,
    Number,
    Numbers,
    Panel,
    Parallel,
    Press,
    Table,
    tile_of,
)

__all__ = ["Others"]


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
        edges = [torch.randn(after, before, generator=dice).tolist() for before, after in itertools.pairwise(sizes)]
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
