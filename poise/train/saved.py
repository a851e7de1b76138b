"""A population as plain tensors and numbers, and back: training that was cut goes on bit for bit."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from poise.core.errors import CheckpointError
from poise.core.trees import Tree, map_tree, tree_to
from poise.train.optimizers import Flat
from poise.train.step import State

if TYPE_CHECKING:
    from poise.train.population import Population

__all__ = ["load_state", "saved_state"]

_OWN = ("members", "stopped", "diverged", "best", "best_score", "best_step", "epoch_order", "base_lr")  # attributes
_STATE = ("buffers", "optimizer", "memory", "dials", "keys", "lr", "averaged", "step")  # fields of State, beside flat


def saved_state(population: Population) -> dict[str, Any]:
    """Return all that the next step, evaluation and prediction depend on: what `torch.load(weights_only=True)` reads.

    The data is not in it. Averaged weights come with their batch statistics, because those are made from the data.
    """
    state = {name: getattr(population, name) for name in _OWN}
    state |= {name: getattr(population.state, name) for name in _STATE}
    state |= {
        "flat": population.state.flat.data,
        "restated": population.buffers() if population.state.averaged is not None else None,
        "recipe": population.recipe.spec(),
        "seed": population.seed,
        "shapes": _shapes(population),
    }
    return tree_to(copy.deepcopy(state), "cpu")  # type: ignore[no-any-return]  # a dict like its input


def load_state(population: Population, state: Mapping[str, Any]) -> None:
    """Put a saved state into a population that was made with the arguments of the one that saved it.

    Members that the saved population no longer kept are dropped.

    Raises: CheckpointError, with the population as it was, if the state is incomplete, another recipe's, seed's or
    network's, or has members that the population lacks.
    """
    wanted = {*_OWN, *_STATE, "flat", "restated", "recipe", "seed", "shapes"}
    if not isinstance(state, Mapping) or (missing := sorted(wanted - state.keys())):
        what = ", ".join(missing) if isinstance(state, Mapping) else "its parts"
        raise CheckpointError(f"`Population.load_state_dict` got a state without {what}: it is damaged.")
    own = {"recipe": population.recipe.spec(), "seed": population.seed, "shapes": _shapes(population)}
    for name, value in own.items():
        if state[name] != value:
            raise CheckpointError(
                f"`Population.load_state_dict` must get a state of the same {name}; got another one. "
                "Make the population with the arguments of the one that was saved."
            )
    if strange := sorted(set(state["members"]) - set(population.members)):
        raise CheckpointError(
            f"`Population.load_state_dict` must get members of this population, {population.members}; got {strange}."
        )
    now = population.state
    for name, tree in {"optimizer": now.optimizer, "memory": now.memory, "dials": now.dials}.items():
        if _layout(state[name]) != _layout(tree):
            raise CheckpointError(
                f"`Population.load_state_dict` got another {name}: its tensors differ in name, shape or dtype."
            )
    state = tree_to(copy.deepcopy(dict(state)), now.flat.data.device)
    population.state = State(flat=Flat(state["flat"], now.flat.shapes), **{name: state[name] for name in _STATE})
    for name in _OWN:
        setattr(population, name, state[name])
    population.restore(state["restated"])


def _shapes(population: Population) -> dict[str, list[int]]:
    """Return the shape of each of a member's weights and buffers."""
    buffers = {name: list(tensor.shape[1:]) for name, tensor in population.state.buffers.items()}
    return {name: list(shape) for name, shape in population.state.flat.shapes.items()} | buffers


def _layout(tree: Tree) -> Any:
    """Return the structure of a tree with what one member's leaves are like."""

    def kind(leaf: Any) -> Any:
        return (tuple(leaf.shape[1:]), leaf.dtype) if isinstance(leaf, Tensor) and leaf.dim() else torch.typename(leaf)

    return pytree.tree_flatten(map_tree(kind, tree), is_leaf=lambda leaf: isinstance(leaf, tuple))
