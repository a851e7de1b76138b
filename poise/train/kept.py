"""Which evaluations of a population's members are worth their weights' keeping."""

from __future__ import annotations

import torch
from torch import Tensor

from poise.train.step import Program, State

__all__ = ["improved_members"]


def improved_members(program: Program, state: State) -> Tensor:
    """Return (M,) whether to keep this evaluation's weights: a watched member's only if they are its best."""
    count = len(state.keys)
    improved = torch.zeros(count, dtype=torch.bool, device=state.keys.device)
    watched = torch.zeros_like(improved)
    dials = program.recipe.resolve(state.dials, state.step)
    for part in dials.stage("stop"):
        memory = state.memory[part.name]
        if "best_step" in memory:
            patience = part.dials().get("evaluations", 0.0)
            watches = torch.isfinite(torch.as_tensor(patience, dtype=torch.float32, device=watched.device)).expand(
                count
            )
            watched = watched | watches
            improved = improved | (watches & (memory["best_step"] == state.step))
    return improved | ~watched
