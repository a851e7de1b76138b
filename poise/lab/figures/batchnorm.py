"""Batch normalisation, layer by layer: what leaves the hidden layers of a deep network with it and without."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor, nn

from poise.core.recipe import Recipe
from poise.lab.base import Figure
from poise.lab.controls import Control, Preset, Range, Seed, State, Toggle
from poise.lab.scene import Axis, Bars, Dots, Frame, Line, Number, Plot, Rule, Table
from poise.network import BatchNorm

__all__ = ["BatchNormFigure", "deep_network", "hidden_values", "trained_statistics"]

WIDTH = 24
INPUTS = 10
UNSEEN = 256  # rows of the evaluation data
PASSES = 40  # training batches that the running statistics have seen
REDRAWS = 12  # batches in which the first row is seen again
ENDS = 4.0  # of the histograms; what lies beyond is counted in the outermost bins
BINS = 33


def deep_network(depth: int, gain: float, seed: int) -> nn.Sequential:
    """Return `depth` hidden layers of 24 units and an output; weights of deviation gain sqrt(2 / inputs)."""
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]), torch.no_grad():  # nn.Linear draws weights first, from the global numbers
        for place in range(depth):
            layer = nn.Linear(WIDTH if place else INPUTS, WIDTH)
            layer.weight.normal_(0.0, gain * (2 / layer.in_features) ** 0.5, generator=generator)
            layer.bias.zero_()
            layers += [layer, nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(WIDTH, 1))


def hidden_values(model: nn.Sequential, inputs: Tensor) -> list[Tensor]:
    """Return what leaves each hidden layer, before its activation and after its normalisation, (rows, 24) each."""
    found: list[Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda _layer, _inputs, output: found.append(output))
        for layer in list(model)[:-1]
        if isinstance(layer, nn.Linear)
    ]
    with torch.no_grad():
        model(inputs)
    for hook in hooks:
        hook.remove()
    return found


def _rows(count: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(count, INPUTS, generator=torch.Generator().manual_seed(seed)) + shift


@lru_cache(maxsize=32)
def trained_statistics(depth: int, gain: float, size: int, seed: int) -> nn.Sequential:
    """Return the network with batch norm whose running statistics have seen 40 training batches."""
    model = deep_network(depth, gain, seed)
    Recipe(BatchNorm()).network(model)
    with torch.no_grad():
        for number in range(PASSES):
            model(_rows(size, seed + 1000 + number))
    return model


@lru_cache(maxsize=32)
def _noise(depth: int, gain: float, size: int, seed: int) -> float:
    """Return how much the last layer's answer to one row varies with the other rows of its batch."""
    model = deep_network(depth, gain, seed)
    Recipe(BatchNorm()).network(model)
    first = _rows(size, seed)[:1]
    seen = [
        hidden_values(model, torch.cat([first, _rows(size, seed + 2000 + number)[1:]]))[-1][0]
        for number in range(REDRAWS)
    ]
    return float(torch.stack(seen).double().std(0, unbiased=False).mean())


class BatchNormFigure(Figure):
    """Histograms of hidden values per layer, with batch norm and without, in training and in evaluation."""

    id: ClassVar[str] = "batchnorm"
    title: ClassVar[str] = "Batch norm brings every layer back to mean 0 and spread 1"
    caption: ClassVar[str] = (
        "A deep network before training. Small panels: what leaves each hidden layer, with batch norm (bars) and "
        "without (line); values beyond 4 are counted in the outermost bins. Large panel: the spread by layer."
    )
    tries: ClassVar[tuple[str, ...]] = (
        "Make the first weights four times larger (2). What happens to the last layer without batch norm? And with it?",
        "Shrink the batch to 2 rows. Which two values can a unit still take? Predict, then look.",
        "Switch to evaluation and shift the new data: does batch norm bring them back too?",
    )
    presets: ClassVar[tuple[Preset, ...]] = (
        Preset("vanishing", {"gain": 0.5}),
        Preset("exploding", {"gain": 2.0}),
        Preset("two rows", {"size": 2}),
        Preset("evaluation", {"evaluate": True}),
        Preset("shifted new data", {"evaluate": True, "shift": 2.0}),
    )

    @property
    def controls(self) -> Sequence[Control]:
        return (
            Range("depth", "Hidden layers", 1, 8, 6, 1, whole=True, export=3),
            Range(
                "gain", "Size of the first weights", 0.25, 4.0, 0.5, 10, log=True, help="1 keeps the spread", export=5
            ),
            Range("size", "Rows in a batch", 2, 256, 64, 8, log=True, whole=True, export=4),
            Toggle("evaluate", "Evaluation", help="running statistics instead of the batch's"),
            Range("shift", "Shift of the new data", 0.0, 4.0, 0.0, 0.25, help="seen in evaluation only", export=3),
            Seed(label="Network", export=1),
        )

    def compute(self, state: State) -> Frame:
        depth, gain, size, evaluate, shift, seed = _read(state)
        plain = deep_network(depth, gain, seed)
        if evaluate:
            model, rows = trained_statistics(depth, gain, size, seed).eval(), _rows(UNSEEN, seed + 3000, shift)
        else:
            model, rows = deep_network(depth, gain, seed), _rows(size, seed)
            Recipe(BatchNorm()).network(model)
        without, with_norm = hidden_values(plain, rows), hidden_values(model, rows)
        noise = 0.0 if evaluate else _noise(depth, gain, size, seed)
        numbers = []
        for name, role, last in (("with batch norm", "train", with_norm[-1]), ("without", "valid", without[-1])):
            mean, spread = float(last.double().mean()), float(last.double().std(unbiased=False))
            numbers.append(Number(f"last mean, {name}", mean, f"{round(mean, 4) + 0.0:.4f}", role))  # type: ignore[arg-type]
            numbers.append(Number(f"last spread, {name}", spread, _text(spread), role))  # type: ignore[arg-type]
        numbers.append(Number("a row's change with its batch", noise, f"{noise:.4f}"))
        return Frame((*_histograms(with_norm, without), _spreads(with_norm, without)), numbers, _notice(state, numbers))

    def code(self, state: State) -> str:
        depth, gain, size, evaluate, shift, seed = _read(state)
        use = (
            [
                f"model = trained_statistics({depth}, {gain!r}, {size}, {seed}).eval()  # has seen {PASSES} batches",
                f"generator = torch.Generator().manual_seed({seed + 3000})",
                f"rows = torch.randn({UNSEEN}, {INPUTS}, generator=generator) + {shift!r}",
            ]
            if evaluate
            else [
                f"model = deep_network({depth}, {gain!r}, {seed})",
                "Recipe(BatchNorm()).network(model)",
                f"rows = torch.randn({size}, {INPUTS}, generator=torch.Generator().manual_seed({seed}))",
            ]
        )
        noise = (
            ['print("a row\'s change with its batch", 0.0)  # none: running statistics do not depend on the batch']
            if evaluate
            else [
                "again = []",
                f"for number in range({REDRAWS}):",
                f"    generator = torch.Generator().manual_seed({seed} + 2000 + number)",
                f"    others = torch.randn({size}, {INPUTS}, generator=generator)[1:]",
                "    again.append(hidden_values(model, torch.cat([rows[:1], others]))[-1][0])",
                "change = torch.stack(again).double().std(0, unbiased=False).mean()",
                'print("a row\'s change with its batch", float(change))',
            ]
        )
        imported = ["hidden_values", "deep_network", *(["trained_statistics"] if evaluate else [])]
        return "\n".join(
            [
                "import torch",
                "",
                *([] if evaluate else ["from poise import BatchNorm, Recipe"]),
                f"from poise.lab.figures.batchnorm import {', '.join(sorted(imported))}",
                "",
                *use,
                f"plain = deep_network({depth}, {gain!r}, {seed})",
                "for name, network in (('with batch norm', model), ('without', plain)):",
                "    last = hidden_values(network, rows)[-1].double()",
                "    print(f'last mean, {name}', float(last.mean()))",
                "    print(f'last spread, {name}', float(last.std(unbiased=False)))",
                *noise,
            ]
        )

    def describe(self, state: State, frame: Frame) -> str:
        depth, gain, size, evaluate, shift, _ = _read(state)
        mean, spread, _, bare, noise = frame.numbers
        seen = f"{UNSEEN} new rows shifted by {shift:g} in evaluation" if evaluate else f"a training batch of {size}"
        moved = "" if evaluate else f"; the other rows of the batch move a row's values by {noise.text}"
        return (
            f"After {depth} hidden layers of first weights {gain:g} times the usual, {seen}: spread {spread.text} and "
            f"mean {mean.text} with batch norm, spread {bare.text} without{moved}."
        )

    def table(self, frame: Frame) -> Table:
        plot = frame.panels[-1]
        assert isinstance(plot, Plot)
        ours, bare = (mark for mark in plot.marks if isinstance(mark, Line))
        rows: list[list[str | float]] = [
            [f"layer {int(x)}", y, z] for x, y, z in zip(ours.x, ours.y, bare.y, strict=True)
        ]
        return Table(("layer", "spread with batch norm", "spread without"), rows)


def _read(state: State) -> tuple[int, float, int, bool, float, int]:
    depth, size, seed = (int(state[name]) for name in ("depth", "size", "seed"))
    return depth, float(state["gain"]), size, bool(state["evaluate"]), float(state["shift"]), seed


def _text(value: float) -> str:
    return f"{value:.4f}" if 0.1 <= value < 1000 else f"{value:.3g}"


def _shares(values: Tensor) -> list[float]:
    """Return the share of the values in each bin."""
    inside = values.flatten().float().clamp(-ENDS, ENDS)
    found: list[float] = (torch.histc(inside, BINS, -ENDS, ENDS) / inside.numel()).tolist()
    return found


def _histograms(with_norm: Sequence[Tensor], without: Sequence[Tensor]) -> list[Plot]:
    width = 2 * ENDS / BINS
    middles = [-ENDS + (place + 0.5) * width for place in range(BINS)]
    return [
        Plot(
            f"Layer {place}",
            Axis("value", -ENDS, ENDS),
            Axis("share", 0.0, 0.5),
            (
                Bars("with", middles, _shares(ours), "train", width=0.92 * width),
                Line("without", middles, [min(share, 0.5) for share in _shares(bare)], "valid"),
            ),
            height=150,
            small=True,
        )
        for place, (ours, bare) in enumerate(zip(with_norm, without, strict=True), 1)
    ]


def _spreads(with_norm: Sequence[Tensor], without: Sequence[Tensor]) -> Plot:
    layers = list(range(1, len(with_norm) + 1))
    ours, bare = (
        [max(float(layer.double().std(unbiased=False)), 1e-9) for layer in values] for values in (with_norm, without)
    )
    return Plot(
        "Spread of the values by layer",
        Axis("hidden layer", 0.5, len(layers) + 0.5, ticks=tuple((float(at), str(at)) for at in layers)),
        Axis("standard deviation", log=True),
        (
            Rule("spread 1", y=1.0),
            Line("with batch norm", layers, ours),
            Dots("with batch norm", layers, ours, "train"),
            Line("without", layers, bare, "valid"),
            Dots("without", layers, bare, "valid", "square"),
        ),
        height=220,
    )


def _notice(state: State, numbers: Sequence[Number]) -> str:
    depth, _, size, evaluate, shift, _ = _read(state)
    ours, bare = numbers[1].value, numbers[3].value
    if not evaluate and size <= 3:
        return (
            f"A batch of {size} rows says little of a mean: what a row becomes depends on its neighbours. "
            "Take larger batches, or layer norm, which looks at one row only."
        )
    if evaluate and shift >= 1:
        return (
            "In evaluation the statistics are those of the training data, so a shift of new data stays visible. "
            "That is wanted: the answer to one row must not depend on its neighbours."
        )
    if bare < 1e-2 or bare > 100:
        way = "vanished" if bare < 1e-2 else "exploded"
        return f"Without batch norm the values have {way} after {depth} layers, and the gradients with them."
    return "" if 0.5 < ours < 2 else "The running statistics do not fit these rows."
