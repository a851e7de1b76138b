"""Jobs that kernels do for each member in turn: see `members.h`."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from ctypes import c_float, c_int64, c_uint64, c_void_p

import torch

from poise.kernels.library import address, function
from poise.kernels.threads import in_threads

__all__ = ["EDITS", "Batch", "Edit", "Group", "Job", "Order", "Report", "Segment", "Span", "Update", "run_jobs"]

EDITS = {
    name: number for number, name in enumerate(("input_noise", "swap_noise", "cut_mix", "mixup", "label_smoothing"))
}
"""The parts of the batch stage that kernels know, as rows.h numbers them."""


class Job(ctypes.Structure):
    """`job` of members.h."""

    _fields_ = (("work", c_void_p), ("its", c_void_p))


class _Jobs(ctypes.Structure):
    """`jobs` of members.h."""

    _fields_ = (
        ("members", c_int64),
        ("count", c_int64),
        ("jobs", c_void_p),
        ("scratch", c_void_p),
        ("scratch_size", c_int64),
        ("next", c_int64),
        ("thread", c_int64),
    )


class Edit(ctypes.Structure):
    """`edit` of rows.h."""

    _fields_ = (
        *((name, c_int64) for name in ("kind", "majority")),
        *((name, c_void_p) for name in ("dial", "share")),
        ("streams", c_uint64 * 5),
    )


class Group(ctypes.Structure):
    """`group` of rows.h."""

    _fields_ = tuple((name, c_int64) for name in ("id", "first", "past"))


class Span(ctypes.Structure):
    """`span` of rows.h."""

    _fields_ = tuple((name, c_int64) for name in ("first", "width", "known"))


class Batch(ctypes.Structure):
    """`batch` of rows.h."""

    _fields_ = (
        *((name, c_int64) for name in ("rows", "columns", "targets_width", "index_stride")),
        *((name, c_void_p) for name in ("index", "keys", "inputs", "targets", "weights", "own_inputs", "own_targets",
                                        "own_weights", "edits", "groups", "order", "noised", "spans")),
        *((name, c_int64) for name in ("edits_count", "groups_count", "noised_count", "spans_count")),
    )  # fmt: skip


class Order(ctypes.Structure):
    """`order` of order.c."""

    _fields_ = (("count", c_int64), ("stream", c_uint64), ("keys", c_void_p), ("places", c_void_p))


class Segment(ctypes.Structure):
    """`segment` of update.h."""

    _fields_ = tuple((name, c_int64) for name in ("first", "past", "decays", "thresholds"))


class Update(ctypes.Structure):
    """`update` of update.h."""

    _fields_ = (
        ("parameters", c_int64),
        ("segments_count", c_int64),
        *((name, c_void_p) for name in ("segments", "params", "grads", "first", "second", "shadow", "limit", "decay",
                                        "threshold", "gain", "lr", "step", "corrected")),
        *((name, c_float) for name in ("new_first", "keep_second", "new_second", "eps")),
    )  # fmt: skip


class Report(ctypes.Structure):
    """`report` of update.h."""

    _fields_ = (
        *((name, c_int64) for name in ("parameters", "segments_count")),
        *((name, c_void_p) for name in ("segments", "params", "weight", "terms")),
    )


_members = function("poise_members", c_void_p)
_scratch = threading.local()  # two threads may each train a population


def run_jobs(todo: Sequence[tuple[str, ctypes.Structure]], members: int, scratch: int, threads: int) -> None:
    """Do the jobs (kernel, arguments) one after the other for each of the members, in so many threads.

    `scratch`: floats that the largest job works in.
    """
    threads = max(1, min(threads, members))
    size = -(-scratch // 1024) * 1024
    room: torch.Tensor | None = getattr(_scratch, "floats", None)
    if room is None or room.numel() < threads * size:
        room = _scratch.floats = torch.empty(threads * size)
    jobs = (Job * len(todo))(*[Job(address(name), ctypes.addressof(its)) for name, its in todo])
    everything = _Jobs(members, len(todo), ctypes.addressof(jobs), room.data_ptr(), size)
    place = ctypes.addressof(everything)
    in_threads(lambda: _members(place), threads)
