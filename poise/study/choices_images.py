"""What a study may combine with each network for images; the first start of each is the recipe that goes with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from poise import recipes
from poise.batch import Crop, MixupOrCutMix
from poise.core.recipe import Recipe
from poise.core.regularizer import Regularizer
from poise.network import DropPath
from poise.study.choices import IMAGE, Choices, Start

__all__ = ["BY_NETWORK", "for_side"]

_SIDE = 32  # pixels that the ranges of IMAGE and the recipes are meant for


def _start(recipe: Recipe, lr: float) -> Start:
    """Return a recipe as a configuration."""
    names = tuple(part.name for part in recipe)
    return (names, {key: float(value) for key, value in recipe.dials().items()}, lr)


def _beside(
    first: Start,
    parts: tuple[Regularizer, ...],
    ranges: Mapping[str, tuple[float, float]],
    fixed: frozenset[str] = frozenset(),
    without: tuple[str, ...] = (),
) -> Choices:
    """Return IMAGE for a network that has norms, with more parts, some less, and another first start."""
    plain = IMAGE.without("batch_norm", *without)
    return dataclasses.replace(
        plain,
        parts={**{part.name: part for part in parts}, **plain.parts},
        ranges={**ranges, **plain.ranges},
        fixed=plain.fixed | fixed,
        starts=(first, *plain.starts[1:]),
    )


_PATHS = (DropPath(0.1),)
_RATES = {"drop_path.p": (0.02, 0.4)}
# Of Adam: what is times the learning rate must be larger than for SGD at 0.1.
_DECAY, _AVERAGE = 0.05, {"ema.decay": 0.99}

_MIXING = (MixupOrCutMix(share=1.0, mixup_alpha=0.8, cut_alpha=1.0),)
_SHARES = {"mixup_or_cut_mix.share": (0.1, 1.0), "mixup_or_cut_mix.cut": (0.1, 0.9)}
_ALPHAS = frozenset({"mixup_or_cut_mix.mixup_alpha", "mixup_or_cut_mix.cut_alpha"})

BY_NETWORK: Mapping[str, Choices] = {
    "cnn": IMAGE,
    "resnet": _beside(_start(recipes.resnet(decay=_DECAY).at(_AVERAGE), 3e-3), _PATHS, _RATES),
    "wrn": _beside(_start(recipes.wide_resnet(decay=_DECAY).at(_AVERAGE), 3e-3), _PATHS, _RATES),
    "vit": _beside(
        _start(recipes.vit(decay=_DECAY), 1e-3),
        (*_PATHS, *_MIXING),
        _RATES | _SHARES,
        _ALPHAS,
        ("mixup", "cut_mix"),  # beside the part that does one or the other, some rows would be mixed twice
    ),
}
"""The choices of each network that `ImageDesign` knows, for images of 32 pixels."""


def for_side(choices: Choices, side: int) -> Choices:
    """Return the choices for images of another side: crops move in proportion, by a pixel at least.

    >>> for_side(IMAGE, 64).ranges["crop.pixels"], for_side(IMAGE, 8).ranges["crop.pixels"]
    ((1.0, 12.0), (1.0, 2.0))
    """
    key = "crop.pixels"
    if key not in choices.ranges:
        return choices
    scale = side / _SIDE
    crop = choices.parts["crop"]
    assert isinstance(crop, Crop)
    low, high = choices.ranges[key]

    def scaled(pixels: float) -> float:
        return float(max(1, round(pixels * scale)))

    def moved(starts: tuple[Start, ...]) -> tuple[Start, ...]:
        return tuple((on, dials | ({key: scaled(dials[key])} if key in dials else {}), lr) for on, dials, lr in starts)

    return dataclasses.replace(
        choices,
        parts={**choices.parts, "crop": crop.at({"pixels": scaled(float(crop.pixels))})},
        ranges={**choices.ranges, key: (low, max(low + 1, scaled(high)))},
        starts=moved(choices.starts),
        rival=dataclasses.replace(choices.rival, starts=moved(choices.rival.starts)),
    )
