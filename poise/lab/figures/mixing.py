"""Mixed pictures and their mixed labels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor, nn

from poise.batch import CutMix, LabelSmoothing, Mixup
from poise.core.recipe import Recipe
from poise.core.regularizer import Regularizer
from poise.core.rng import Rng, key
from poise.lab.base import Figure
from poise.lab.controls import Choice, Control, Preset, Range, Seed, State
from poise.lab.picture import SCENES, painted
from poise.lab.scene import Axis, Bars, Frame, Images, Number, Plot, Press, Table, tile_of

__all__ = ["Mixing", "mixed", "shares", "words"]

ROWS = 2 * len(SCENES)
MANY = 4096  # draws for the histogram
BINS = 20
SEEN = 0.005  # a share that rounds to 0 % is not named


def _parts(method: str, alpha: float, smoothing: float) -> list[Regularizer]:
    mixing: dict[str, list[Regularizer]] = {"mixup": [Mixup(alpha)], "cut_mix": [CutMix(alpha=alpha)], "none": []}
    return [*mixing[method], LabelSmoothing(smoothing)]


@lru_cache(maxsize=64)
def mixed(method: str, alpha: float, smoothing: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return a training batch after the recipe: pictures (8, 3, H, W) and their label vectors (8, 4)."""
    recipe = Recipe(*_parts(method, alpha, smoothing))
    with torch.random.fork_rng(devices=[]):  # the layer, which a run must have, draws from the global numbers
        run = recipe.start(nn.Linear(1, len(SCENES)), seed=seed, classes=len(SCENES))
    found: tuple[Tensor, Tensor] = run.batch(torch.stack([*map(painted, SCENES)] * 2), torch.arange(ROWS) % len(SCENES))
    return found


@lru_cache(maxsize=64)
def shares(alpha: float, seed: int) -> list[float]:
    """Return how often a row keeps 0 .. 5 %, 5 .. 10 %, ... of itself, over many of the library's draws."""
    kept = Rng(key(seed), "shares").symmetric_beta("lambda", (MANY,), alpha)
    found: list[float] = (torch.histc(kept, BINS, 0.0, 1.0) / MANY).tolist()
    return found


def words(label: Tensor) -> str:
    """Return a label vector in words: "62 % house, 38 % boat"."""
    order = torch.argsort(label, descending=True, stable=True)
    kept = [place for place in order.tolist() if label[place] >= SEEN][:2]
    return ", ".join(f"{100 * float(label[place]):.0f} % {SCENES[place]}" for place in kept)


class Mixing(Figure):
    """Mixup, CutMix and label smoothing: the targets are vectors that sum to 1."""

    id: ClassVar[str] = "mixing"
    title: ClassVar[str] = "Half a house, half a boat: the label says so"
    caption: ClassVar[str] = (
        "A training batch of eight pictures after the recipe, and the label vector of each. The last panel shows how "
        "much of itself a picture keeps: alpha shapes that law."
    )
    tries: ClassVar[tuple[str, ...]] = (
        "At alpha 0.1, are most pictures mixed by half, or hardly at all? Predict, then look at the last panel.",
        "Choose CutMix: is the label's share the area of the box? Count the pixels' share in the caption.",
        "Some pictures look unmixed at any alpha. Why? (Who can be the partner in a batch of four kinds?)",
    )
    presets: ClassVar[tuple[Preset, ...]] = (
        Preset("hardly", {"alpha": 0.1}),
        Preset("by half", {"alpha": 5.0}),
        Preset("CutMix", {"method": "cut_mix", "alpha": 1.0}),
        Preset("CutMix and smoothing", {"method": "cut_mix", "alpha": 1.0, "smoothing": 0.2}),
        Preset("off", {"method": "none"}),
    )

    @property
    def controls(self) -> Sequence[Control]:
        methods = (("mixup", "Mixup"), ("cut_mix", "CutMix"), ("none", "neither"))
        return (
            Choice("method", "Mixing", methods, "mixup"),
            Range("alpha", "Alpha", 0.05, 5.0, 1.0, 10, log=True, zero=True, help="shape of the law of the share"),
            Range("smoothing", "Label smoothing", 0.0, 0.5, 0.0, 0.05, export=3),
            Seed(label="Batch", start=101),
        )

    def compute(self, state: State) -> Frame:
        method, alpha, smoothing, seed = _read(state)
        pictures, labels = mixed(method, alpha, smoothing, seed)
        pairs = list(zip(pictures, labels, strict=True))
        tiles = [tile_of(row, f"{place}: {words(label)}") for place, (row, label) in enumerate(pairs, 1)]
        bars = [_label_plot(place, label) for place, label in enumerate(labels, 1)]
        sums, largest = labels.sum(1), labels.amax(1)
        off = method == "none" or alpha == 0
        return Frame(
            panels=(
                Images("A training batch of eight", tiles, 132, Press("seed", "Draw another batch")),
                *bars,
                *(() if off else (_law(method, alpha, seed),)),
            ),
            numbers=(
                Number("smallest sum of a label", float(sums.min()), f"{float(sums.min()):.6f}"),
                Number("largest sum of a label", float(sums.max()), f"{float(sums.max()):.6f}"),
                Number("mean of the largest entry", float(largest.mean()), f"{float(largest.mean()):.4f}", "train"),
                Number("pictures of one label", int((largest > 1 - SEEN).sum()), f"{int((largest > 1 - SEEN).sum())}"),
            ),
            notice="Nothing is mixed here: every picture keeps itself. Choose Mixup or CutMix, and an alpha above 0."
            if off
            else "",
        )

    def code(self, state: State) -> str:
        method, alpha, smoothing, seed = _read(state)
        calls = {"mixup": [f"Mixup({alpha!r})"], "cut_mix": [f"CutMix(alpha={alpha!r})"], "none": []}[method]
        calls.append(f"LabelSmoothing({smoothing!r})")
        names = sorted(["Recipe", *(call.split("(")[0] for call in calls)])
        return "\n".join(
            [
                "import torch",
                "from torch import nn",
                "",
                f"from poise import {', '.join(names)}",
                "from poise.lab.picture import SCENES, painted",
                "",
                "pictures = torch.stack([*map(painted, SCENES)] * 2)",
                "labels = torch.arange(8) % 4",
                f"recipe = Recipe({', '.join(calls)})",
                f"run = recipe.start(nn.Linear(1, 4), seed={seed}, classes=4)",
                "pictures, labels = run.batch(pictures, labels)",
                "largest = labels.amax(1)",
                "print('smallest sum of a label', float(labels.sum(1).min()))",
                "print('largest sum of a label', float(labels.sum(1).max()))",
                "print('mean of the largest entry', float(largest.mean()))",
                f"print('pictures of one label', int((largest > {1 - SEEN}).sum()))",
            ]
        )

    def describe(self, state: State, frame: Frame) -> str:
        method, alpha, smoothing, _ = _read(state)
        called = {"mixup": f"Mixup at alpha {alpha:g}", "cut_mix": f"CutMix at alpha {alpha:g}", "none": "No mixing"}
        smooth = f" and label smoothing {smoothing:g}" if smoothing else ""
        _, _, largest, single = frame.numbers
        return (
            f"{called[method]}{smooth}: the largest entry of a label is {largest.text} on average, {single.text} of "
            f"{ROWS} pictures have a single label, and every label still sums to 1."
        )

    def table(self, frame: Frame) -> Table:
        rows: list[list[str | float]] = [
            [plot.title, *(float(value) for value in plot.marks[0].value)]  # type: ignore[union-attr]
            for plot in frame.panels[1 : 1 + ROWS]
            if isinstance(plot, Plot)
        ]
        return Table(("picture", *SCENES), rows)


def _read(state: State) -> tuple[str, float, float, int]:
    return str(state["method"]), float(state["alpha"]), float(state["smoothing"]), int(state["seed"])


def _label_plot(place: int, label: Tensor) -> Plot:
    """Return one picture's label vector as bars."""
    at = list(range(len(SCENES)))[::-1]  # the first on top
    values = label.tolist()
    return Plot(
        f"Picture {place}",
        Axis("share of the label", 0.0, 1.0),
        Axis(
            "",
            -0.6,
            len(SCENES) - 0.4,
            ticks=tuple((float(spot), scene) for spot, scene in zip(at, SCENES, strict=True)),
        ),
        (Bars("share", at, values, crossed=[value == 0 for value in values], sideways=True),),
        height=130,
        small=True,
    )


def _law(method: str, alpha: float, seed: int) -> Plot:
    """Return how much of itself a picture keeps."""
    found = shares(alpha, seed)
    middles = [(place + 0.5) / BINS for place in range(BINS)]
    planned = "planned area kept" if method == "cut_mix" else "share kept"
    return Plot(
        f"How much of itself a picture keeps, in {MANY:,} draws",
        Axis(planned, 0.0, 1.0),
        Axis("share of draws", 0.0),
        (Bars("draws", middles, found, width=0.9 / BINS),),
        height=180,
    )
