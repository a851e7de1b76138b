"""What a population's step works on: what its members share, what each owns, and how a part sees one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from poise.core.blocks import Blocks
from poise.core.context import Context
from poise.core.errors import ArgumentError
from poise.core.kinds import Inserted, inserted_layers
from poise.core.recipe import Recipe
from poise.core.rng import Rng
from poise.core.schedule import Schedule
from poise.core.select import Role, roles_of
from poise.core.trees import Tree, select_members
from poise.train.fast_gradient import FastNetwork
from poise.train.homes import Homes, homes_of
from poise.train.losses import Loss, summed_loss
from poise.train.optimizers import Flat, Optimizer
from poise.train.replay import moving_buffers

__all__ = ["Program", "State", "member_context", "resolved", "stage_numbers", "with_dials"]


@dataclass(frozen=True)
class Program:
    """What all members share: the network's structure, the loss, the optimizer, and the facts parts may ask for."""

    module: nn.Module  # the structure only; its own weights are never used
    recipe: Recipe
    loss: Loss
    optimizer: Optimizer
    columns: Tensor | None = None
    classes: int | None = None
    blocks: Blocks | None = None
    teacher: Callable[[Any], Any] | None = None
    products: str = "float32"  # what kernels round the operands of a network's matrix products to
    roles: Mapping[str, Role] = field(init=False)
    inserted: tuple[tuple[str, Inserted], ...] = field(init=False)
    homes: Homes = field(init=False)
    moving: frozenset[str] = field(init=False)  # buffers that a forward pass may write to
    moves: bool = field(init=False)  # whether a schedule moves some dial
    fast: FastNetwork = field(init=False)  # the network by kernels, where it is made of layers that they know
    found: dict[str, Any] = field(init=False, compare=False)  # what was found out once, by what it is about

    def __post_init__(self) -> None:
        object.__setattr__(self, "roles", roles_of(self.module))
        object.__setattr__(self, "inserted", tuple(inserted_layers(self.module)))
        object.__setattr__(self, "homes", homes_of(self.module))
        object.__setattr__(self, "moving", frozenset(moving_buffers(self.module)))
        object.__setattr__(self, "fast", FastNetwork(self.module, self.loss, self.products))
        object.__setattr__(self, "moves", any(isinstance(dial, Schedule) for dial in self.recipe.dials().values()))
        object.__setattr__(self, "found", {})


@dataclass
class State:
    """What each member owns; every tensor's first dimension is the member."""

    flat: Flat  # all weights of the population in one (M, P) tensor, with named views
    buffers: dict[str, Tensor]
    optimizer: Tree
    memory: dict[str, Any]
    dials: dict[str, Tensor]  # "part.field" -> (M,)
    keys: Tensor  # (M, 3) int64: study seed, member, step
    lr: Tensor  # (M,) float64, of this step
    averaged: dict[str, Tensor] | None  # what the average stage returned, None if no part averages
    step: int = 0

    def select(self, members: Tensor) -> State:
        """Return copies of what the given members own."""
        rest = {name: tree for name, tree in vars(self).items() if name not in ("flat", "averaged", "step")}
        averaged = None if self.averaged is None else select_members(self.averaged, members)
        return replace(self, flat=self.flat.select(members), averaged=averaged, **select_members(rest, members))


def stage_numbers(program: Program, state: State, stage: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the memory and the own numbers of a stage's parts: vmap pays for each tensor that it is given."""
    names = [part.name for part in program.recipe.stage(stage)]
    dials = {key: value for key, value in state.dials.items() if key.rsplit(".", 1)[0] in names}
    # The rates are float64 for the optimizer; a part's own arithmetic must not be widened by them.
    lr = state.lr.to(torch.promote_types(state.flat.data.dtype, torch.float32))
    own = {"keys": state.keys, "lr": lr, "dials": dials}
    return {name: state.memory[name] for name in names}, own


def member_context(program: Program, state: State, own: dict[str, Any]) -> tuple[Recipe, Context]:
    """Return the recipe with one member's dials in place, and its context."""
    ctx = Context(
        step=state.step,
        rng=Rng(own["keys"]),
        lr=own["lr"],
        roles=program.roles,
        columns=program.columns,
        classes=program.classes,
        blocks=program.blocks,
        loss=partial(summed_loss, program.loss),
        teacher=partial(_taught, program.teacher),
    )
    return program.recipe.resolve(own["dials"], state.step), ctx


def _taught(teacher: Callable[[Any], Any] | None, inputs: Any) -> Any:
    if teacher is None:
        raise ArgumentError(
            "`Population.teacher` must be given, because a part of the recipe learns from it; got none."
        )
    with torch.no_grad():
        return teacher(inputs)


def resolved(program: Program, state: State) -> Recipe:
    """Return the recipe with the dials of this step, one number a member: made anew where a schedule moves one."""
    if program.moves:
        return program.recipe.resolve(state.dials, state.step)
    dials, now = program.found.get("resolved", ({}, None))
    if now is None or dials.keys() != state.dials.keys() or any(dials[key] is not state.dials[key] for key in dials):
        now = program.recipe.resolve(state.dials, state.step)
        program.found["resolved"] = (dict(state.dials), now)
    return now  # type: ignore[no-any-return]  # a recipe, as it was put there


def with_dials(program: Program, state: State) -> dict[str, Tensor]:
    """Return the buffers with this step's dials and keys in the inserted layers."""
    members, device = state.keys.shape[0], state.keys.device
    now = resolved(program, state)
    known, count, dials = program.found.get("dials", (None, 0, {}))
    if known is not now or count != members:
        dials = {}
        for key, value in now.dials().items():
            owner, name = key.rsplit(".", 1)
            own = torch.as_tensor(value, dtype=torch.float32, device=device).expand(members).contiguous()
            dials |= {f"{path}.{name}": own for path, layer in program.inserted if layer.part == owner}
        program.found["dials"] = (now, members, dials)
    keys = {f"{path}.key": state.keys for path, _ in program.inserted}
    return {**state.buffers, **keys, **dials}
