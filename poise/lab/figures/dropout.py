"""A drawn network under the library's own dropout masks, one after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from poise.core.kinds import Insertion
from poise.lab.base import Figure
from poise.lab.controls import Choice, Control, Preset, Range, Seed, State
from poise.lab.samples import masked_network
from poise.lab.scene import Axis, Frame, Heat, Line, Network, Node, Number, Panel, Plot, Press, Rule, Table
from poise.network import DropConnect, Dropout, SpatialDropout, insert

__all__ = ["DropoutFigure", "Pass", "masked"]

MASKS, WEIGHT_MASKS = 4000, 100
KINDS: dict[str, Any] = {"dropout": Dropout, "spatial": SpatialDropout, "dropconnect": DropConnect}
WORDS = {"dropout": "units", "spatial": "feature maps", "dropconnect": "weights"}


@dataclass(frozen=True)
class Pass:
    """One training pass: `masks` of each hidden layer (units, maps or weights; True is kept), `answer`, first maps."""

    masks: tuple[Tensor, ...]
    answer: float
    maps: Tensor


def _network(kind: str, layers: int, width: int, p: float, convention: str) -> tuple[nn.Sequential, Tensor]:
    """Return the network, ready for its masks, and its input.

    The library scales what is kept in training. Weights times 1 - p turn that into the other convention: in training
    the factors cancel, at test the weights are smaller.
    """
    model, inputs = masked_network(kind, layers, width)
    if convention == "test":
        weighted = [layer for layer in model if isinstance(layer, nn.Linear | nn.Conv1d)]
        with torch.no_grad():
            for layer in weighted[:-1] if kind == "dropconnect" else weighted[1:]:
                layer.weight.mul_(1 - p)
    return model, inputs


def masked(kind: str, layers: int, width: int, p: float, convention: str, number: int) -> Pass:
    """Return the training pass of mask `number`."""
    model, inputs = _network(kind, layers, width, p, convention)
    part: Insertion = KINDS[kind](p)
    insert(model, part, seed=number)
    masks: list[Tensor] = []
    maps: list[Tensor] = []
    for layer in list(model)[: 2 * layers]:
        if kind == "dropconnect" and isinstance(layer, nn.Linear):
            layer.register_forward_pre_hook(lambda host, _: masks.append(host._parameters["weight"] != 0))
        elif kind != "dropconnect" and isinstance(layer, nn.Sigmoid):
            layer.register_forward_hook(lambda _layer, _inputs, output: maps.append(output[0]))
    with torch.no_grad():
        answer = float(model(inputs))
    if kind != "dropconnect":  # a sigmoid is never 0, so that a 0 behind it was dropped
        masks = [(one.flatten(1) if one.dim() > 1 else one[:, None]).ne(0).any(1) for one in maps]
    return Pass(tuple(masks), answer, maps[0] if maps else torch.zeros(0))


@lru_cache(maxsize=64)
def averaged(kind: str, layers: int, width: int, p: float, convention: str) -> tuple[Tensor, float]:
    """Return the answers (4000,) of as many thinned networks, and the answer of the full network at test."""
    model, inputs = _network(kind, layers, width, p, convention)
    part: Insertion = KINDS[kind](p)
    insert(model, part, seed=0)
    with torch.no_grad():
        if kind == "dropconnect":  # one mask for a batch: a pass for each
            answers = torch.cat([model(inputs) for _ in range(WEIGHT_MASKS)])
        else:
            answers = model(inputs.expand(MASKS, *inputs.shape[1:]))
        full = float(model.eval()(inputs))
    return answers[:, 0], full


class DropoutFigure(Figure):
    """Masks on a drawn network."""

    id: ClassVar[str] = "dropout"
    title: ClassVar[str] = "Every training step trains another, thinner network; their mean is close to the full one"
    caption: ClassVar[str] = (
        "Click the network, or press Enter on it, for the next mask: the library's own, for that number. Grey crossed "
        "units are switched off for this step. Lines are weights: blue above 0, orange below, thicker where larger. "
        "The curve is the mean answer of ever more masks to one input, against the answer of the full network, which "
        "is what one predicts with."
    )
    tries: ClassVar[tuple[str, ...]] = (
        "Set p to 0.8 and draw a few masks. Does any answer come close to the full network's?",
        "With one hidden layer the mean of the masks is exact. Why not with three?",
        "Change when the scaling is done. Which of the two answers changes, the thinned network's or the full one's?",
    )
    presets: ClassVar[tuple[Preset, ...]] = (
        Preset("p = 0", {"p": 0.0}),
        Preset("p = 0.5", {"p": 0.5}),
        Preset("p = 0.8", {"p": 0.8}),
        Preset("spatial", {"kind": "spatial"}),
        Preset("DropConnect", {"kind": "dropconnect"}),
    )

    @property
    def controls(self) -> Sequence[Control]:
        return (
            Range("p", "Share dropped, p", 0.0, 0.9, 0.5, 0.05, export=7),
            Choice(
                "kind",
                "What is dropped",
                (("dropout", "units (dropout)"), ("spatial", "feature maps"), ("dropconnect", "weights (DropConnect)")),
                "dropout",
            ),
            Choice(
                "convention",
                "Scaling",
                (("train", "in training, by 1 / (1 - p)"), ("test", "at test, by 1 - p")),
                "train",
            ),
            Range("layers", "Hidden layers", 1, 3, 2, 1, whole=True, export=2),
            Range("width", "Units a layer", 3, 10, 7, 1, whole=True, export=2),
            Seed(label="Mask", export=8),
        )

    def compute(self, state: State) -> Frame:
        kind, layers, width, p, convention = _read(state)
        found = masked(kind, layers, width, p, convention, int(state["seed"]))
        answers, full = averaged(kind, layers, width, p, convention)
        kept, every = sum(int(mask.sum()) for mask in found.masks), sum(mask.numel() for mask in found.masks)
        in_training, at_test = _factors(p, convention)
        mean = float(answers.double().mean())
        numbers = (
            Number(f"{WORDS[kind]} kept", kept, f"{kept} of {every}", "train"),
            Number("factor in training", in_training, f"{in_training:.3g}"),
            Number("factor at test", at_test, f"{at_test:.3g}"),
            Number("answer of this mask", found.answer, f"{found.answer:.3f}", "train"),
            Number("mean over many masks", mean, f"{mean:.3f}", "train"),
            Number("answer of the full network", full, f"{full:.3f}", "truth"),
        )
        panels: list[Panel] = [_drawing(state, found), _mean(answers, full)]
        if kind == "spatial":
            panels.insert(1, _maps(found))
        cut = any(not bool(mask.any()) for mask in found.masks)
        notice = "A whole layer is dropped: the answer is that of the biases alone." if cut else ""
        return Frame(panels, numbers, notice)

    def table(self, frame: Frame) -> Table:
        drawing = frame.panels[0]
        assert isinstance(drawing, Network)
        rows: list[list[str | float]] = [
            [name, place, "dropped" if node.dropped else "kept"]
            for name, layer in zip(drawing.names, drawing.layers, strict=True)
            for place, node in enumerate(layer, start=1)
        ]
        return Table(("layer", "unit", "this mask"), rows)

    def code(self, state: State) -> str:
        kind, layers, width, p, convention = _read(state)
        in_training, at_test = _factors(p, convention)
        part = {"dropout": "Dropout", "spatial": "SpatialDropout", "dropconnect": "DropConnect"}[kind]
        chosen = "weighted[:-1]" if kind == "dropconnect" else "weighted[1:]"
        scaling = (
            f"weighted = [layer for layer in model if hasattr(layer, 'weight')]\n"
            f"with torch.no_grad():\n    for layer in {chosen}:  # smaller at test; in training the factors cancel\n"
            f"        layer.weight.mul_(1 - {p!r})\n"
            if convention == "test"
            else ""
        )
        if kind == "dropconnect":
            note = (
                "    if isinstance(layer, torch.nn.Linear):\n        layer.register_forward_pre_hook("
                "lambda host, _: kept.append(host._parameters['weight'] != 0))"
            )
            many = f"torch.cat([model(x) for _ in range({WEIGHT_MASKS})])"
        else:
            ending = "output[0].mean(-1)" if kind == "spatial" else "output[0]"
            note = (
                "    if isinstance(layer, torch.nn.Sigmoid):  # never 0, so that a 0 behind it was dropped\n"
                f"        layer.register_forward_hook(lambda _layer, _inputs, output: kept.append({ending} != 0))"
            )
            many = f"model(x.expand({MASKS}, *x.shape[1:]))"
        return f"""\
import torch

import poise
from poise.lab.samples import masked_network

model, x = masked_network({kind!r}, layers={layers}, width={width})
{scaling}inserted = poise.insert(model, poise.{part}({p!r}), seed={state["seed"]})
kept = []
for layer in list(model)[: {2 * layers}]:
{note}
with torch.no_grad():
    answer = float(model(x))
print("{WORDS[kind]} kept", sum(int(mask.sum()) for mask in kept))
print("factor in training", {in_training!r})
print("factor at test", {at_test!r})
print("answer of this mask", answer)
model = inserted.remove()
poise.insert(model, poise.{part}({p!r}), seed=0)
with torch.no_grad():
    print("mean over many masks", float({many}.double().mean()))
    print("answer of the full network", float(model.eval()(x)))
"""

    def describe(self, state: State, frame: Frame) -> str:
        kept, training, test, answer, mean, full = (number.text for number in frame.numbers)
        return (
            f"Mask {state['seed']} keeps {kept} {WORDS[str(state['kind'])]}, times {training} in training and {test} "
            f"at test. It answers {answer}; the mean of many masks {mean}; the full network {full}."
        )


def _read(state: State) -> tuple[str, int, int, float, str]:
    return str(state["kind"]), int(state["layers"]), int(state["width"]), float(state["p"]), str(state["convention"])


def _factors(p: float, convention: str) -> tuple[float, float]:
    return (1 / (1 - p), 1.0) if convention == "train" else (1.0, 1 - p)


def _drawing(state: State, found: Pass) -> Network:
    kind, depth, width, p, convention = _read(state)
    model, _ = masked_network(kind, depth, width)
    weighted = [layer for layer in model if isinstance(layer, nn.Linear | nn.Conv1d)]
    kept = [torch.ones(width, dtype=torch.bool)] * depth if kind == "dropconnect" else list(found.masks)
    count = 1 if kind == "spatial" else 3
    layers = [
        [Node(text="x") for _ in range(count)],
        *([Node(not on) for on in mask.tolist()] for mask in kept),
        [Node(text="answer")],
    ]
    alive = [torch.ones(count, dtype=torch.bool), *kept, torch.ones(1, dtype=torch.bool)]
    edges = []
    for place, layer in enumerate(weighted):
        weight = layer.weight.detach()
        weight = weight.mean(-1) if weight.dim() == 3 else weight
        weight = torch.where(alive[place + 1][:, None] & alive[place][None], weight, 0.0)
        if kind == "dropconnect" and place < depth:
            weight = torch.where(found.masks[place], weight, math.nan)
        edges.append(weight.tolist())
    names = ("input", *(f"hidden {place}" for place in range(1, depth + 1)), "output")
    press = Press("seed", "next mask")
    title = f"Mask {state['seed']}: {WORDS[kind]} × {_factors(p, convention)[0]:.3g}"
    return Network(title, layers, names, edges, 300, press)


def _maps(found: Pass) -> Heat:
    values = [[value if value != 0 else math.nan for value in row] for row in found.maps.tolist()]
    axes = Axis("place"), Axis("feature map")
    return Heat(
        "The first layer's feature maps: a dropped one is dropped at every place",
        *axes,
        values,
        "activation",
        0.0,
        height=180,
    )


def _mean(answers: Tensor, full: float) -> Plot:
    counts = torch.arange(1, len(answers) + 1)
    means = answers.double().cumsum(0) / counts
    places = sorted({round(10 ** (step / 12)) for step in range(44)} & set(counts.tolist()) | {len(answers)})
    drawn = [float(means[place - 1]) for place in places]
    reach = max(0.5, *(abs(value - full) for value in drawn))
    reach = 2.0 ** math.ceil(math.log2(reach))
    line = Line("mean of the masks", [float(place) for place in places], drawn, "train")
    x = Axis("masks averaged", 1, len(answers), log=True)
    y = Axis("answer", full - reach, full + reach)
    return Plot("Mean answer of many masks", x, y, [line, Rule("full network", y=full)], height=240)
