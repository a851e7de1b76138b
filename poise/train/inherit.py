"""Members that take over the weights and the state of others: a step of population-based training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from poise.core.errors import ArgumentError, shown
from poise.core.trees import select_members
from poise.train.members import member_dials, member_rates

if TYPE_CHECKING:
    from poise.train.population import Population

__all__ = ["inherit"]


def inherit(population: Population, donors: Sequence[int], *, lr: Tensor, dials: Mapping[str, Tensor]) -> None:
    """Give each member the weights, optimizer's state, memory and kept weights of the member at its donor's place.

    A member that is its own donor keeps them. All get new learning rates and dials (M,); ids, and with them the random
    draws, stay each member's own. Train on before the next evaluation.

    Raises: ArgumentError if there is not one donor a member, and as the population's constructor does.
    """
    count = len(population)
    if len(donors) != count or not set(donors) <= set(range(count)):
        raise ArgumentError(
            f"`inherit` must get a donor's place in 0 .. {count - 1} for each of the {count} members; got "
            f"{shown(list(donors))}. A member that keeps its weights is its own donor."
        )
    state, device = population.state, population.state.keys.device
    chosen = torch.as_tensor(list(donors), dtype=torch.int64, device=device)
    rates = member_rates(lr, population.members)
    own = member_dials(population.recipe, dials, count, state.flat.data.dtype)
    if (missing := sorted(state.dials.keys() - own.keys())) or own.keys() - state.dials.keys():
        raise ArgumentError(
            f"`inherit` must get the dials that the population was made with; missing are {missing}, new "
            f"are {sorted(own.keys() - state.dials.keys())}."
        )
    population.base_lr = rates.to(population.base_lr.device)
    state.lr = population.base_lr.clone()  # a schedule, if there is one, scales it at the next step
    state.flat = state.flat.select(chosen)
    state.dials = {name: value.to(device) for name, value in own.items()}
    state.buffers = select_members(state.buffers, chosen)
    state.optimizer = select_members(state.optimizer, chosen)
    state.memory = select_members(state.memory, chosen)
    if state.averaged is not None:
        state.averaged = select_members(state.averaged, chosen)
    for name in ("stopped", "diverged", "best_score", "best_step"):
        setattr(population, name, getattr(population, name)[chosen])
    if population.best is not None:
        population.best = select_members(population.best, chosen)
    population.restore(None)  # parts may have become neutral; averaged weights' statistics are of the next steps
