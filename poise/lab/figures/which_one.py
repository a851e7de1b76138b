"""A small study: each part alone and left out of the recipe, retrained with paired seeds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from poise.core.interval import Interval
from poise.diagnosis.curves import over_seeds
from poise.lab.base import Figure
from poise.lab.controls import Choice, Control, Preset, Range, State
from poise.lab.scene import Axis, Frame, Intervals, Number, Plot, Role, Rule, Table

__all__ = ["CELLS", "MANY", "PARTS", "STORE", "USUAL", "Found", "Part", "Scores", "WhichOne", "stored"]

STORE = Path(__file__).parent / "data" / "which_one.json"  # written by `python tools/lab_data.py which_one`
MANY = 8  # seeds that are kept
PARTS = ("dropout", "decay", "mixup", "input_noise")
USUAL = {"dropout.p": 0.3, "decay.rate": 1.0, "mixup.alpha": 0.4, "input_noise.scale": 0.3}  # at strength 1
TABLES = ("diabetes", "wine", "made")
STRENGTHS = ("0.3", "1", "2.5")
CELLS = [(table, strength) for table in TABLES for strength in STRENGTHS]  # what is stored
Scores = dict[str, list[float]]
"""Of each arm, the validation score of each seed; lower is better."""


@dataclass(frozen=True)
class Part:
    """What one part was worth: score of nothing less that of the part alone, and score without it less that of all."""

    part: str
    alone: Interval
    alone_seeds: tuple[float, ...]
    left_out: Interval
    left_out_seeds: tuple[float, ...]
    verdict: str


@dataclass(frozen=True)
class Found:
    """A finished study: each arm's scores, the name of the score, and each part's worth by the number of seeds."""

    scores: Scores
    metric: str
    parts: dict[int, list[Part]]


@lru_cache(maxsize=1)
def stored() -> dict[tuple[str, str], Found]:
    """Return the study of every table and strength; written by `python tools/lab_data.py`."""
    record = json.loads(STORE.read_text(encoding="utf-8"))
    return {(cell["cell"][0], cell["cell"][1]): _found(cell) for cell in record["cells"]}


def _found(cell: dict[str, Any]) -> Found:
    def part(name: str, alone: list[float], alone_seeds: list[float], *rest: Any) -> Part:
        left_out, left_out_seeds, verdict = rest
        return Part(name, Interval(*alone), tuple(alone_seeds), Interval(*left_out), tuple(left_out_seeds), verdict)

    parts = {int(seeds): [part(*one) for one in found] for seeds, found in cell["parts"].items()}
    return Found(cell["scores"], cell["metric"], parts)


class WhichOne(Figure):
    """The ablation of a small study, live or as it was run."""

    id: ClassVar[str] = "which_one"
    title: ClassVar[str] = "Each of four parts helps alone; all four together do not"
    caption: ClassVar[str] = (
        "Networks on a small table, retrained with each part alone and with each part left out. A dot is one pair of "
        "networks with the same first weights and rows, a bar the 95 % interval of their mean. Press play to run it."
    )
    tries: ClassVar[tuple[str, ...]] = (
        "How many pairs does it take until an interval leaves 0? Move the slider.",
        "Is the strongest regularization the best? Predict, then choose 2.5 times the usual.",
        "Is there a table on which all of it hurts? Look for it.",
    )
    presets: ClassVar[tuple[Preset, ...]] = (
        Preset("diabetes", {"table": "diabetes"}),
        Preset("three pairs only", {"seeds": 3}),
        Preset("too strong", {"strength": "2.5"}),
        Preset("made table, mild", {"table": "made", "strength": "0.3"}),
        Preset("wine", {"table": "wine"}),
    )
    streams: ClassVar[bool] = True

    @property
    def controls(self) -> Sequence[Control]:
        names = {"diabetes": "diabetes, 442 rows", "wine": "wine, 178 rows", "made": "made, 160 rows"}
        times = {"0.3": "0.3 of the usual", "1": "usual", "2.5": "2.5 times the usual"}
        return (
            Choice("table", "Table", tuple((name, names[name]) for name in TABLES), "diabetes"),
            Choice("strength", "Strength of all parts", tuple((one, times[one]) for one in STRENGTHS), "1"),
            Range("seeds", "Pairs of networks", 2, MANY, MANY, 1, whole=True, export=4),
        )

    def compute(self, state: State) -> Frame:
        name, strength, seeds = _read(state)
        found = stored()[name, strength]
        scores = {label: values[:seeds] for label, values in found.scores.items()}
        return _frame(found.metric, scores, found.parts[seeds])

    def stream(self, state: State) -> Iterator[Frame]:
        from poise.lab.figures.small_study import metric_of, scores_of_seed, worth

        name, strength, seeds = _read(state)
        scores: Scores = {}
        for seed in range(seeds):
            for label, value in scores_of_seed(name, strength, seed).items():
                scores.setdefault(label, []).append(value)
            yield _frame(metric_of(name), scores, worth(name, strength, scores))
        yield self.compute(state)

    def code(self, state: State) -> str:
        name, strength, seeds = _read(state)
        values = {key: float(strength) * value for key, value in USUAL.items()}
        source = "made_table(), target='y'" if name == "made" else repr(name)
        return _CODE.format(
            parts=PARTS, values=values, source=source, seeds=seeds, more=_MORE if name == "made" else ""
        )

    def describe(self, state: State, frame: Frame) -> str:
        name, strength, seeds = _read(state)
        nothing, full, gain = frame.numbers[:3]
        metric = stored()[name, strength].metric
        return (
            f"{seeds} pairs of networks on {name} at {strength} times the usual strength: held-out {metric} "
            f"{nothing.text} without any part, {full.text} with all of them; gain {gain.text}."
        )

    def table(self, frame: Frame) -> Table:
        rows: list[list[str | float]] = []
        for plot in frame.panels:
            assert isinstance(plot, Plot)
            names = dict(plot.y.ticks)
            for mark in (mark for mark in plot.marks if isinstance(mark, Intervals)):
                place, middle, low, high = mark.at[0], mark.middle[0], mark.low[0], mark.high[0]
                rows.append([plot.title, names[place], middle, low, high])
        return Table(("measured", "part", "mean", "low", "high"), rows)


_MORE = "from poise.lab.figures.small_study import made_table\n"
_CODE = """\
import numpy as np
import torch

{more}from poise.data import read
from poise.study.ablation import ablation_arms, contributions
from poise.study.arms import train_arms
from poise.study.cohort import Plan
from poise.study.folds import make_folds
from poise.study.gap import model_of, predictions_of
from poise.study.metrics import measure, metrics_of, over_seeds
from poise.study.prepare import prepare
from poise.study.table_network import Design
from poise.study.space import Space

# In short: poise.study.Study(...).run(), which also searches; here the recipe is given.
design = Design(width=24, depth=2, embedding="none")
ready = prepare(read({source}), seed=0, task=None, groups=None, time=None, class_weight=None, design=design)
task = ready.targets[0].task
parts = {parts}
space = Space(parts, classification=task == "classification")
recipe = space.config(0, parts, {values}, lr=1e-2)
arms = ablation_arms(space, recipe, add_in=True)
scores = {{label: [] for label in arms}}
for seed in range({seeds}):
    folds = make_folds(ready.strata, task=task, count=3, seed=seed)
    trained = train_arms(
        ready.problem, space.recipe, arms, folds, Plan(steps=120, batch=32, every=12), seeds=1, seed=seed, jobs=1
    )
    held = ready.development[folds.validation[0].numpy() > 0]
    for place, label in enumerate(trained.labels):
        model = model_of(ready, trained.stack.select(torch.tensor([place])))
        scores[label].append(measure(metrics_of(ready.targets)[0].name, predictions_of(ready, model, held)))
scores = {{label: np.array(values) for label, values in scores.items()}}
print("with nothing", scores["nothing"].mean())
print("with the recipe", scores["recipe"].mean())
print("gain of the recipe", over_seeds(scores["nothing"] - scores["recipe"]).value)
for part in contributions(recipe, trained, scores):
    name = part.part.replace("_", " ")
    print(f"{{name}} alone", part.add_in.value)
    print(f"{{name}} in the recipe", part.leave_out.value)
"""


def _read(state: State) -> tuple[str, str, int]:
    return str(state["table"]), str(state["strength"]), int(state["seeds"])


def _frame(metric: str, scores: Scores, parts: Sequence[Part]) -> Frame:
    nothing, full = np.array(scores["nothing"]), np.array(scores["recipe"])
    gain = over_seeds(nothing - full) if len(full) > 1 else None
    text = "one pair so far" if gain is None else f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
    numbers = [
        Number("with nothing", float(nothing.mean()), f"{nothing.mean():.3f}", "valid"),
        Number("with the recipe", float(full.mean()), f"{full.mean():.3f}", "train"),
        Number("gain of the recipe", float((nothing - full).mean()), text),
    ]
    for one in parts:
        numbers.append(Number(f"{_words(one.part)} alone", one.alone.value, f"{one.alone.value:+.3f}"))
        out = one.left_out.value
        numbers.append(Number(f"{_words(one.part)} in the recipe", out, f"{out:+.3f}: {one.verdict}"))
    alone = [(one.part, one.alone, one.alone_seeds) for one in parts]
    left_out = [(one.part, one.left_out, one.left_out_seeds) for one in parts]
    return Frame(
        (
            _intervals("Alone: nothing less the part alone", metric, alone),
            _intervals("In the recipe: left out less all", metric, left_out),
        ),
        numbers,
        _notice(len(nothing), gain),
    )


def _intervals(title: str, unit: str, found: Sequence[tuple[str, Interval, Sequence[float]]]) -> Plot:
    marks: list[Rule | Intervals] = [Rule("no difference", x=0.0)]
    for at, (_, known, seeds) in enumerate(reversed(found)):
        # Of one pair there is no interval: its ends are the dot itself.
        whole = known if np.isfinite(known.low) else Interval(known.value, known.value, known.value)
        role: Role = "train" if whole.low > 0 else "valid" if whole.high < 0 else "zero"
        marks.append(Intervals("", [float(at)], [whole.value], [whole.low], [whole.high], [list(seeds)], role))
    ticks = tuple((float(at), _words(name)) for at, (name, _, _) in enumerate(reversed(found)))
    return Plot(
        title,
        Axis(f"difference in {unit}; right of 0 the part helps"),
        Axis("", -0.6, len(found) - 0.4, ticks=ticks),
        marks,
        height=200,
    )


def _words(part: str) -> str:
    return part.replace("_", " ")


def _notice(seeds: int, gain: Interval | None) -> str:
    if gain is None:
        return "One pair of networks tells nothing of chance: there is no interval yet."
    if gain.high < 0:
        return "On this table, at this strength, the recipe hurts: leave it out. That happens, and is why one measures."
    if gain.low <= 0:
        return f"The interval of the recipe's gain holds 0: {seeds} pairs cannot tell whether it helps here."
    return ""
