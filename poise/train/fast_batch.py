"""The batch stage by a kernel: a table's rows gathered, and edited by the parts that it knows, member by member."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from poise.batch import CutMix, InputNoise, LabelSmoothing, Mixup, SwapNoise
from poise.batch.column_groups import column_groups
from poise.core.blocks import Blocks
from poise.core.context import Batch
from poise.core.recipe import Recipe
from poise.core.regularizer import Regularizer
from poise.core.rng import stream
from poise.kernels import available
from poise.kernels import members as kernels
from poise.train.rows import Picked
from poise.train.work import Work, is_plain

__all__ = ["batch_by_kernel"]

_DRAWS: dict[type[Regularizer], tuple[str, ...]] = {
    InputNoise: ("noise",),
    SwapNoise: ("swapped", "partner"),
    CutMix: ("columns/u", "columns/v", "share", "partner", "taken"),
    Mixup: ("lambda/u", "lambda/v", "share", "partner"),
    LabelSmoothing: (),
}  # the labels of each part's draws, in the order of rows.h


def batch_by_kernel(work: Work, program: Any, state: Any, now: Recipe, picked: Picked) -> Batch | None:
    """Put the gathering and editing of each member's rows on the list; return the batch that it will fill, or None.

    `now` is the recipe with this step's dials.
    """
    data, index = picked.data, picked.index
    parts = now.stage("batch")
    if not available() or not all(type(part) in _DRAWS for part in parts):
        return None
    given = [data.inputs, data.targets, *([] if data.weights is None else [data.weights])]
    if not is_plain(*given) or data.inputs.dim() != 2 or data.targets.dim() > 2 or index.device.type != "cpu":
        return None
    count = data.inputs.shape[1]
    if program.columns is not None and program.columns.shape != (count,):  # an error to be told by the part itself
        return None
    spans = _spans(program.blocks, program.classes, data.targets)
    if spans is None and any(type(part) is LabelSmoothing for part in parts):
        return None
    members, rows = len(index), index.shape[1] // work.steps
    weights = None if data.weights is None else work.room("weights", members, rows)
    inputs, targets = (work.room(name, members, rows, *own.shape[1:])
                       for name, own in (("inputs", data.inputs), ("targets", data.targets)))  # fmt: skip
    batch = Batch(inputs, targets, weights)
    index = index if index.stride(1) == 1 else index.contiguous()
    work.held.append(index)
    labels = 1 if data.targets.dim() == 1 else data.targets.shape[1]
    job = kernels.Batch(
        rows=rows, columns=count, targets_width=labels, index_stride=index.stride(0), index=index.data_ptr(),
        keys=work.keys(state.keys), inputs=work.hold(data.inputs), targets=work.hold(data.targets),
        own_inputs=batch.inputs.data_ptr(), own_targets=batch.targets.data_ptr(),
    )  # fmt: skip
    if weights is not None and data.weights is not None:
        job.weights, job.own_weights = work.hold(data.weights), weights.data_ptr()
    if parts:
        edits = (kernels.Edit * len(parts))(*[_edit(part, work) for part in parts])
        everywhere = any(type(part) is InputNoise and part.where == "all" for part in parts)
        columns = program.found.get(("columns", everywhere))
        if columns is None:
            columns = program.found["columns", everywhere] = _Columns(count, program.columns, everywhere)
        columns.given_to(job)
        own = (kernels.Span * max(1, len(spans or ())))(*(spans or ()))
        job.edits, job.edits_count = ctypes.addressof(edits), len(parts)
        job.spans, job.spans_count = ctypes.addressof(own), len(spans or ())
        work.held += [edits, columns, own]
    work.held.append(batch)
    scratch = 11 * rows + 128 + rows * (count + labels + 1)
    work.add("poise_rows", job, scratch, {"index": 8 * rows, "keys": 24 * members})
    return batch


def _edit(part: Any, work: Work) -> kernels.Edit:
    kind = type(part)
    names = [stream(f"/{part.name}/{label}") for label in _DRAWS[kind]]
    edit = kernels.Edit(streams=(ctypes.c_uint64 * 5)(*names))
    if kind is InputNoise:
        edit.kind, edit.dial = kernels.EDITS["input_noise"], work.dial(part.scale)
    elif kind is SwapNoise:
        edit.kind, edit.dial = kernels.EDITS["swap_noise"], work.dial(part.p)
    elif kind is LabelSmoothing:
        edit.kind, edit.dial = kernels.EDITS["label_smoothing"], work.dial(part.amount)
    else:
        edit.kind = kernels.EDITS["cut_mix" if kind is CutMix else "mixup"]
        edit.dial, edit.share = work.dial(part.alpha), work.dial(part.share)
        edit.majority = kind is Mixup and part.majority
    return edit


def _spans(blocks: Blocks | None, classes: Any, targets: Tensor) -> list[kernels.Span] | None:
    """Return where labels are smoothed, none for numbers; None where a kernel does not know the targets."""
    if blocks is not None:
        return [
            kernels.Span(first, past - first, blocks.width + task if blocks.presence else -1)
            for task, (first, past) in enumerate(blocks.spans)
            if blocks.classes[task]
        ]
    if classes is None:
        return []
    if isinstance(classes, Mapping) or targets.dim() != 2:
        return None
    return [kernels.Span(0, targets.shape[1], -1)]


class _Columns:
    """Which columns belong together, and which are noised, as the kernel has it."""

    def __init__(self, count: int, columns: Tensor | None, everywhere: bool) -> None:
        groups = column_groups(count, columns, torch.device("cpu"))
        self.order = torch.argsort(groups.of_column, stable=True)
        past = groups.size.cumsum(0)
        ids = torch.nonzero(groups.exists).flatten().tolist()
        own = [kernels.Group(name, int(past[name] - groups.size[name]), int(past[name])) for name in ids]
        self.groups = (kernels.Group * max(1, len(own)))(*own)
        self.count = len(own)
        noised = torch.ones(count, dtype=torch.bool) if everywhere or columns is None else groups.alone
        self.noised = torch.nonzero(noised).flatten()

    def given_to(self, job: kernels.Batch) -> None:
        """Let a job point here."""
        job.groups, job.groups_count = ctypes.addressof(self.groups), self.count
        job.order, job.noised, job.noised_count = self.order.data_ptr(), self.noised.data_ptr(), len(self.noised)
