"""Which evaluations of a population's members are worth their weights' keeping, and the keeping."""

from __future__ import annotations

import torch
from torch import Tensor

from poise.core.trees import Tree, leaves, map_tree
from poise.train.step import Program, State

__all__ = ["improved_members", "kept_weights"]


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


def kept_weights(kept: Tree, current: Tree, improved: Tensor) -> Tree:
    """Return what is kept (a tree of tensors of all members, None at first), once the improved ones' are the current.

    Changed in place: copying all would take as long as the evaluation of a small table.
    """
    if kept is None:
        return map_tree(torch.clone, current)
    chosen = torch.nonzero(improved).flatten()
    for old, new in zip(leaves(kept), leaves(current), strict=True):
        old[chosen] = new[chosen]
    return kept
