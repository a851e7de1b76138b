"""Shared weights: a convolution, a recurrence and a tied output layer beside the same without sharing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor, nn

from poise.lab.base import Figure
from poise.lab.controls import Choice, Control, Preset, Range, Seed, State
from poise.lab.scene import Axis, Bars, Frame, Heat, Number, Plot, Table
from poise.models import LocallyConnected2d, UntiedRnn, tie

__all__ = ["Compared", "Sharing", "compared", "dense_of"]


@dataclass(frozen=True)
class Compared:
    """Modules from the most shared to the least, by name; the matrices that are drawn, and a check of equality."""

    modules: dict[str, nn.Module]
    matrices: dict[str, Tensor]
    difference: float  # largest, between the shared module and what is drawn of it


def count(module: nn.Module) -> int:
    """Return the number of different parameters: a tied one counts once."""
    return sum(parameter.numel() for parameter in module.parameters())


def dense_of(layer: nn.Module, size: int) -> Tensor:
    """Return the matrix of a linear map of a row of `size` pixels: what it answers to each pixel alone.

    Shapes: (channels * places, size). Where channels are several, they stand below each other.
    """
    with torch.no_grad():
        answers: Tensor = layer(torch.eye(size)[:, None, None, :])  # (size, channels, 1, places)
    return answers.flatten(1).T


def _space(size: int, kernel: int, channels: int, seed: int) -> Compared:
    """A row of pixels: a convolution, the same without sharing over places, a dense layer."""
    torch.manual_seed(seed)
    conv = nn.Conv2d(1, channels, (1, kernel), bias=False)
    local = LocallyConnected2d(1, channels, (1, kernel), (1, size), bias=False)
    dense = nn.Linear(size, channels * (size - kernel + 1), bias=False)
    matrix = dense_of(conv, size)
    rows = torch.randn(8, size)
    with torch.no_grad():
        apart = (rows @ matrix.T - conv(rows[:, None, None, :]).flatten(1)).abs().max()
    return Compared(
        {"convolution": conv, "own weights at each place": local, "dense": dense},
        {"convolution": matrix, "own weights at each place": dense_of(local, size), "dense": dense.weight.detach()},
        float(apart),
    )


def _time(steps: int, inputs: int, hidden: int, seed: int) -> Compared:
    """A sequence: a recurrence, the same with weights of its own at each step, a dense layer over all steps."""
    torch.manual_seed(seed)
    rnn = nn.RNN(inputs, hidden, batch_first=True)
    untied = UntiedRnn(inputs, hidden, steps)
    dense = nn.Linear(steps * inputs, steps * hidden)
    same = UntiedRnn.from_rnn(rnn, steps)
    sequences = torch.randn(8, steps, inputs)
    with torch.no_grad():
        apart = (same(sequences)[0] - rnn(sequences)[0]).abs().max()
    return Compared(
        {"recurrence": rnn, "own weights at each step": untied, "dense": dense},
        {"recurrence": _steps(same), "own weights at each step": _steps(untied)},
        float(apart),
    )


def _steps(rnn: UntiedRnn) -> Tensor:
    """Return the weights that each step uses, one row a step."""
    return torch.cat([rnn.weight_ih.detach().flatten(1), rnn.weight_hh.detach().flatten(1)], 1)


def _words(words: int, _: int, width: int, seed: int) -> Compared:
    """Words in and out: the table of the embedding is also the output layer's, or each has its own."""
    torch.manual_seed(seed)

    def network() -> nn.Sequential:
        return nn.Sequential(nn.Embedding(words, width), nn.Tanh(), nn.Linear(width, words, bias=False))

    own, tied = network(), tie(network(), "0.weight", "2.weight")
    tables: dict[str, nn.Module] = {"tied": tied, "own tables": own}
    drawn = {
        name: torch.cat([net.get_parameter("0.weight"), net.get_parameter("2.weight")], 1).detach()
        for name, net in tables.items()
    }
    half = drawn["tied"]
    return Compared(tables, drawn, float((half[:, :width] - half[:, width:]).abs().max()))


_KINDS = {"space": _space, "time": _time, "words": _words}
_AXES = {
    "space": ("pixel of the row", "output"),
    "time": ("weight, input's then state's", "step"),
    "words": ("number of the word: into the network, then out of it", "word"),
}


@lru_cache(maxsize=64)
def compared(kind: str, size: int, kernel: int, channels: int, seed: int) -> Compared:
    """Return what is compared; the global generator of random numbers is left as it was."""
    with torch.random.fork_rng(devices=[]):
        return _KINDS[kind](size, kernel, channels, seed)


class Sharing(Figure):
    """Parameter counts of real modules, and the weight matrices that they amount to."""

    id: ClassVar[str] = "sharing"
    title: ClassVar[str] = "A convolution is a dense layer that repeats a few weights"
    caption: ClassVar[str] = (
        "The weights that each layer applies, as a matrix; equal colours are one and the same number, empty cells are "
        "zero. Below, how many parameters each layer really holds."
    )
    tries: ClassVar[tuple[str, ...]] = (
        "Double the row's length. Which of the three counts stays? Predict, then look.",
        "Make the kernel as wide as the row: what is left of the difference?",
        "Choose time: what does a longer sequence cost the recurrence, and what the other one?",
    )
    presets: ClassVar[tuple[Preset, ...]] = (
        Preset("one filter", {}),
        Preset("three filters", {"channels": 3}),
        Preset("kernel as wide as the row", {"size": 9, "kernel": 9}),
        Preset("over time", {"kind": "time", "size": 8, "kernel": 3, "channels": 3}),
        Preset("words in and out", {"kind": "words", "size": 16, "channels": 6}),
    )

    @property
    def controls(self) -> Sequence[Control]:
        kinds = (("space", "over places"), ("time", "over time"), ("words", "in and out"))
        return (
            Choice("kind", "Shared", kinds, "space"),
            Range("size", "Pixels, steps or words", 4, 24, 16, 1, whole=True, export=4),
            Range("kernel", "Kernel width or inputs a step", 1, 9, 3, 1, whole=True, export=4),
            Range("channels", "Filters, units or width", 1, 6, 1, 1, whole=True, export=3),
            Seed(label="Weights", start=1, export=1),
        )

    def compute(self, state: State) -> Frame:
        kind, size, kernel, channels, seed = _read(state)
        found = compared(kind, size, kernel, channels, seed)
        counts = {name: count(module) for name, module in found.modules.items()}
        top = max(float(matrix.abs().max()) for matrix in found.matrices.values())
        across, down = _AXES[kind]
        heats = [
            Heat(
                f"{name}: {counts[name]:,} parameters",
                Axis(across),
                Axis(down),
                matrix.flip(0).tolist(),  # the first row on top
                "weight",
                -top,
                top,
                signed=True,
                height=240,
            )
            for name, matrix in found.matrices.items()
        ]
        shared, free = next(iter(counts.values())), list(counts.values())[-1]
        numbers = [Number(f"parameters, {name}", held, f"{held:,}") for name, held in counts.items()]
        numbers.append(Number("times as many without sharing", free / shared, f"{free / shared:.1f}", "train"))
        numbers.append(Number("largest error of the matrix", found.difference, f"{found.difference:.1g}"))
        return Frame((*heats, _counts(counts)), numbers, _notice(state))

    def code(self, state: State) -> str:
        kind, size, kernel, channels, seed = _read(state)
        build = {
            "space": [
                "from poise.models import LocallyConnected2d",
                "",
                f"torch.manual_seed({seed})",
                f"conv = nn.Conv2d(1, {channels}, (1, {kernel}), bias=False)",
                "layers = {",
                "    'convolution': conv,",
                "    'own weights at each place': "
                f"LocallyConnected2d(1, {channels}, (1, {kernel}), (1, {size}), bias=False),",
                f"    'dense': nn.Linear({size}, {channels * (size - kernel + 1)}, bias=False),",
                "}",
                f"matrix = conv(torch.eye({size})[:, None, None, :]).flatten(1).T  # the answer to each pixel alone",
                f"rows = torch.randn(8, {size})",
                "difference = (rows @ matrix.T - conv(rows[:, None, None, :]).flatten(1)).abs().max()",
            ],
            "time": [
                "from poise.models import UntiedRnn",
                "",
                f"torch.manual_seed({seed})",
                f"rnn = nn.RNN({kernel}, {channels}, batch_first=True)",
                "layers = {",
                "    'recurrence': rnn,",
                f"    'own weights at each step': UntiedRnn({kernel}, {channels}, {size}),",
                f"    'dense': nn.Linear({size * kernel}, {size * channels}),",
                "}",
                f"same = UntiedRnn.from_rnn(rnn, {size})",
                f"sequences = torch.randn(8, {size}, {kernel})",
                "difference = (same(sequences)[0] - rnn(sequences)[0]).abs().max()",
            ],
            "words": [
                "from poise import tie",
                "",
                f"torch.manual_seed({seed})",
                "def network():",
                f"    return nn.Sequential(nn.Embedding({size}, {channels}), nn.Tanh(), "
                f"nn.Linear({channels}, {size}, bias=False))",
                "own, tied = network(), tie(network(), '0.weight', '2.weight')",
                "layers = {'tied': tied, 'own tables': own}",
                "difference = (tied[0].weight - tied[2].weight).abs().max()",
            ],
        }[kind]
        return "\n".join(
            [
                "import torch",
                "from torch import nn",
                "",
                *build,
                "counts = {name: sum(p.numel() for p in layer.parameters()) for name, layer in layers.items()}",
                "for name, held in counts.items():",
                "    print(f'parameters, {name}', held)",
                "held = list(counts.values())",
                "print('times as many without sharing', held[-1] / held[0])",
                "print('largest error of the matrix', difference.item())",
            ]
        )

    def describe(self, state: State, frame: Frame) -> str:
        counts = ", ".join(
            f"{number.label.removeprefix('parameters, ')} {number.text}"
            for number in frame.numbers
            if number.label.startswith("parameters, ")
        )
        times = frame.numbers[-2].text
        return f"Parameters: {counts}; without sharing there are {times} times as many to fit from the same rows."

    def table(self, frame: Frame) -> Table:
        return Table(("number", "value"), [[number.label, number.value] for number in frame.numbers])


def _read(state: State) -> tuple[str, int, int, int, int]:
    size, kernel, channels, seed = (int(state[name]) for name in ("size", "kernel", "channels", "seed"))
    # A kernel wider than the row fits nowhere.
    return str(state["kind"]), size, min(kernel, size) if state["kind"] == "space" else kernel, channels, seed


def _counts(counts: dict[str, int]) -> Plot:
    at = list(range(len(counts)))[::-1]
    names = tuple((float(place), name) for place, name in zip(at, counts, strict=True))
    return Plot(
        "Parameters to fit",
        Axis("parameters", 0.0),
        Axis("", -0.6, len(counts) - 0.4, ticks=names),
        (Bars("parameters", at, list(counts.values()), width=0.6, sideways=True),),
        height=150,
    )


def _notice(state: State) -> str:
    kind, size, kernel, channels, _ = _read(state)
    if kind == "space" and int(state["kernel"]) > size:
        return f"The kernel is cut to the {size} pixels of the row."
    if kind == "space" and kernel == size:
        return "The kernel has one place only: nothing is shared, and the convolution is the dense layer."
    if kind == "words" and channels == 1:
        return "One number a word: hardly enough to tell words apart. Take a larger width."
    return ""
