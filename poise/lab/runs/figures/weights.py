"""The weights of a saved model: a histogram, and how sparse each layer really is."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from torch import Tensor

from poise.core.errors import CheckpointError
from poise.diagnosis.sparsity import LayerSparsity, sparsity
from poise.lab.controls import Choice, Control, Preset, Range, State, Toggle
from poise.lab.runs.figures.base import RunFigure
from poise.lab.runs.files import Signature, signature
from poise.lab.runs.record import RunRecord
from poise.lab.scene import Axis, Bars, Frame, Mark, Number, Plot, Rule, Table
from poise.study.figures_text import cut
from poise.study.store import load_folder

__all__ = ["RunWeights", "weights_of"]

BINS = 60
MOST_LAYERS = 40
MOST_WEIGHTS = 2_000_000  # of a histogram; more are thinned evenly
CAP = 2 * 2**30  # bytes of a model folder


@functools.lru_cache(maxsize=4)
def _loaded(folder: Path, files: Signature) -> dict[str, Tensor]:
    tensors, _ = load_folder(folder, cap=CAP)
    # Member 0 is the best recipe's network: the study's report is of it.
    found = {name.removeprefix("weight/"): one[0] for name, one in tensors.items() if name.startswith("weight/")}
    return dict(sorted(found.items(), key=lambda pair: _natural(pair[0])))  # the file keeps no order of layers


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that puts blocks.2 before blocks.10."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def weights_of(record: RunRecord) -> Mapping[str, Tensor]:
    """Return the weights of a run's network. Raises CheckpointError if the folder is damaged."""
    if record.weights is not None:
        return record.weights
    if record.model is None:
        return {}
    return _loaded(record.model, signature(record.model / "manifest.json", record.model / "weights.safetensors"))


class RunWeights(RunFigure):
    """The weights of the network that a run saved, all together or one layer, and the sparsity of each layer."""

    id: ClassVar[str] = "run-weights"
    caption: ClassVar[str] = (
        "Weights that are exactly zero stand apart, crossed: only these can be left out without a change. The "
        "threshold counts those that are merely small."
    )
    tries: ClassVar[tuple[str, ...]] = (
        "How sparse is it really, at a threshold of 0?",
        "Which layer has the smallest weights?",
    )
    presets: ClassVar[tuple[Preset, ...]] = (
        Preset("exact zeros", {"threshold": 0.0}),
        Preset("below 0.01", {"threshold": 0.01}),
        Preset("log counts", {"log_y": True}),
    )

    def __init__(self, record: RunRecord) -> None:
        super().__init__(record)
        self.words = ""
        self.weights: dict[str, Tensor] = {}
        try:
            found = weights_of(record)
            self.weights = {name: one for name, one in found.items() if one.dim() > 1 and one.is_floating_point()}
        except CheckpointError as error:
            self.words = str(error)
        self.names = list(self.weights)[:MOST_LAYERS]

    @property
    def controls(self) -> Sequence[Control]:
        options = [("all", "all layers"), *((str(at), cut(name, 40)) for at, name in enumerate(self.names))]
        return (
            Choice("layer", "Layer", tuple(options), "all"),
            Range("threshold", "Threshold", 1e-6, 1.0, 0.001, 4, log=True, zero=True, help="Small: at most this size"),
            Toggle("log_y", "Log counts"),
        )

    def claim(self) -> str:
        layers = sparsity(self.weights)
        total, zeros = sum(one.weights for one in layers), sum(one.zeros for one in layers)
        if not total:
            return "The saved weights"
        return f"{zeros:,} of {total:,} weights are exactly zero"

    def _shown(self, state: State) -> dict[str, Tensor]:
        at = state.get("layer", "all")
        return self.weights if at == "all" else {self.names[int(at)]: self.weights[self.names[int(at)]]}

    def compute(self, state: State) -> Frame:
        shown, threshold = self._shown(state), float(state["threshold"])
        layers = sparsity(self.weights, threshold)
        own = [one for one in layers if one.name in shown]
        total, zeros, small = (sum(getattr(one, key) for one in own) for key in ("weights", "zeros", "small"))
        numbers = [
            Number("weights", total, f"{total:,}"),
            Number("exactly zero", zeros / max(total, 1), f"{zeros / max(total, 1):.2%} ({zeros:,})", "zero"),
            Number("small", small / max(total, 1), f"{small / max(total, 1):.2%} ({small:,})", "train"),
        ]
        if not total:
            words = self.words or "This run has saved no weights. A study saves its model when it ends."
            return Frame([], numbers, words)
        values = np.concatenate([one.detach().float().flatten().numpy() for one in shown.values()])
        strange = int((~np.isfinite(values)).sum())
        notice = f"{strange:,} weights are not finite: training diverged. Lower the learning rate." if strange else ""
        title = "all layers" if state.get("layer", "all") == "all" else cut(next(iter(shown)), 60)
        panels = [
            _histogram(title, values[np.isfinite(values)], zeros, threshold, log=bool(state["log_y"])),
            _by_layer(layers[:MOST_LAYERS], threshold),
        ]
        if len(layers) > MOST_LAYERS and not notice:
            notice = f"{len(layers)} layers; the first {MOST_LAYERS} are drawn, all are counted."
        return Frame(panels, numbers, notice)

    def describe(self, state: State, frame: Frame) -> str:
        if not frame.panels:
            return frame.notice
        total, zero, small = frame.numbers
        return (
            f"Of {total.text} weights, {zero.text} are exactly zero and {small.text} are at most "
            f"{float(state['threshold']):g} in size."
        )

    def table(self, frame: Frame) -> Table:
        rows: list[list[str | float]] = [
            [cut(one.name, 80), one.weights, one.zeros, one.zero_share] for one in sparsity(self.weights)
        ]
        return Table(("layer", "weights", "exact zeros", "share"), rows)

    def code(self, state: State) -> str:
        at = state.get("layer", "all")
        only = "" if at == "all" else f" if layer.name == {self.names[int(at)]!r}"
        opened = (
            f"stack = load_model({self.record.source!r}).single(0).stack\n"
            "weights = {name: tensor[0] for name, tensor in stack.weights.items()}\n"
            if self.record.source and self.record.kind == "study"
            else "weights = model  # your network\n"
        )
        imports = "from poise.diagnosis import sparsity\n"
        imports += "from poise.study.model import load_model\n" if "load_model" in opened else ""
        return (
            f"{imports}\n{opened}"
            f"layers = [layer for layer in sparsity(weights, {float(state['threshold'])!r}){only}]\n"
            "total = sum(layer.weights for layer in layers)\n"
            "print('weights', total)\n"
            "print('exactly zero', sum(layer.zeros for layer in layers) / total)\n"
            "print('small', sum(layer.small for layer in layers) / total)\n"
        )


def _histogram(title: str, values: np.ndarray, zeros: int, threshold: float, *, log: bool) -> Plot:
    values = values[:: max(1, math.ceil(len(values) / MOST_WEIGHTS))]
    alive = values[values != 0]
    marks: list[Mark] = []
    if len(alive):
        reach = float(np.abs(alive).max()) or 1.0
        counts, edges = np.histogram(alive, BINS, (-reach, reach))
        middles, width = (edges[:-1] + edges[1:]) / 2, float(edges[1] - edges[0])
        base = 0.5 if log else 0.0
        marks.append(Bars("weights", middles.tolist(), [max(float(n), base) for n in counts], "train", base, width))
        if 0 < threshold < reach:
            marks += [Rule("threshold" if side > 0 else "", x=side * threshold) for side in (-1, 1)]
    else:
        width, base = 0.1, 0.0
    if zeros:
        marks.append(Bars("exactly zero", [0.0], [float(zeros)], "zero", base, width, crossed=[True]))
    low = 0.5 if log else 0.0
    return Plot(title, Axis("weight"), Axis("count", low=low, log=log), marks, 260)


def _by_layer(layers: Sequence[LayerSparsity], threshold: float) -> Plot:
    at = [float(len(layers) - 1 - place) for place in range(len(layers))]
    ticks = tuple((place, cut(one.name.removesuffix(".weight"), 26)) for place, one in zip(at, layers, strict=True))
    marks: list[Mark] = [
        Bars(f"at most {threshold:g}", at, [100 * one.small_share for one in layers], "train", sideways=True),
        Bars("exactly zero", at, [100 * one.zero_share for one in layers], "zero", width=0.4,
             crossed=[one.zeros > 0 for one in layers], sideways=True),
    ]  # fmt: skip
    return Plot("by layer", Axis("per cent of its weights", 0, 100), Axis("", -0.6, len(layers) - 0.4, ticks=ticks),
                marks, height=80 + 30 * len(layers))  # fmt: skip
