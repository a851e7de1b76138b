"""One training step, stage by stage. Read this page first.

The step is written for a population of M members, because one network is a population of one. Every stage is a pure
function of one member, mapped over the members by `torch.vmap`; the only line that sees all members at once is the
backward pass, where the gradient of the sum of M independent losses is the M gradients.

    batch      inputs and targets are edited          crops, noise, mixup, label smoothing
    forward    the network answers                    dropout, noise and norms were inserted before training
    objective  terms are added to the data's loss     L2, the reported L1
    gradient   gradients are edited                   clipping
    shrink     weights before the optimizer           decoupled decay
    (the optimizer's own step)
    update     weights after the optimizer            soft threshold, max norm
    average    the weights that evaluation uses       EMA, SWA
    stop       after each evaluation                  patience (see `train/population.py`)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from poise.core.context import Batch, Context
from poise.core.errors import ArgumentError
from poise.core.kinds import Inserted, Proximal, inserted_layers
from poise.core.mapped import map_members
from poise.core.recipe import Recipe
from poise.core.rng import Rng
from poise.core.select import Role, roles_of
from poise.core.trees import Tree
from poise.train.losses import Loss
from poise.train.optimizers import Flat, Optimizer

__all__ = ["Program", "State", "fold_members", "forward", "step", "with_dials"]


@dataclass(frozen=True)
class Program:
    """What all members share: the network's structure, the loss, the optimizer, and the facts parts may ask for."""

    module: nn.Module  # the structure only; its own weights are never used
    recipe: Recipe
    loss: Loss
    optimizer: Optimizer
    columns: Tensor | None = None
    classes: int | None = None
    roles: Mapping[str, Role] = field(init=False)
    inserted: tuple[tuple[str, Inserted], ...] = field(init=False)
    homes: Mapping[str, list[tuple[dict[str, Any], str]]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "roles", roles_of(self.module))
        object.__setattr__(self, "inserted", tuple(inserted_layers(self.module)))
        object.__setattr__(self, "homes", _homes(self.module))


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


def step(program: Program, state: State, batch: Batch) -> dict[str, Tensor]:
    """Train every member for one step on its own batch; the state advances, and the terms (M,) are returned.

    Shapes: batch.inputs (M, B, ...), batch.targets (M, B, ...), batch.weights (M, B).
    """
    recipe = program.recipe
    params = state.flat.views()
    buffers = with_dials(program, state)

    if recipe.stage("batch"):
        batch = fold_members(program, state, "batch", batch)

    leaves = {name: view.detach().requires_grad_() for name, view in params.items()}
    losses, terms = _losses(program, state, leaves, buffers, batch)
    found = torch.autograd.grad(losses.sum(), list(leaves.values()), allow_unused=True)

    with torch.no_grad():
        grads = {n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(leaves.items(), found, strict=True)}
        if recipe.stage("gradient"):
            grads = fold_members(program, state, "gradient", grads, params=params)
        if recipe.stage("shrink"):
            state.flat.set(fold_members(program, state, "shrink", params, params=params))

        program.optimizer.step(state.flat, state.flat.gather(grads), state.optimizer, state.lr, state.step)

        if recipe.stage("update"):
            scale: dict[str, Tensor] = {}
            if any(isinstance(part, Proximal) for part in recipe.stage("update")):
                scale = state.flat.named(program.optimizer.scale(state.flat, state.optimizer, state.lr, state.step))
            state.flat.set(fold_members(program, state, "update", params, params=params, scale=scale))
        if recipe.stage("average"):
            state.averaged = fold_members(program, state, "average", dict(params), params=params)

    state.step += 1
    state.keys[:, 2] += 1
    return terms


def forward(program: Program, params: Mapping[str, Tensor], buffers: Mapping[str, Tensor], inputs: Any) -> Any:
    """Return one member's outputs. As `torch.func.functional_call`, which takes 0.8 ms to find what `homes` knows.

    Raises: ArgumentError if the network assigns to a buffer: the new value would be lost after this call.
    """
    given = [(home, name, tensor) for values in (params, buffers) for path, tensor in values.items()
             for home, name in program.homes[path]]  # fmt: skip
    own = [home[name] for home, name, _ in given]
    try:
        for home, name, tensor in given:
            home[name] = tensor
        outputs = program.module(inputs)
        for home, name, tensor in given:
            if home[name] is not tensor:
                raise ArgumentError(
                    f"a network of a population must change its buffers in place; got a new tensor in {name!r}. "
                    "Write `self.count.add_(1)`, not `self.count = self.count + 1`."
                )
        return outputs
    finally:
        for (home, name, _), tensor in zip(given, own, strict=True):
            home[name] = tensor


def _homes(module: nn.Module) -> dict[str, list[tuple[dict[str, Any], str]]]:
    """Return where a module holds each parameter and buffer, under its first name: a tied one is held in several."""
    first: dict[int, str] = {}
    homes: dict[str, list[tuple[dict[str, Any], str]]] = {}
    for path, owner in module.named_modules():
        for held in (owner._parameters, owner._buffers):
            for name, tensor in held.items():
                if tensor is not None:
                    full = first.setdefault(id(tensor), f"{path}.{name}" if path else name)
                    homes.setdefault(full, []).append((held, name))
    return homes


def _losses(
    program: Program, state: State, params: dict[str, Tensor], buffers: dict[str, Tensor], batch: Batch
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return each member's objective (M,) and its terms; the objective stage's memory advances."""

    def one(
        params: dict[str, Tensor], buffers: dict[str, Tensor], batch: Batch, memory: Tree, own: Any
    ) -> tuple[Tensor, dict[str, Tensor], Tree]:
        outputs = forward(program, params, buffers, batch.inputs)
        terms = {"data": program.loss(outputs, batch)}
        if memory:
            recipe, ctx = _member(program, state, own)
            ctx = replace(ctx, params=params, buffers=buffers, batch=batch, outputs=outputs)
            ctx = replace(ctx, forward=lambda inputs: forward(program, params, buffers, inputs))
            terms, memory = recipe.fold("objective", terms, memory, ctx)
        return torch.stack([*terms.values()]).sum(), {n: t.detach() for n, t in terms.items()}, memory

    memory, own = _of_stage(program, state, "objective")
    losses, terms, memory = map_members(one, len(state.keys), params, buffers, batch, memory, own)
    state.memory = state.memory | memory
    return losses, terms


def fold_members(program: Program, state: State, stage: str, value: Any, **facts: Any) -> Any:
    """Fold one stage's parts over every member; the parts' memory advances."""

    def one(value: Any, memory: Tree, own: Any, facts: dict[str, Any]) -> tuple[Any, Tree]:
        recipe, ctx = _member(program, state, own)
        return recipe.fold(stage, value, memory, replace(ctx, **facts))

    memory, own = _of_stage(program, state, stage)
    value, memory = map_members(one, len(state.keys), value, memory, own, facts)
    state.memory = state.memory | memory
    return value


def _of_stage(program: Program, state: State, stage: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the memory and the own numbers of a stage's parts: vmap pays for each tensor that it is given."""
    names = [part.name for part in program.recipe.stage(stage)]
    dials = {key: value for key, value in state.dials.items() if key.rsplit(".", 1)[0] in names}
    # The rates are float64 for the optimizer; a part's own arithmetic must not be widened by them.
    lr = state.lr.to(torch.promote_types(state.flat.data.dtype, torch.float32))
    own = {"keys": state.keys, "lr": lr, "dials": dials}
    return {name: state.memory[name] for name in names}, own


def _member(program: Program, state: State, own: dict[str, Any]) -> tuple[Recipe, Context]:
    """Return the recipe with one member's dials in place, and its context."""
    ctx = Context(
        step=state.step,
        rng=Rng(own["keys"]),
        lr=own["lr"],
        roles=program.roles,
        columns=program.columns,
        classes=program.classes,
    )
    return program.recipe.resolve(own["dials"], state.step), ctx


def with_dials(program: Program, state: State) -> dict[str, Tensor]:
    """Return the buffers with this step's dials and keys in the inserted layers."""
    members = state.keys.shape[0]
    buffers = dict(state.buffers)
    now = program.recipe.resolve(state.dials, state.step).dials()
    for path, layer in program.inserted:
        buffers[f"{path}.key"] = state.keys
        for key, value in now.items():
            owner, name = key.rsplit(".", 1)
            if owner == layer.part:
                dial = torch.as_tensor(value, dtype=torch.float32, device=state.keys.device)
                buffers[f"{path}.{name}"] = dial.expand(members)
    return buffers
