"""Every technique of the library at its place in the training step."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

import poise
from poise.core.recipe import Recipe
from poise.core.regularizer import EVERY_STAGE, Regularizer
from poise.lab.base import Figure
from poise.lab.controls import Choice, Control, Preset, State, Toggle
from poise.lab.scene import Axis, Bars, Frame, Number, Plot, Table

__all__ = ["SHOWN", "Entry", "WhereTable", "entries"]

SHOWN = {
    "l1": "weights",
    "l2": "weights",
    "elastic_net": "weights",
    "decay": "decay_heat",
    "max_norm": "constraint",
    "patience": "stopping",
    "dropout": "dropout",
    "spatial_dropout": "dropout",
    "drop_connect": "dropout",
    "label_smoothing": "smoothing",
    "input_noise": "noise",
    "hidden_noise": "noise",
    "weight_noise": "noise",
    "mixup": "mixing",
    "cut_mix": "mixing",
    "batch_norm": "batchnorm",
    "snapshot_ensemble": "snapshots",
}
"""The figure of the chapter that shows a technique; pictures' augmentations are all in one."""

WHEN = {
    "network": "before training: into the network",
    "batch": "1 the batch",
    "objective": "2 the loss",
    "gradient": "3 the gradient",
    "shrink": "4 before the optimizer's step",
    "update": "5 after the optimizer's step",
    "average": "6 the weights that evaluation uses",
    "stop": "7 whether to stop",
    "predict": "after training: the prediction",
}


@dataclasses.dataclass(frozen=True)
class Entry:
    """One technique: its first stage and all, its sentence and formula, how to write it, the figure that shows it."""

    key: str
    name: str
    stage: str
    stages: tuple[str, ...]
    sentence: str
    formula: str
    snippet: str
    figure: str


@lru_cache(maxsize=1)
def entries() -> tuple[Entry, ...]:
    """Return every registered technique that the library exports, in the order of the training step."""
    for folder in ("network", "batch", "objective", "gradient", "update", "average", "stop", "predict"):
        importlib.import_module(f"poise.{folder}")  # which declares its techniques
    kinds = {key: kind for key, kind in Regularizer.registry.items() if kind.__name__ in poise.__all__}
    found = [_entry(key, kind) for key, kind in kinds.items()]
    return tuple(sorted(found, key=lambda entry: (EVERY_STAGE.index(entry.stage), entry.name)))


def _entry(key: str, kind: type[Regularizer]) -> Entry:
    from poise.lab.figures.augment import augmentations

    stages = kind.stages() or ("network",)
    sentence = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
    figure = SHOWN.get(key, "augment" if key in augmentations() else "")
    return Entry(key, kind.__name__, stages[0], stages, sentence, kind.formula, _snippet(kind), figure)


def _snippet(kind: type[Regularizer]) -> str:
    """Return how a recipe holds the part; what it cannot do without is left open."""
    open_fields = [
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if open_fields:
        return f"Recipe({kind.__name__}({', '.join(f'{name}=...' for name in open_fields)}))"
    call = repr(Recipe(kind())).splitlines()[1].rsplit("  # ", 1)[0].strip().rstrip(",")
    return f"Recipe({call})"


class WhereTable(Figure):
    """The table of techniques by stage, with the figure that shows each."""

    id: ClassVar[str] = "where_table"
    title: ClassVar[str] = "Every technique acts at a named place of the training step"
    caption: ClassVar[str] = (
        "All parts of the library in the order in which a step meets them; a row with a link leads to the figure that "
        "shows it. The fourth column is what you write; docs/regularizers.md has a card for each."
    )
    tries: ClassVar[tuple[str, ...]] = (
        "Where does weight decay act: on the loss, or on the weights? Look for L2 and Decay.",
        "Which stage holds most techniques? Predict, then look at the bars.",
    )
    presets: ClassVar[tuple[Preset, ...]] = (
        Preset("all", {}),
        Preset("the data", {"stage": "batch"}),
        Preset("the loss", {"stage": "objective"}),
        Preset("the weights", {"stage": "update"}),
        Preset("shown in this chapter", {"shown": True}),
    )

    @property
    def controls(self) -> Sequence[Control]:
        stages = tuple((stage, WHEN[stage]) for stage in EVERY_STAGE)
        return (
            Choice("stage", "Place", (("all", "all"), *stages), "all"),
            Toggle("shown", "Only those that a figure shows"),
        )

    def compute(self, state: State) -> Frame:
        kept = _kept(state)
        every = entries()
        counts = {stage: sum(stage in entry.stages for entry in every) for stage in EVERY_STAGE}
        at = list(range(len(EVERY_STAGE)))[::-1]
        bars = Plot(
            "Techniques that act at each place",
            Axis("techniques", 0.0),
            Axis("", -0.6, len(at) - 0.4, ticks=tuple((float(y), stage) for y, stage in zip(at, counts, strict=True))),
            (Bars("techniques", at, list(counts.values()), width=0.7, sideways=True),),
            height=240,
        )
        table = Table(
            ("technique", "place", "what it does", "recipe", "formula"),
            [[one.name, ", ".join(one.stages), one.sentence, one.snippet, one.formula] for one in kept],
            "" if kept else "No technique fits: switch the filter off.",
            [f"/f/{one.figure}" if one.figure else "" for one in kept],
        )
        shown = sum(bool(entry.figure) for entry in kept)
        return Frame(
            (bars, table),
            (
                Number("techniques in all", len(every), str(len(every)), "train"),
                Number("in the table", len(kept), str(len(kept))),
                Number("with a figure", shown, str(shown)),
            ),
            "" if kept else "No technique at this place has a figure. Switch the filter off.",
        )

    def code(self, state: State) -> str:
        stage, shown = str(state["stage"]), bool(state["shown"])
        keep = "found" if stage == "all" else f"[entry for entry in found if {stage!r} in entry.stages]"
        return "\n".join(
            [
                "from poise.lab.figures.where_table import entries",
                "",
                "found = entries()  # from poise.Regularizer.registry",
                f"kept = {keep}",
                *(["kept = [entry for entry in kept if entry.figure]"] if shown else []),
                "for entry in kept:",
                "    print(f'{entry.stage:10}{entry.snippet}')",
                "print('techniques in all', len(found))",
                "print('in the table', len(kept))",
                "print('with a figure', sum(bool(entry.figure) for entry in kept))",
            ]
        )

    def describe(self, state: State, frame: Frame) -> str:
        every, kept, shown = frame.numbers
        where = "" if state["stage"] == "all" else f" at the stage {state['stage']}"
        return (
            f"The table holds {kept.text} of the library's {every.text} techniques{where}; {shown.text} of them have a "
            "figure in this chapter."
        )

    def table(self, frame: Frame) -> Table:
        table = frame.panels[1]
        assert isinstance(table, Table)
        return Table(table.columns[:2], [row[:2] for row in table.rows])  # the whole one stands above


def _kept(state: State) -> list[Entry]:
    stage, shown = state["stage"], state["shown"]
    return [one for one in entries() if stage in ("all", *one.stages) and (one.figure or not shown)]
