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

That is the definition. Kernels in C do the same, to rounding, for the layers and parts that they know: `train/work.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from poise.core.context import Batch
from poise.core.kinds import Penalty, Proximal, drawing, recordings
from poise.core.mapped import map_members
from poise.core.terms import data_keys, data_terms, task_of
from poise.core.trees import Tree
from poise.train.fast_batch import batch_by_kernel
from poise.train.fast_update import add_update, reports_by_kernel, stages_of_update
from poise.train.homes import forward
from poise.train.looped import map_network
from poise.train.program import Program, State, member_context, resolved, stage_numbers, with_dials
from poise.train.rows import Picked
from poise.train.tasks import wants_tasks
from poise.train.work import Work

__all__ = ["Program", "State", "fold_members", "step", "with_dials"]


def step(
    program: Program,
    state: State,
    batch: Batch | Picked,
    later: Work | None = None,
    rates: Tensor | None = None,
) -> dict[str, Tensor]:
    """Train every member for one step on its own batch; the state advances, and the terms (M,) are returned.

    Where kernels know a piece, it goes on the list `work` and is done later, member by member; what follows by torch
    has the list run first. The two ways agree to rounding; random numbers are the same. With `later`, a step that is
    kernels alone is left on that list, for the caller to run before it reads anything: a member then takes several
    steps before the next member begins, and finds its weights where it left them. Of a recipe whose dials do not move,
    several such steps may be asked for at once, by the learning `rates` of each: terms are then (steps, M).

    Shapes: batch.inputs (M, B, ...), batch.targets (M, B, ...), batch.weights (M, B); picked rows (M, steps B);
    rates (steps, M), else the state's.
    """
    recipe, work = program.recipe, Work(len(state.keys)) if later is None else later
    rates = state.lr[None] if rates is None else rates
    state.lr = rates[-1].clone()
    steps, begun = len(rates), work.runs
    work.begin(steps)
    params = state.flat.views()
    buffers = with_dials(program, state)

    batch = _edited(program, state, batch, work)
    before = state.memory
    found = _gradients_by_kernels(program, state, buffers, batch, work)
    if found is None:
        work.run()
        found = _gradients_by_autograd(program, state, buffers, batch)
    terms, grads, tasks = found

    with torch.no_grad():
        taken = stages_of_update(program, state)
        if recipe.stage("gradient") and "gradient" not in taken:
            work.run()
            facts = {"params": params, "tasks": tasks, "batch": batch}
            edited = fold_members(program, state, "gradient", state.flat.named(grads), again=(buffers, before), **facts)
            grads = state.flat.gather(edited)
        if recipe.stage("shrink") and "shrink" not in taken:
            work.run()
            state.flat.set(fold_members(program, state, "shrink", params, params=params))

        if "optimizer" in taken:
            add_update(work, program, state, resolved(program, state), grads, rates, taken)
        else:
            work.run()
            program.optimizer.step(state.flat, grads, state.optimizer, state.lr, state.step)

        if recipe.stage("update") and "update" not in taken:
            work.run()
            scale: dict[str, Tensor] = {}
            if any("scale" in part.needs for part in recipe.stage("update")):
                scale = state.flat.named(program.optimizer.scale(state.flat, state.optimizer, state.lr, state.step))
            state.flat.set(fold_members(program, state, "update", params, params=params, scale=scale))
        if recipe.stage("average") and "average" not in taken:
            work.run()
            state.averaged = fold_members(program, state, "average", dict(params), params=params)

    work.end()
    if later is None or work.runs > begun:
        work.run()
    state.step += steps
    state.keys[:, 2] += steps
    return terms


def _edited(program: Program, state: State, batch: Batch | Picked, work: Work) -> Batch:
    """Return each member's rows as the batch stage leaves them."""
    if isinstance(batch, Picked):
        by_kernel = batch_by_kernel(work, program, state, resolved(program, state), batch)
        if by_kernel is not None:
            return by_kernel
        batch = batch.batch()
    if isinstance(program.classes, int) and isinstance(batch.targets, Tensor) and _are_codes(batch.targets):
        # Made here, for the rows of one step: of a text, all characters as distributions would be its largest tensor.
        batch = batch._replace(targets=F.one_hot(batch.targets.squeeze(-1), program.classes).to(state.flat.data.dtype))
    work.run()
    edited: Batch = fold_members(program, state, "batch", batch) if program.recipe.stage("batch") else batch
    return edited


def _are_codes(targets: Tensor) -> bool:
    """Whether targets are a column of class codes a row, (M, B, T, 1), and no distributions."""
    return targets.dim() > 2 and targets.dtype == torch.int64


Gradients = tuple[dict[str, Tensor], Tensor, dict[str, dict[str, Tensor]]]
"""Each term (M,), the objective's gradient (M, P), and by parameter that of each task, if a part asks for them."""


def _gradients_by_autograd(program: Program, state: State, buffers: dict[str, Tensor], batch: Batch) -> Gradients:
    """Return the terms and gradients as they are defined; the objective stage's memory advances."""
    leaves = {name: view.detach().requires_grad_() for name, view in state.flat.views().items()}
    losses, terms, of_task = _losses(program, state, leaves, buffers, batch)
    found = torch.autograd.grad(losses.sum(), list(leaves.values()), allow_unused=True, retain_graph=bool(of_task))
    tasks = {task: _gradients(leaves, term) for task, term in of_task.items()}
    return terms, state.flat.gather(_filled(leaves, found)), tasks


def _gradients_by_kernels(
    program: Program, state: State, buffers: dict[str, Tensor], batch: Batch, work: Work
) -> Gradients | None:
    """Return the same where kernels know the network and its loss, and the objective's parts see weights alone."""
    parts = program.recipe.stage("objective")
    ready = program.fast.ready(state.flat, batch)
    if ready is None or not all(isinstance(part, (Penalty, Proximal)) for part in parts):
        return None
    asked = wants_tasks(program.recipe)
    if asked and len(ready.names) > 1:
        return None  # one pass back gives the sum of the tasks' gradients only
    terms, grads = ready.add(work, state.flat, buffers, state.keys, batch)
    tasks = {}
    if asked:
        work.run()
        tasks = {task_of(name): state.flat.named(grads.clone()) for name in terms}
    if parts and (reported := reports_by_kernel(work, program, state, resolved(program, state))) is not None:
        terms = terms | reported
    elif parts:
        work.run()
        leaves = {name: view.detach().requires_grad_() for name, view in state.flat.views().items()}
        terms = fold_members(program, state, "objective", terms, params=leaves)
        added = [term.sum() for term in terms.values() if term.requires_grad]
        if added:
            found = torch.autograd.grad(torch.stack(added).sum(), list(leaves.values()), allow_unused=True)
            grads = grads + state.flat.gather(_filled(leaves, found))
    return {name: term.detach() for name, term in terms.items()}, grads, tasks


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

    memory, own = stage_numbers(program, state, "objective")
    given = (params, buffers, batch, memory, own)
    losses, terms, of_task, memory = map_network(program.module, one, len(state.keys), *given, keys=state.keys)
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
    recipe, ctx = member_context(program, state, own)
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
    extra = (
        (again[0], *stage_numbers(program, replace(state, memory=again[1]), "objective")) if again and replays else None
    )

    def one(value: Any, memory: Tree, own: Any, facts: dict[str, Any], extra: Any) -> tuple[Any, Tree]:
        recipe, ctx = member_context(program, state, own)
        ctx = replace(ctx, **facts)
        if extra is not None:
            ctx = replace(ctx, gradient=partial(_gradient_at, program, state, ctx.batch, *extra))
        return recipe.fold(stage, value, memory, ctx)

    memory, own = stage_numbers(program, state, stage)
    given = (value, memory, own, facts, extra)
    if extra is None:
        value, memory = map_members(one, len(state.keys), *given)
    else:
        value, memory = map_network(program.module, one, len(state.keys), *given, keys=state.keys)
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
