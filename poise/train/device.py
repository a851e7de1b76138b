"""A population on another device: all that it owns is moved, and its step then runs where its tensors are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from poise.core.errors import ArgumentError
from poise.core.trees import tree_to
from poise.train.losses import on_device
from poise.train.optimizers import Flat
from poise.train.rows import Rows
from poise.train.step import State

if TYPE_CHECKING:
    from poise.train.population import Population

__all__ = ["check_device", "move_population"]

_TENSORS = ("base_lr", "stopped", "diverged", "best", "best_score", "best_step")  # attributes of a population
_STATE = ("buffers", "optimizer", "memory", "dials", "keys", "lr", "averaged")  # fields of State, beside flat


def move_population(population: Population, device: torch.device | str) -> None:
    """Move all that a population owns, and a teacher that is a module; its members' numbers stay what they are."""
    program, state = population.program, population.state
    population.program = replace(
        program,
        module=program.module.to(device),
        loss=on_device(program.loss, device),
        columns=tree_to(program.columns, device),
        teacher=program.teacher.to(device) if isinstance(program.teacher, nn.Module) else program.teacher,
    )
    population.state = State(
        flat=Flat(state.flat.data.to(device), state.flat.shapes),
        step=state.step,
        **{name: tree_to(getattr(state, name), device) for name in _STATE},
    )
    for name in _TENSORS:
        setattr(population, name, tree_to(getattr(population, name), device))
    population.epoch_order = None  # drawn again there: the same


def check_device(population: Population, data: Rows) -> None:
    """Raise ArgumentError if the rows are not where the population is."""
    device = population.state.flat.data.device
    if data.inputs.device != device:
        raise ArgumentError(
            f"`Population` must get rows on its own device, {device}; got inputs on {data.inputs.device}. "
            "Move them once: rows.to(device)."
        )
