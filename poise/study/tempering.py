"""The temperature of a configuration: fitted on held-out rows once its networks are trained."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from poise.study.problem import Problem
from poise.study.space import TEMPERATURE, Config

__all__ = ["DIAL", "tempered"]

DIAL = f"{TEMPERATURE}.temperature"
"""The dial that holds what was fitted."""


def tempered(problem: Problem, config: Config, outputs: Tensor) -> Config:
    """Return the configuration with the temperature that suits its outputs (N, K) best; NaN where no row was held out.

    One of which no output is finite, or that has no temperature, is returned as it is.
    """
    held = torch.isfinite(outputs).flatten(1).all(1)
    if TEMPERATURE not in config.on or not bool(held.any()):
        return config
    targets, weights = problem.rows.targets[held], problem.weights_of(held)
    found = problem.heads[0].temperatures(outputs[held][None], targets, weights)
    return dataclasses.replace(config, dials=config.dials | {DIAL: float(found)})
