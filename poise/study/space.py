"""What a study searches: the superset recipe, and how a sampler's proposal becomes a configuration."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from poise.average import Ema
from poise.batch import CutMix, InputNoise, LabelSmoothing, Mixup, SwapNoise
from poise.core.errors import ArgumentError, shown
from poise.core.recipe import Recipe
from poise.core.regularizer import Regularizer
from poise.gradient import ClipNorm
from poise.network import BatchNorm, Dropout, HiddenNoise
from poise.stop import Patience
from poise.update import L1, Decay

__all__ = ["LEARNING_RATE", "PARTS", "Config", "Space"]

LEARNING_RATE = (5e-4, 2e-2)  # of Adam, in log scale

PARTS: dict[str, Regularizer] = {
    part.name: part
    for part in (
        BatchNorm(),
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
    )
}
"""The parts that a study may combine, by name, each at the value that an untuned user would start from."""

_FIXED = {"patience.evaluations", "patience.minimum_change", "cut_mix.alpha", "mixup.share", "batch_norm.share"}
"""Dials that the search leaves at their start value (when the part is on)."""

_RARE = ("hidden_noise", "input_noise", "swap_noise", "cut_mix", "l1", "clip_norm")
"""Parts of which a bracket of the search tries only two at a time."""

_RANGES: dict[str, tuple[float, float]] = {
    "dropout.p": (0.02, 0.6),
    "hidden_noise.scale": (0.01, 0.5),
    "input_noise.scale": (0.01, 0.5),
    "swap_noise.p": (0.02, 0.4),
    "mixup.alpha": (0.05, 2.0),
    "cut_mix.share": (0.05, 1.0),
    "label_smoothing.amount": (0.01, 0.2),
    "clip_norm.limit": (0.1, 5.0),
    "decay.rate": (1e-3, 2.0),
    "l1.weight": (1e-6, 1e-3),
    "ema.decay": (0.9, 0.998),
}
_LOG = {"decay.rate", "l1.weight", "clip_norm.limit", "mixup.alpha", "input_noise.scale", "hidden_noise.scale"}


@dataclass(frozen=True)
class Config:
    """One point of the space: a value for every dial (neutral if its part is off) and the learning rate."""

    number: int
    dials: dict[str, float]
    lr: float
    on: tuple[str, ...]  # names of the parts that are not neutral


class Space:
    """The superset of the chosen parts and its proposals.

    Raises: ArgumentError if a part is unknown; the message lists the known ones.
    """

    def __init__(self, parts: Sequence[str] | None = None, *, classification: bool = True) -> None:
        names = list(PARTS) if parts is None else list(parts)
        for name in names:
            if name not in PARTS:
                raise ArgumentError(f"`parts` must be among {', '.join(PARTS)}; got {shown(name)}.")
        if not classification:
            names = [name for name in names if name != "label_smoothing"]
        self.names = tuple(name for name in PARTS if name in names)
        self.recipe = Recipe(*(PARTS[name] for name in self.names))
        self.declared = self.recipe.declared()

    def config(
        self, number: int, on: Sequence[str], values: dict[str, float] | None = None, lr: float = 3e-3
    ) -> Config:
        """Return the configuration with the parts `on` at `values` (or their start values) and the others neutral."""
        start = self.recipe.dials()
        dials = {}
        for key, declared in self.declared.items():
            owner = key.split(".")[0]
            dials[key] = float((values or {}).get(key, start[key])) if owner in on else declared.neutral
        return Config(number, dials, lr, tuple(name for name in self.names if name in on))

    def searched(self, on: Sequence[str]) -> list[str]:
        """Return the dials of the parts `on` that a search moves."""
        return [key for key in self.declared if key.split(".")[0] in on and key not in _FIXED]

    def range_of(self, key: str) -> tuple[float, float]:
        """Return the lowest and the highest value that a search tries for a dial."""
        return _RANGES.get(key, self.declared[key].search)

    def is_log(self, key: str) -> bool:
        """Whether equal steps of a dial are equal factors."""
        return key in _LOG

    def portfolio(self, first: int) -> list[Config]:
        """Return the configurations that every search begins with: the usual suspects, mild and strong."""
        mild = {"dropout.p": 0.1, "decay.rate": 0.02, "ema.decay": 0.98}
        wanted: list[tuple[tuple[str, ...], dict[str, float], float]] = [
            (("dropout", "decay", "patience", "ema", "clip_norm", "batch_norm"), mild, 4e-3),
            (("dropout", "decay", "patience", "ema", "clip_norm"), mild, 3e-3),
            (("dropout", "decay", "patience", "ema", "mixup", "label_smoothing", "swap_noise"), mild, 3e-3),
            (("patience", "decay"), {"decay.rate": 0.5}, 2e-3),
            (("dropout", "patience"), {"dropout.p": 0.4}, 2e-3),
        ]
        found: list[Config] = []
        for on, values, lr in wanted:
            config = self.config(first + len(found), [n for n in on if n in self.names], values, lr)
            if all(config.dials != other.dials or config.lr != other.lr for other in found):
                found.append(config)
        return found

    def suggest(self, trial: Any, number: int) -> Config:
        """Let an Optuna trial propose: a switch for each part, its dials if it is on, and the learning rate."""
        lr = trial.suggest_float("lr", *LEARNING_RATE, log=True)
        on, values = [], {}
        for name in self.names:
            # Early stopping with the best restored costs nothing and is switched off by the ablation only.
            if name == "patience" or trial.suggest_categorical(f"{name}?", [True, False]):
                on.append(name)
                for key in self.searched([name]):
                    values[key] = trial.suggest_float(key, *self.range_of(key), log=self.is_log(key))
        return self.config(number, on, values, lr)

    def rare_off(self, number: int, seed: int) -> dict[str, bool]:
        """Return the rarer parts that a bracket starting at configuration `number` leaves off; two of them stay."""
        rare = [name for name in _RARE if name in self.names]
        stay = random.Random(f"{seed}/{number}").sample(rare, min(2, len(rare)))
        return {f"{name}?": False for name in rare if name not in stay}

    def as_trial(self, config: Config) -> dict[str, Any]:
        """Return a configuration as the parameters of an Optuna trial, clipped to the space."""
        params: dict[str, Any] = {"lr": min(max(config.lr, LEARNING_RATE[0]), LEARNING_RATE[1])}
        for name in self.names:
            if name != "patience":
                params[f"{name}?"] = name in config.on
            if name in config.on:
                for key in self.searched([name]):
                    low, high = self.range_of(key)
                    params[key] = min(max(config.dials[key], low), high)
        return params

    def recipe_of(self, config: Config) -> Recipe:
        """Return the configuration as a recipe of its own: parts that are off are left out."""
        own = {key: value for key, value in config.dials.items() if key.split(".")[0] in config.on}
        return Recipe(*(PARTS[name] for name in config.on)).at(own)
