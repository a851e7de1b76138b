"""Images edited by programs: each row of a batch has its own few steps, run one after the other while it is in cache.

A step is eight floats: which operation, and its numbers. `step` writes one for every row; programs are (B, K, 8).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from ctypes import addressof, c_float, c_int64, c_void_p
from functools import lru_cache
from itertools import groupby

import torch
from torch import Tensor
from torch._C import _functorch as functorch
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

from poise.kernels.library import available, function
from poise.kernels.threads import in_threads

__all__ = [
    "MOST_REACH",
    "OPERATIONS",
    "PADDINGS",
    "STEP",
    "cut_mixed",
    "edited",
    "mixed",
    "serves",
    "standardised",
    "step",
]

STEP = 8
"""Numbers of a step."""

MOST_REACH = 64
"""Pixels that a blur may look to either side."""
OPERATIONS = {
    name: float(number)
    for number, name in enumerate(
        ("nothing", "move", "affine", "blank", "color", "sharpen", "posterize", "solarize", "autocontrast", "equalize",
         "gray", "blur", "grid")
    )
}  # fmt: skip
"""The operations of images.h, and after their names the numbers that they take:

move: down, across, mirrored, upside down, padding. affine: the map's six entries, padding. blank: top, left, bottom,
right, value, whether the mean. color: brightness, contrast, saturation, hue, their order as digits 1 .. 4 of a number,
the first one last, whether linear. sharpen: factor. posterize: bits. solarize: threshold, in 0 .. 1. blur: deviation,
reach. grid: period, side, down, across.
"""

PADDINGS = ("zero", "edge", "reflect", "symmetric")
"""The names of poise.batch.resampling, where they are explained."""

_THREADED = 1 << 20  # values times steps below which a second thread costs more than it saves
_LIGHT = {
    OPERATIONS[name] for name in ("nothing", "move", "blank", "posterize", "solarize", "gray", "grid")
}  # about as fast as a copy, so that a second thread pays for 16 times as many values only
_HALF = (torch.float16, torch.bfloat16)

_edit = function("poise_images", *[c_void_p] * 2, *[c_int64] * 5, c_void_p, c_int64, c_void_p, c_void_p)
_mix = function("poise_mix", *[c_void_p] * 2, *[c_int64] * 4, *[c_void_p] * 2)
_cut_mix = function("poise_cut_mix", *[c_void_p] * 2, *[c_int64] * 6, *[c_void_p] * 2)
_floats = function("poise_floats", *[c_void_p] * 2, *[c_int64] * 3, *[c_void_p] * 2)


def serves(images: Tensor) -> bool:
    """Whether the kernels take these images: bytes or floats of up to 32 bits, on a CPU, without a gradient."""
    return (
        available()
        and images.device.type == "cpu"
        and images.dtype in (torch.uint8, torch.float32, *_HALF)
        and not torch.compiler.is_compiling()
        and not _wants_gradient(images)
    )


def _wants_gradient(images: Tensor) -> bool:
    while functorch.is_batchedtensor(images):  # whose own flag says nothing of what it holds
        images = functorch.get_unwrapped(images)
    return images.requires_grad or functorch.is_gradtrackingtensor(images)


def step(operation: str, rows: Tensor, *numbers: Tensor | float, where: Tensor | None = None) -> Tensor:
    """Return one step for each row, (B, 8), for all rows or `where` (B,) is True.

    Numbers are (B,), or one for all; `rows` is any tensor (B, ...).
    """
    kind = OPERATIONS[operation]
    chosen = kind if where is None else torch.where(where, kind, 0.0)
    filled = (chosen, *numbers, *[0.0] * (STEP - 1 - len(numbers)))
    parts, count = [], rows.shape[0]
    for drawn, group in groupby(filled, lambda given: isinstance(given, Tensor)):
        columns = tuple(group)
        if drawn:
            parts.append(torch.stack([column.to(torch.float32) for column in columns], -1))  # type: ignore[union-attr]
        else:
            parts.append(_constants(columns, rows.device).expand(count, -1))
    return torch.cat(parts, -1)


@lru_cache(maxsize=256)
def _constants(numbers: tuple[float, ...], device: torch.device) -> Tensor:
    with temporarily_clear_interpreter_stack():  # inside a transform, a new tensor would belong to it
        return torch.tensor(numbers, dtype=torch.float32, device=device)


def edited(images: Tensor, steps: Tensor, ends: list[float] | None = None) -> Tensor:
    """Return the images after their steps; half-precision floats are widened for it and rounded after.

    Shapes: images (..., B, C, H, W), steps (..., B, K, 8); leading dimensions broadcast. `ends` holds two
    numbers, which become the lowest and highest pixel of floats if these lie beyond them.
    """
    if images.dtype in _HALF:
        return edited(images.float(), steps, ends).to(images.dtype)
    if images.shape[:-3] != steps.shape[:-2]:
        leading = torch.broadcast_shapes(images.shape[:-3], steps.shape[:-2])
        images, steps = images.expand(*leading, *images.shape[-3:]), steps.expand(*leading, *steps.shape[-2:])
    source, steps = images.contiguous(), steps.contiguous()
    out = torch.empty_like(source)
    shape, count = tuple(source.shape[-3:]), steps.shape[-2]
    if source.numel() == 0 or count == 0:
        return out.copy_(source)
    size = math.prod(shape)
    rows, width = source.numel() // size, source.element_size()
    work_to_do = source.numel() * count
    if work_to_do >= _THREADED and _LIGHT.issuperset(steps[..., 0].flatten().tolist()):
        work_to_do //= 16
    share, threads = _shares(rows, work_to_do)
    places, numbers = iter(range(0, rows, share)), iter(range(threads))
    reports = [(c_int64(), (c_float * 2)(math.inf, -math.inf)) for _ in range(threads)]  # lack of memory, ends
    first, last, first_step = source.data_ptr(), out.data_ptr(), steps.data_ptr()

    def work() -> None:
        lacking, own_ends = reports[next(numbers)]
        for place in places:
            offset = place * size * width
            _edit(
                first + offset,
                last + offset,
                min(share, rows - place),
                *shape,
                source.dtype == torch.uint8,
                first_step + place * count * STEP * 4,
                count,
                None if ends is None else addressof(own_ends),
                addressof(lacking),
            )
            if lacking.value:
                raise MemoryError("no room for a second image")

    in_threads(work, threads)
    if ends is not None:
        for _, own_ends in reports:
            ends[0], ends[1] = min(ends[0], own_ends[0]), max(ends[1], own_ends[1])
    return out


def _shares(rows: int, work: int) -> tuple[int, int]:
    """Return how many rows are done at a time, and by how many threads."""
    threads = min(torch.get_num_threads(), rows) if work >= _THREADED else 1
    return -(-rows // (4 * threads)) if threads > 1 else rows, threads


def mixed(images: Tensor, partner: Tensor, taken: Tensor) -> Tensor:
    """Return (1 - taken) x_i + taken x_partner, bytes rounded.

    Shapes: images (..., B, C, H, W) float32 or uint8; partner, of the same member, and taken (..., B).
    """
    source, partner, weights = _members(images, partner, taken[..., None])
    out, weights = torch.empty_like(source), weights.to(torch.float32)
    size = source.shape[1:].numel()

    def work(first: int, last: int) -> None:
        bytes_given = source.dtype == torch.uint8
        _mix(source.data_ptr(), out.data_ptr(), first, last, size, bytes_given, partner.data_ptr(), weights.data_ptr())

    _by_rows(work, source)
    return out.reshape(*_leading(images, taken[..., None]), *images.shape[-4:])


def cut_mixed(images: Tensor, partner: Tensor, boxes: Tensor) -> Tensor:
    """Return the images with each row's box taken from its partner, bit for bit, for pixels of any type.

    Shapes: images (..., B, C, H, W), partner (..., B), boxes (..., B, 4) int64: top, left, bottom, right.
    """
    source, partner, own = _members(images, partner, boxes)
    out = torch.empty_like(source)

    def work(first: int, last: int) -> None:
        shape = (*source.shape[1:], source.element_size())
        _cut_mix(source.data_ptr(), out.data_ptr(), first, last, *shape, partner.data_ptr(), own.data_ptr())

    _by_rows(work, source)
    return out.reshape(*_leading(images, boxes), *images.shape[-4:])


def _leading(images: Tensor, numbers: Tensor) -> tuple[int, ...]:
    return tuple(torch.broadcast_shapes(images.shape[:-4], numbers.shape[:-2]))


def _members(images: Tensor, partner: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return all members' rows as one batch: the images, each row's partner among them, and its numbers."""
    leading, rows = _leading(images, numbers), images.shape[-4]
    first = torch.arange(torch.Size(leading).numel())[:, None] * rows
    return (
        images.expand(*leading, *images.shape[-4:]).reshape(-1, *images.shape[-3:]).contiguous(),
        (partner.expand(*leading, rows).reshape(-1, rows) + first).flatten(),
        numbers.expand(*leading, *numbers.shape[-2:]).reshape(-1, numbers.shape[-1]).contiguous(),
    )


def _by_rows(work: Callable[[int, int], None], source: Tensor) -> None:
    rows = len(source)
    share, threads = _shares(rows, source.numel())
    places = iter(range(0, rows, max(share, 1)))

    def some() -> None:
        for place in places:
            work(place, min(place + share, rows))

    in_threads(some, threads)


def standardised(images: Tensor, factor: Tensor, offset: Tensor) -> Tensor:
    """Return factor_c x + offset_c in float32. Shapes: images (B, C, H, W) uint8; (C,) float32 each."""
    source = images.contiguous()
    out = torch.empty(source.shape, dtype=torch.float32, device=source.device)
    rows, channels, plane = source.shape[0], source.shape[1], source.shape[2:].numel()
    _floats(source.data_ptr(), out.data_ptr(), rows, channels, plane, factor.data_ptr(), offset.data_ptr())
    return out
