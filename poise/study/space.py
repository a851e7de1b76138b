"""What a study searches: the superset recipe, and how a sampler's proposal becomes a configuration."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from poise.core.errors import ArgumentError, shown
from poise.core.recipe import Recipe
from poise.study.choices import TABLE, Choices

__all__ = ["ALWAYS", "TEMPERATURE", "Config", "Space"]

TEMPERATURE = "temperature"
"""The part whose dial is not searched but fitted, to a network that is trained."""

ALWAYS = ("patience", TEMPERATURE)
"""Parts of every start and proposal: they cost nothing, and only the ablation takes them away."""


@dataclass(frozen=True)
class Config:
    """One point of the space: a value for every dial (neutral if its part is off) and the learning rate."""

    number: int
    dials: dict[str, float]
    lr: float
    on: tuple[str, ...]  # names of the parts that are not neutral


class Space:
    """The superset of the chosen parts and its proposals; `choices` are those of tables or of images.

    Parts that answer for `classification` alone are left out otherwise, a temperature also where there are `several`
    targets.

    Raises: ArgumentError if a part is unknown; the message lists the known ones.
    """

    def __init__(
        self,
        parts: Sequence[str] | None = None,
        *,
        classification: bool = True,
        several: bool = False,
        choices: Choices = TABLE,
    ) -> None:
        known = choices.parts
        names = list(known) if parts is None else list(parts)
        for name in names:
            if name not in known:
                raise ArgumentError(f"`parts` must be among {', '.join(known)}; got {shown(name)}.")
        if not classification:
            names = [name for name in names if name not in ("label_smoothing", TEMPERATURE)]
        elif several:
            names = [name for name in names if name != TEMPERATURE]  # one would divide the outputs for all targets
        self.choices = choices
        self.names = tuple(name for name in known if name in names)
        self.recipe = Recipe(*(known[name] for name in self.names))
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
        return [key for key in self.declared if key.split(".")[0] in on and key not in self.choices.fixed]

    def range_of(self, key: str) -> tuple[float, float]:
        """Return the lowest and the highest value that a search tries for a dial."""
        return self.choices.ranges[key]

    def is_log(self, key: str) -> bool:
        """Whether equal steps of a dial are equal factors."""
        return key in self.choices.log

    def portfolio(self, first: int) -> list[Config]:
        """Return the configurations that every search begins with: the usual suspects, mild and strong."""
        found: list[Config] = []
        for on, values, lr in self.choices.starts:
            config = self.config(first + len(found), [n for n in self.names if n in on or n in ALWAYS], values, lr)
            if all(config.dials != other.dials or config.lr != other.lr for other in found):
                found.append(config)
        return found

    def suggest(self, trial: Any, number: int) -> Config:
        """Let an Optuna trial propose: a switch for each part, its dials if it is on, and the learning rate."""
        lr = trial.suggest_float("lr", *self.choices.lr, log=True)
        on, values = [], {}
        for name in self.names:
            if name in ALWAYS or trial.suggest_categorical(f"{name}?", [True, False]):
                on.append(name)
                for key in self.searched([name]):
                    values[key] = trial.suggest_float(key, *self.range_of(key), log=self.is_log(key))
        return self.config(number, on, values, lr)

    def rare_off(self, number: int, seed: int) -> dict[str, bool]:
        """Return the rarer parts that a bracket starting at configuration `number` leaves off; two of them stay."""
        rare = [name for name in self.choices.rare if name in self.names]
        stay = random.Random(f"{seed}/{number}").sample(rare, min(2, len(rare)))
        return {f"{name}?": False for name in rare if name not in stay}

    def as_trial(self, config: Config) -> dict[str, Any]:
        """Return a configuration as the parameters of an Optuna trial, clipped to the space."""
        slowest, fastest = self.choices.lr
        params: dict[str, Any] = {"lr": min(max(config.lr, slowest), fastest)}
        for name in self.names:
            if name not in ALWAYS:
                params[f"{name}?"] = name in config.on
            if name in config.on:
                for key in self.searched([name]):
                    low, high = self.range_of(key)
                    params[key] = min(max(config.dials[key], low), high)
        return params

    def recipe_of(self, config: Config) -> Recipe:
        """Return the configuration as a recipe of its own: parts that are off are left out."""
        own = {key: value for key, value in config.dials.items() if key.split(".")[0] in config.on}
        return Recipe(*(self.choices.parts[name] for name in config.on)).at(own)
