"""The end of a step by one kernel: clipping, decay, Adam, soft threshold and moving average in one pass."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import torch
from torch import Tensor

from poise.average import Ema
from poise.core.dial import double
from poise.core.recipe import Recipe
from poise.core.regularizer import Regularizer
from poise.core.select import select
from poise.gradient import ClipNorm
from poise.kernels import available
from poise.kernels import members as kernels
from poise.train.optimizers import Adam
from poise.train.work import Work, is_plain
from poise.update import L1, Decay

__all__ = ["add_update", "reports_by_kernel", "stages_of_update"]

_KNOWN: dict[str, type[Regularizer]] = {"gradient": ClipNorm, "shrink": Decay, "update": L1, "average": Ema}


def stages_of_update(program: Any, state: Any) -> frozenset[str]:
    """Return the stages that the kernel takes over: none, or `optimizer` and those whose parts it knows."""
    if not available() or type(program.optimizer) is not Adam or not is_plain(state.flat.data):
        return frozenset()
    found = {"optimizer"} | {stage for stage in _KNOWN if _is_known(program.recipe, stage)}
    return frozenset(found if "update" in found else found - {"average"})  # the average is of updated weights


def _is_known(recipe: Recipe, stage: str) -> bool:
    parts = recipe.stage(stage)
    known = len(parts) <= 1 and all(type(part) is _KNOWN[stage] for part in parts)
    return known and not any(isinstance(part, L1) and part.subgradient for part in parts)


def add_update(
    work: Work, program: Any, state: Any, now: Recipe, grads: Tensor, rates: Tensor, stages: frozenset[str]
) -> None:
    """Put the update on the list. Weights, Adam's moments and the average's memory will change in place.

    `now` is the recipe with this step's dials, `rates` (steps, M) are the learning rates.
    """
    adam: Adam = program.optimizer
    flat, moments = state.flat, state.optimizer
    first, second = adam.betas
    parts: dict[str, Any] = {stage: part for stage in _KNOWN if stage in stages for part in now.stage(stage)}
    # As the eager stages have it: rates in float64 for Adam, in float32 for the parts.
    lr, numbers = rates.to(torch.float32), range(state.step + 1, state.step + 1 + work.steps)
    begun = torch.tensor([1 - first**number for number in numbers], dtype=torch.float64)
    corrected = torch.tensor([math.sqrt(1 - second**number) for number in numbers], dtype=torch.float32)
    row = 4 * work.members
    moving = {"lr": row, "step": row, "corrected": 4}
    job = kernels.Update(
        parameters=flat.data.shape[1], params=work.hold(flat.data), grads=work.hold(grads),
        first=work.hold(moments["first"]), second=work.hold(moments["second"]), lr=work.hold(lr),
        step=work.course(rates / begun[:, None]), corrected=work.hold(corrected), new_first=1 - first,
        keep_second=second, new_second=1 - second, eps=adam.eps,
    )  # fmt: skip
    if "gradient" in parts:
        job.limit = work.dial(parts["gradient"].limit)
    if "shrink" in parts:
        job.decay = work.course(1 - double(lr) * double(parts["shrink"].rate))
        moving["decay"] = row
    if "update" in parts:
        job.threshold = work.dial(parts["update"].weight)
    if "average" in parts:
        ema = parts["average"]
        gain = torch.as_tensor(1 - double(ema.decay), dtype=torch.float64)
        lowest = torch.tensor([[9 / (9 + number) if ema.warmup else 0.0] for number in numbers], dtype=torch.float64)
        job.gain = work.course(torch.maximum(gain, lowest))
        moving["gain"] = row
        shadow = _shadow(program, state, ema.name)
        job.shadow = work.hold(shadow)
        work.changed.append(shadow)
        state.averaged = {name: state.memory[ema.name][f"shadow/{name}"] for name in flat.shapes}
    segments = program.found.get("segments")
    if segments is None:
        segments = program.found["segments"] = _segments(program, state, parts)
    job.segments, job.segments_count = ctypes.addressof(segments), len(segments)
    work.held.append(segments)
    work.changed += [flat.data, moments["first"], moments["second"]]
    work.add("poise_update", job, moving=moving)


def reports_by_kernel(work: Work, program: Any, state: Any, now: Recipe) -> dict[str, Tensor] | None:
    """Put on the list what the objective's parts report; return the terms (M,) to come, or None if there is no kernel.

    That is so of parts that act by soft threshold: the term is for the log, and has no gradient. `now` is the recipe
    with this step's dials.
    """
    parts = [part for part in now.stage("objective") if isinstance(part, L1) and not part.subgradient]
    if len(parts) < len(now.stage("objective")) or not available() or not is_plain(state.flat.data):
        return None
    terms = torch.empty(len(parts), *work.shape)
    for part, term in zip(parts, terms, strict=True):
        key = ("report", part.name)
        if key not in program.found:
            program.found[key] = _segments(program, state, {"update": part})
        segments = program.found[key]
        job = kernels.Report(
            parameters=state.flat.data.shape[1], segments_count=len(segments), segments=ctypes.addressof(segments),
            params=work.hold(state.flat.data), weight=work.dial(part.weight), terms=term.data_ptr(),
        )  # fmt: skip
        work.held += [segments, terms]
        work.add("poise_report", job, moving={"terms": 4 * work.members})
    return {part.name: term for part, term in zip(parts, terms, strict=True)}


def _shadow(program: Any, state: Any, part: str) -> Tensor:
    """Return the average's memory as one tensor (M, P); the first time, it is moved into one."""
    memory = state.memory[part]
    known: tuple[Any, Tensor] | None = program.found.get("shadow")
    if known is not None and known[0] is memory:
        return known[1]
    own = {name: memory[f"shadow/{name}"] for name in state.flat.shapes}
    found: Tensor | None = state.flat.whole(own)
    if found is None:
        found = torch.cat([tensor.reshape(len(tensor), -1) for tensor in own.values()], dim=1)
        views = state.flat.named(found)
        memory = memory | {f"shadow/{name}": view for name, view in views.items()}
        state.memory = state.memory | {part: memory}
    program.found["shadow"] = (memory, found)
    return found


def _segments(program: Any, state: Any, parts: dict[str, Any]) -> Any:
    """Return the parameters in order, each with whether decay and threshold select it."""
    chosen = {
        stage: set(select(program.roles, parts[stage].where)) if stage in parts else set()
        for stage in ("shrink", "update")
    }
    found, start = [], 0
    for name, shape in state.flat.shapes.items():
        past = start + math.prod(shape)
        found.append(kernels.Segment(start, past, name in chosen["shrink"], name in chosen["update"]))
        start = past
    return (kernels.Segment * len(found))(*found)
