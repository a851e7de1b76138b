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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from poise.core.blocks import Blocks
from poise.core.context import Batch, Context
from poise.core.errors import ArgumentError
from poise.core.kinds import Inserted, drawing, inserted_layers, recordings
from poise.core.mapped import map_members
from poise.core.recipe import Recipe
from poise.core.rng import Rng
from poise.core.select import Role, roles_of
from poise.core.terms import data_keys, data_terms, task_of
from poise.core.trees import Tree
from poise.train.homes import Homes, forward, homes_of
from poise.train.losses import Loss, summed_loss
from poise.train.optimizers import Flat, Optimizer
from poise.train.replay import moving_buffers
from poise.train.tasks import wants_tasks

__all__ = ["Program", "State", "fold_members", "step", "with_dials"]


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
    roles: Mapping[str, Role] = field(init=False)
    inserted: tuple[tuple[str, Inserted], ...] = field(init=False)
    homes: Homes = field(init=False)
    moving: frozenset[str] = field(init=False)  # buffers that a forward pass may write to

    def __post_init__(self) -> None:
        object.__setattr__(self, "roles", roles_of(self.module))
        object.__setattr__(self, "inserted", tuple(inserted_layers(self.module)))
        object.__setattr__(self, "homes", homes_of(self.module))
        object.__setattr__(self, "moving", frozenset(moving_buffers(self.module)))


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
    before = state.memory
    losses, terms, of_task = _losses(program, state, leaves, buffers, batch)
    found = torch.autograd.grad(losses.sum(), list(leaves.values()), allow_unused=True, retain_graph=bool(of_task))
    tasks = {task: _gradients(leaves, term) for task, term in of_task.items()}

    with torch.no_grad():
        grads = _filled(leaves, found)
        if recipe.stage("gradient"):
            facts = {"params": params, "tasks": tasks, "batch": batch}
            grads = fold_members(program, state, "gradient", grads, again=(buffers, before), **facts)
        if recipe.stage("shrink"):
            state.flat.set(fold_members(program, state, "shrink", params, params=params))

        program.optimizer.step(state.flat, state.flat.gather(grads), state.optimizer, state.lr, state.step)

        if recipe.stage("update"):
            scale: dict[str, Tensor] = {}
            if any("scale" in part.needs for part in recipe.stage("update")):
                scale = state.flat.named(program.optimizer.scale(state.flat, state.optimizer, state.lr, state.step))
            state.flat.set(fold_members(program, state, "update", params, params=params, scale=scale))
        if recipe.stage("average"):
            state.averaged = fold_members(program, state, "average", dict(params), params=params)

    state.step += 1
    state.keys[:, 2] += 1
    return terms


def _filled(leaves: dict[str, Tensor], found: Sequence[Tensor | None]) -> dict[str, Tensor]:
    return {n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(leaves.items(), found, strict=True)}


def _gradients(leaves: dict[str, Tensor], term: Tensor) -> dict[str, Tensor]:
    """Return the gradient of each member's own term (M,) by parameter."""
    found = torch.autograd.grad(term.sum(), list(leaves.values()), allow_unused=True, retain_graph=True)
    return _filled(leaves, found)


def _losses(
    program: Program, state: State, params: dict[str, Tensor], buffers: dict[str, Tensor], batch: Batch
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Return each member's objective (M,), its terms, and the tasks' own terms with their graph, if a part asks.

    The objective stage's memory advances.
    """
    asked = wants_tasks(program.recipe)

    def one(
        params: dict[str, Tensor], buffers: dict[str, Tensor], batch: Batch, memory: Tree, own: Any
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor], Tree]:
        terms, memory = _objective(program, state, params, buffers, batch, memory, own)
        of_task = {task_of(key): terms[key] for key in data_keys(terms)} if asked else {}
        return torch.stack([*terms.values()]).sum(), {n: t.detach() for n, t in terms.items()}, of_task, memory

    memory, own = _of_stage(program, state, "objective")
    losses, terms, of_task, memory = map_members(one, len(state.keys), params, buffers, batch, memory, own)
    state.memory = state.memory | memory
    return losses, terms, of_task


def _objective(
    program: Program, state: State, params: Any, buffers: Any, batch: Batch, memory: Tree, own: Any
) -> tuple[dict[str, Tensor], Tree]:
    """Return one member's terms, and its memory of the objective stage."""
    outputs = forward(program.module, program.homes, params, buffers, batch.inputs)
    terms = data_terms(program.loss(outputs, batch))
    recorded = recordings(program.module) if program.inserted else {}
    if not memory:
        return terms, memory
    recipe, ctx = _member(program, state, own)
    again = _again(program, params, buffers)
    ctx = replace(ctx, params=params, batch=batch, outputs=outputs, recorded=recorded, forward=again)
    return recipe.fold("objective", terms, memory, ctx)


def _again(program: Program, params: Any, buffers: Any) -> Callable[..., Any]:
    """Return the function that runs one member's network once more; running statistics stay where they are."""

    def run(inputs: Any, draw: int = 0) -> Any:
        with drawing(program.module, draw):
            # Cloned inside, because a caller's `torch.func.grad` forbids writing to a tensor from outside.
            kept = {name: buffer.clone() if name in program.moving else buffer for name, buffer in buffers.items()}
            return forward(program.module, program.homes, params, kept, inputs)

    return run


def fold_members(
    program: Program, state: State, stage: str, value: Any, again: tuple[Any, Any] | None = None, **facts: Any
) -> Any:
    """Fold one stage's parts over every member; the parts' memory advances.

    `again` is (buffers, memory) as the step's objective began: with it, a part may ask for the gradient elsewhere.
    """
    replays = again is not None and any("closure" in part.needs for part in program.recipe.stage(stage))
    extra = (again[0], *_of_stage(program, replace(state, memory=again[1]), "objective")) if again and replays else None

    def one(value: Any, memory: Tree, own: Any, facts: dict[str, Any], extra: Any) -> tuple[Any, Tree]:
        recipe, ctx = _member(program, state, own)
        ctx = replace(ctx, **facts)
        if extra is not None:
            ctx = replace(ctx, gradient=partial(_gradient_at, program, state, ctx.batch, *extra))
        return recipe.fold(stage, value, memory, ctx)

    memory, own = _of_stage(program, state, stage)
    value, memory = map_members(one, len(state.keys), value, memory, own, facts, extra)
    state.memory = state.memory | memory
    return value


def _gradient_at(
    program: Program, state: State, batch: Batch | None, buffers: Any, memory: Tree, own: Any, there: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Return one member's gradient of the step's objective at other weights, on the same rows and masks."""
    assert batch is not None  # the gradient stage has it
    rows = batch

    def objective(params: dict[str, Tensor]) -> Tensor:
        kept = {name: buffer.clone() if name in program.moving else buffer for name, buffer in buffers.items()}
        terms, _ = _objective(program, state, params, kept, rows, memory, own)
        return torch.stack([*terms.values()]).sum()

    found: dict[str, Tensor] = torch.func.grad(objective)(there)
    return found


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
