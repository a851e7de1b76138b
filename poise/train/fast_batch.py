"""The batch stage by a kernel: rows gathered, mixed in pairs and smoothed in one pass, where no other part is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from poise.batch import LabelSmoothing, Mixup
from poise.core.context import Batch
from poise.core.recipe import Recipe
from poise.core.rng import stream
from poise.kernels import available
from poise.kernels import members as kernels
from poise.train.rows import Picked
from poise.train.work import Work, is_plain

__all__ = ["batch_by_kernel"]


def batch_by_kernel(work: Work, program: Any, state: Any, now: Recipe, picked: Picked) -> Batch | None:
    """Put the gathering and editing of each member's rows on the list; return the batch that it will fill, or None.

    `now` is the recipe with this step's dials.
    """
    data, index = picked.data, picked.index
    parts = program.recipe.stage("batch")
    if not available() or [type(part) for part in parts] not in (
        [],
        [Mixup],
        [LabelSmoothing],
        [Mixup, LabelSmoothing],
    ):
        return None
    given = [data.inputs, data.targets, *([] if data.weights is None else [data.weights])]
    if not is_plain(*given) or data.inputs.dim() != 2 or data.targets.dim() > 2 or index.device.type != "cpu":
        return None
    smooths = any(type(part) is LabelSmoothing for part in parts)
    if smooths and (program.blocks is not None or isinstance(program.classes, Mapping) or data.targets.dim() == 1):
        return None
    members, rows = index.shape
    weights = None if data.weights is None else torch.empty(members, rows)
    batch = Batch(
        torch.empty(members, rows, data.inputs.shape[1]), torch.empty(members, rows, *data.targets.shape[1:]), weights
    )
    index = index if index.stride(1) == 1 else index.contiguous()
    work.held.append(index)
    job = kernels.Batch(
        rows=rows, columns=data.inputs.shape[1], targets_width=1 if data.targets.dim() == 1 else data.targets.shape[1],
        index_stride=index.stride(0), index=index.data_ptr(), keys=work.hold(state.keys), inputs=work.hold(data.inputs),
        targets=work.hold(data.targets), own_inputs=batch.inputs.data_ptr(), own_targets=batch.targets.data_ptr(),
    )  # fmt: skip
    if weights is not None and data.weights is not None:
        job.weights, job.own_weights = work.hold(data.weights), weights.data_ptr()
    for part in now.stage("batch"):
        if type(part) is Mixup:
            job.alpha, job.share, job.majority = work.dial(part.alpha), work.dial(part.share), part.majority
            for field, label in (("lambda_u", "lambda/u"), ("lambda_v", "lambda/v"), ("mixed", "share"),
                                 ("partner", "partner")):  # fmt: skip
                setattr(job, field, stream(f"/{part.name}/{label}"))
        elif type(part) is LabelSmoothing and program.classes is not None:
            job.amount = work.dial(part.amount)
    work.held.append(batch)
    work.add("poise_rows", job, 11 * rows + 128)
    return batch
