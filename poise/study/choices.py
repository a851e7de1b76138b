"""What a study may combine, for tables and for images: the parts, the ranges worth trying, where a search begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from poise.average import Ema
from poise.batch import ColorJitter, Crop, CutMix, Cutout, Flip, InputNoise, LabelSmoothing, Mixup, SwapNoise
from poise.core.regularizer import Regularizer
from poise.gradient import ClipNorm
from poise.network import BatchNorm, Dropout, FrontScale, HiddenNoise
from poise.predict import Temperature
from poise.stop import Patience
from poise.update import L1, Decay

__all__ = ["IMAGE", "TABLE", "Choices", "Rival", "Start"]

Start = tuple[tuple[str, ...], dict[str, float], float]
"""A configuration that a search begins with: the parts that are on beside those that always are, their dials, the
learning rate."""


@dataclass(frozen=True)
class Rival:
    """What many would try first, and a study must beat: the best of `starts`, told of in the report by its name."""

    name: str
    starts: tuple[Start, ...]


@dataclass(frozen=True)
class Choices:
    """A search space. `parts` stand at the value that an untuned user would start from.

    `ranges`: of each searched dial, the lowest and the highest value; `fixed`: dials that keep their start value;
    `log`: dials whose equal steps are equal factors. Of the parts in `rare`, a bracket tries only two at a time,
    because a part costs its time for every member as soon as one member uses it. `lr`: of Adam, in log scale.
    `rival`: a baseline of the comparison.
    """

    parts: Mapping[str, Regularizer]
    ranges: Mapping[str, tuple[float, float]]
    fixed: frozenset[str]
    log: frozenset[str]
    rare: tuple[str, ...]
    lr: tuple[float, float]
    starts: tuple[Start, ...]
    rival: Rival

    def without(self, *names: str) -> Choices:
        """Return the choices without some parts."""

        def own(key: str) -> bool:
            return key.split(".", maxsplit=1)[0] not in names

        return Choices(
            {name: part for name, part in self.parts.items() if own(name)},
            {key: ends for key, ends in self.ranges.items() if own(key)},
            frozenset(filter(own, self.fixed)),
            frozenset(filter(own, self.log)),
            tuple(filter(own, self.rare)),
            self.lr,
            _filtered(self.starts, own),
            Rival(self.rival.name, _filtered(self.rival.starts, own)),
        )


def _filtered(starts: tuple[Start, ...], own: Callable[[str], bool]) -> tuple[Start, ...]:
    return tuple((tuple(filter(own, on)), {k: v for k, v in dials.items() if own(k)}, lr) for on, dials, lr in starts)


def _named(*parts: Regularizer) -> dict[str, Regularizer]:
    return {part.name: part for part in parts}


_RATES = (1e-3, 3e-3, 1e-2)  # of the baselines

_MILD = {"dropout.p": 0.1, "decay.rate": 0.02, "ema.decay": 0.98, "front_scale.speed": 6.0}

TABLE = Choices(
    parts=_named(
        BatchNorm(),
        FrontScale(6.0),
        Dropout(0.2),
        HiddenNoise(0.1),
        InputNoise(0.05),
        SwapNoise(0.1),
        Mixup(0.3),
        CutMix(0.2),
        LabelSmoothing(0.05),
        ClipNorm(1.0),
        Decay(0.05),
        L1(1e-5),
        Ema(0.99),
        Patience(12),
        Temperature(),
    ),
    ranges={
        "front_scale.speed": (1.0, 100.0),
        "dropout.p": (0.02, 0.6),
        "hidden_noise.scale": (0.01, 0.5),
        "input_noise.scale": (0.01, 0.5),
        "swap_noise.p": (0.02, 0.4),
        "mixup.alpha": (0.05, 2.0),
        "cut_mix.share": (0.05, 1.0),
        "label_smoothing.amount": (0.01, 0.2),
        "clip_norm.limit": (0.1, 5.0),
        "decay.rate": (1e-3, 5.0),
        "l1.weight": (1e-6, 1e-3),
        "ema.decay": (0.9, 0.998),
    },
    fixed=frozenset(
        {"patience.evaluations", "patience.minimum_change", "cut_mix.alpha", "mixup.share", "batch_norm.share"}
        | {"temperature.temperature"}
    ),
    log=frozenset(
        {"decay.rate", "l1.weight", "clip_norm.limit", "mixup.alpha", "input_noise.scale", "hidden_noise.scale"}
        | {"front_scale.speed"}
    ),
    rare=("hidden_noise", "input_noise", "swap_noise", "cut_mix", "l1", "clip_norm"),
    lr=(5e-4, 3e-2),
    starts=(
        (("dropout", "decay", "ema", "clip_norm", "batch_norm"), _MILD, 4e-3),
        (("dropout", "decay", "ema", "clip_norm"), _MILD, 3e-3),
        # The first one with smoothed labels; of numbers, it is the first one again, and left out.
        (
            ("dropout", "decay", "ema", "clip_norm", "batch_norm", "label_smoothing"),
            _MILD | {"label_smoothing.amount": 0.1},
            4e-3,
        ),
        (("dropout", "decay", "ema", "front_scale", "mixup", "label_smoothing", "swap_noise"), _MILD, 3e-3),
        (("decay",), {"decay.rate": 0.5}, 2e-3),
        (("dropout",), {"dropout.p": 0.4}, 2e-3),
    ),
    rival=Rival(
        "tuned dropout", tuple((("dropout",), {"dropout.p": p}, lr) for p in (0.1, 0.25, 0.4, 0.6) for lr in _RATES)
    ),
)
"""What a study of a table may combine."""

_SHIFTED = ("batch_norm", "crop", "decay", "ema")
_AUGMENTED = (*_SHIFTED, "flip")

IMAGE = Choices(
    parts=_named(
        BatchNorm(),
        Dropout(0.1),
        Flip(0.5),
        Crop(2.0),
        ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.0),
        Cutout(0.4),
        Mixup(0.3),
        CutMix(0.3),
        LabelSmoothing(0.05),
        ClipNorm(1.0),
        Decay(0.05),
        Ema(0.99),
        Patience(12),
        Temperature(),
    ),
    ranges={
        "dropout.p": (0.02, 0.5),
        "flip.horizontal": (0.1, 0.5),
        "crop.pixels": (1.0, 6.0),
        "color_jitter.brightness": (0.05, 0.6),
        "color_jitter.contrast": (0.05, 0.6),
        "cutout.side": (0.1, 0.7),
        "mixup.alpha": (0.05, 2.0),
        "cut_mix.share": (0.05, 1.0),
        "label_smoothing.amount": (0.01, 0.2),
        "clip_norm.limit": (0.1, 5.0),
        "decay.rate": (1e-3, 2.0),
        "ema.decay": (0.9, 0.998),
    },
    fixed=frozenset(
        {"patience.evaluations", "patience.minimum_change", "cut_mix.alpha", "mixup.share", "batch_norm.share"}
        | {"temperature.temperature", "flip.vertical", "cutout.share", "color_jitter.saturation", "color_jitter.hue"}
    ),
    log=frozenset({"decay.rate", "clip_norm.limit", "mixup.alpha"}),
    rare=("color_jitter", "cutout", "cut_mix", "clip_norm"),
    lr=(5e-4, 1e-2),
    starts=(
        (_AUGMENTED, {"decay.rate": 0.05}, 4e-3),
        # What loses to the network alone is no recipe: where trainings are short or images many, little is needed.
        (("batch_norm",), {}, 1e-2),
        ((), {}, 1e-2),
        ((*_SHIFTED, "cutout", "label_smoothing"), {}, 3e-3),  # no flip: digits and letters have a right side
        ((*_AUGMENTED, "mixup"), {}, 3e-3),
        ((*_AUGMENTED, "cut_mix"), {"cut_mix.share": 0.5}, 3e-3),
        (("batch_norm", "dropout", "decay"), {"decay.rate": 0.2}, 2e-3),
    ),
    rival=Rival("flips and crops alone", tuple((("flip", "crop"), {}, lr) for lr in _RATES)),
)
"""What a study of images may combine; grey ones leave `color_jitter` out."""
