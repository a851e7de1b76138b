"""One picture under every augmentation of the library, and twelve draws of one of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

import poise
from poise.batch.images import ImageTransform
from poise.core.dial import Dial, dials_of
from poise.core.recipe import Recipe
from poise.core.regularizer import Regularizer
from poise.lab.base import Figure
from poise.lab.controls import Choice, Control, Preset, Range, Seed, State
from poise.lab.figures.augment_study import LABELS, SEEDS, gains
from poise.lab.picture import SCENES, painted, read_picture
from poise.lab.scene import Axis, Frame, Images, Intervals, Number, Plot, Press, Role, Rule, Table, tile_of

__all__ = ["Augment", "at_strength", "augmentations", "drawn"]

DRAWS = 12
CHANGED = 1e-3  # a pixel that moved by less looks the same on any screen


def augmentations() -> dict[str, type[ImageTransform]]:
    """Return every part of the library that edits pictures and keeps their size, by key."""
    return {
        key: kind
        for key, kind in sorted(Regularizer.registry.items())
        if issubclass(kind, ImageTransform) and kind.__name__ in poise.__all__
    }


def at_strength(kind: type[ImageTransform], strength: float) -> ImageTransform:
    """Return a part with its dials between neutral (0) and the strongest worth trying (1, the end of the search range).

    Probabilities follow the strength only where nothing else does: a part that acts on half of the pictures, half as
    strongly, would hardly be seen.
    """
    declared = dials_of(kind)
    others = any(not _is_probability(one) for one in declared.values())
    values: dict[str, float] = {}
    for field, one in declared.items():
        strongest = max(one.search, key=lambda end: abs(end - one.neutral))
        share = float(strength > 0) if others and _is_probability(one) else strength
        values[field] = float(f"{one.neutral + share * (strongest - one.neutral):.4g}")
    return kind(**_without_objective(kind, values))


def _is_probability(declared: Dial) -> bool:
    return declared.unit == "probability"


def _without_objective(kind: type[ImageTransform], values: dict[str, Any]) -> dict[str, Any]:
    """Leave out what weighs a term of the loss: it has no part in the picture."""
    return {field: 0.0 if dials_of(kind)[field].unit.startswith("objective") else v for field, v in values.items()}


@lru_cache(maxsize=4)
def _picture(name: str, own: str | None) -> Tensor:
    return painted(name) if own is None or name != "own" else read_picture(own)


@lru_cache(maxsize=256)
def drawn(key: str, strength: float, seed: int, count: int, name: str, own: str | None = None) -> Tensor:
    """Return `count` draws of one augmentation of a picture, (count, 3, H, W), as one batch of a run."""
    recipe = Recipe(at_strength(augmentations()[key], strength))
    with torch.random.fork_rng(devices=[]):  # the layer, which a run must have, draws from the global numbers
        run = recipe.start(nn.Linear(1, 2), seed=seed, classes=2)
    pictures = _picture(name, own).expand(count, -1, -1, -1)
    found, _ = run.batch(pictures, torch.zeros(count, dtype=torch.int64))
    return found.clamp(0, 1)  # type: ignore[no-any-return]


class Augment(Figure):
    """The gallery of augmentations. `own` is the path of a picture of the user's own, given at the command line."""

    id: ClassVar[str] = "augment"
    title: ClassVar[str] = "One picture becomes twelve, and the label stays"
    caption: ClassVar[str] = (
        "First, one draw of every augmentation in the library; then twelve draws of the chosen one, as twelve rows of "
        "a training batch would get them; last, what each was worth on a real task: digits of 8 by 8 pixels, 100 of "
        "them with a label."
    )
    tries: ClassVar[tuple[str, ...]] = (
        "Which augmentations would you refuse for the digits 6 and 9? Choose Flip, then Affine at full strength.",
        "At which strength could you no longer name the picture yourself? A network cannot either.",
        "Which ones help to read digits at strength 0.15, and which at 1? Predict, then look at the last panel.",
    )
    presets: ClassVar[tuple[Preset, ...]] = (
        Preset("flip", {"method": "flip", "strength": 1.0}),
        Preset("crop", {"method": "random_resized_crop", "strength": 0.8}),
        Preset("turn and shift", {"method": "affine", "strength": 0.3}),
        Preset("colour", {"method": "color_jitter", "strength": 0.8}),
        Preset("too much", {"method": "random_erasing", "strength": 1.0}),
    )

    def __init__(self, own: str | None = None) -> None:
        self.own = own

    @property
    def controls(self) -> Sequence[Control]:
        scenes = tuple((scene, scene) for scene in SCENES)
        own = () if self.own is None else (("own", "your own"),)
        methods = tuple((key, kind.__name__) for key, kind in augmentations().items())
        return (
            Choice("method", "Augmentation", methods, "affine", "drawn twelve times below"),
            Range("strength", "Strength", 0.0, 1.0, 0.3, 0.05, help="0 is off, 1 the strongest worth trying", export=3),
            Choice("picture", "Picture", (*own, *scenes), "own" if own else "house"),
            Seed(label="Draw", export=2),
        )

    def compute(self, state: State) -> Frame:
        method, strength, seed, name = self._read(state)
        original = _picture(name, self.own)
        tiles = [tile_of(original, "original")]
        for key in augmentations():
            one = drawn(key, strength, seed, 1, name, self.own)[0]
            tiles.append(tile_of(one, key.replace("_", " "), chosen=key == method))
        rows = drawn(method, strength, seed, DRAWS, name, self.own)
        change = (rows - original).abs().amax(1).flatten(1)  # (rows, pixels)
        differ = int((change > CHANGED).any(1).sum())
        moved, mean = float((change > CHANGED).double().mean()), float((rows - original).abs().double().mean())
        called = augmentations()[method].__name__
        return Frame(
            panels=(
                Images("Every augmentation, one draw of each", tiles, 84, Press("seed", "Draw all anew")),
                Images(
                    f"Twelve draws of {called}",
                    [tile_of(row, str(place)) for place, row in enumerate(rows, 1)],
                    84,
                    Press("seed", "Draw all anew"),
                ),
                _worth(method, strength),
            ),
            numbers=(
                Number("pictures that differ", differ, f"{differ} of {DRAWS}", "train"),
                Number("pixels changed", moved, f"{100 * moved:.1f} %"),
                Number("mean change of a pixel", mean, f"{mean:.4f}"),
                Number("labels changed", 0.0, f"0 of {DRAWS}"),
            ),
            notice=""
            if strength > 0
            else "Strength 0 is neutral: every picture comes back as it was, bit for bit. Move the slider up.",
        )

    def code(self, state: State) -> str:
        method, strength, seed, name = self._read(state)
        part = at_strength(augmentations()[method], strength)
        call = repr(Recipe(part)).splitlines()[1].split("#")[0].strip().rstrip(",")
        own = self.own is not None and name == "own"
        function, argument = ("read_picture", repr(self.own)) if own else ("painted", repr(name))
        return "\n".join(
            [
                "import torch",
                "from torch import nn",
                "",
                f"from poise import {type(part).__name__}, Recipe",
                f"from poise.lab.picture import {function}",
                "",
                f"picture = {function}({argument})",
                f"run = Recipe({call}).start(nn.Linear(1, 2), seed={seed}, classes=2)",
                f"pictures, labels = run.batch(picture.expand({DRAWS}, -1, -1, -1), torch.zeros({DRAWS}).long())",
                "change = (pictures.clamp(0, 1) - picture).abs()",
                f"moved = change.amax(1).flatten(1) > {CHANGED}",
                "print('pictures that differ', int(moved.any(1).sum()))",
                "print('pixels changed', float(moved.double().mean()))",
                "print('mean change of a pixel', float(change.double().mean()))",
                "print('labels changed', int((labels.argmax(1) != 0).sum()))",
            ]
        )

    def describe(self, state: State, frame: Frame) -> str:
        method, strength, _, name = self._read(state)
        differ, moved, mean, _ = frame.numbers
        called = "your picture" if name == "own" else f"the {name}"
        return (
            f"{augmentations()[method].__name__} at strength {strength:g} changed {differ.text} copies of {called}: "
            f"{moved.text} of the pixels, by {mean.text} of the brightness range on average; no label changed."
        )

    def table(self, frame: Frame) -> Table:
        plot = frame.panels[2]
        assert isinstance(plot, Plot)
        names = dict(plot.y.ticks)
        marks = [mark for mark in plot.marks if isinstance(mark, Intervals)]
        rows: list[list[str | float]] = [
            [names[mark.at[0]], mark.middle[0], mark.low[0], mark.high[0]] for mark in marks
        ]
        return Table(("augmentation of digits", "points gained", "low", "high"), rows[::-1])

    @staticmethod
    def _read(state: State) -> tuple[str, float, int, str]:
        return str(state["method"]), float(state["strength"]), int(state["seed"]), str(state["picture"])


def _worth(method: str, strength: float) -> Plot:
    """Return what every augmentation gained on digits, in points of accuracy, the best on top."""
    at_most, found = gains(strength)
    marks: list[Rule | Intervals] = [Rule("no difference", x=0.0)]
    order = sorted(found, key=lambda key: found[key].value)
    for place, key in enumerate(order):
        role: Role = "train" if found[key].low > 0 else "valid" if found[key].high < 0 else "zero"
        value, low, high = (100 * end for end in (found[key].value, found[key].low, found[key].high))
        label = "chosen" if key == method else ""
        marks.append(Intervals(label, [float(place)], [value], [low], [high], role=role))
    ticks = tuple((float(place), key.replace("_", " ")) for place, key in enumerate(order))
    return Plot(
        f"Digits, {LABELS} labels, strength {at_most:g}: points of accuracy gained, {SEEDS} networks each",
        Axis("points; right of 0 it helps"),
        Axis("", -0.6, len(order) - 0.4, ticks=ticks),
        marks,
        height=60 + 30 * len(order),
    )
