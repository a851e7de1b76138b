"""Images as inputs: what they must look like, and the bases of the parts that edit them.

An edit is written twice: in torch, for every device and type, and as a program of `poise.kernels.images`, for bytes
and floats of up to 32 bits on a CPU. Both give the same pixels: to the bit where pixels only move or are blanked, to
a level of a byte, or 1e-4 of the range of floats, where they are computed.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from poise.core.context import Batch, Context
from poise.core.errors import ArgumentError, shown
from poise.core.kinds import Transform
from poise.core.mapped import behind_vmap
from poise.core.placed import placed
from poise.kernels import images as kernels

__all__ = ["ImageTransform", "PixelTransform", "blanked", "images_of", "rows_where", "run_programs"]

_LEVELS = 255  # of a byte

_SLACK = 0.05  # rounding of standardised half-precision pixels; far below any other scale that images come in


def images_of(owner: str, batch: Batch) -> Tensor:
    """Return the inputs, checked to be images (B, C, H, W) of bytes or floats. Raises ArgumentError otherwise."""
    inputs = batch.inputs
    if not isinstance(inputs, Tensor) or inputs.dim() != 4:
        got = f"shape {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else type(inputs).__name__
        raise ArgumentError(
            f"`{owner}` must have images (rows, channels, height, width) as inputs; got {got}. "
            "Leave this part out for tables and sequences; grey images need a channel: images[:, None]."
        )
    if not inputs.is_floating_point() and inputs.dtype != torch.uint8:
        raise ArgumentError(
            f"`{owner}` must have images of bytes (uint8) or floats; got {inputs.dtype}. "
            "Convert them: images.to(torch.uint8) for levels of 0 to 255."
        )
    return inputs


def run_programs(images: Tensor, programs: Sequence[tuple[Tensor, str]]) -> Tensor:
    """Return the images (B, C, H, W) after some programs, each steps (B, K, 8), in one pass.

    Beside each stands the part whose arithmetic needs floats to be pixels in [0, 1], or "". Raises: ArgumentError if
    they are not.
    """
    owners = [owner for _, owner in programs]

    def run(images: Tensor, *steps: Tensor) -> tuple[Tensor]:
        if images.dtype == torch.uint8 or not any(owners):
            return (kernels.edited(images, steps[0] if len(steps) == 1 else torch.cat(steps, -2)),)
        if len(steps) > 1:
            ends = [math.inf, -math.inf]
            found = kernels.edited(images, torch.cat(steps, -2), ends)
            if _are_pixels(ends):
                return (found,)
        for own, owner in zip(steps, owners, strict=True):
            images = _one_program(images, own, owner)
        return (images,)

    return behind_vmap(run, images, *(steps for steps, _ in programs))[0] if programs else images


def _are_pixels(ends: list[float]) -> bool:
    return ends[0] >= 0 and ends[1] <= 1


def _one_program(images: Tensor, steps: Tensor, owner: str) -> Tensor:
    """Return floats after one part's steps: checked, and clamped where the part changes a row."""
    ends = [math.inf, -math.inf]
    found = kernels.edited(images, steps, ends if owner else None)
    if not owner or _are_pixels(ends):
        return found
    _check_range(owner, *ends)
    clamped = images.clamp(0, 1)
    found = kernels.edited(clamped, steps)
    changed = (found != clamped).flatten(-3).any(-1)[..., None, None, None]
    return torch.where(changed, found, images)


def _together(parts: Sequence[ImageTransform], batch: Batch, ctx: Context) -> Batch:
    from poise.batch.together import edit_together  # which knows the kinds of images' parts, and they this page

    return edit_together(parts, batch, ctx)


def rows_where(chosen: Tensor, edited: Tensor, images: Tensor) -> Tensor:
    """Return the edited images of the chosen rows (B,), and the others as they are."""
    rows = chosen.reshape(-1, *[1] * (images.dim() - 1))
    if images.dtype == edited.dtype == torch.uint8:  # bits: torch.where of bytes takes three to six times as long
        return images ^ ((images ^ edited) & _bits(rows))
    return torch.where(rows, edited, images)


def blanked(inside: Tensor, images: Tensor) -> Tensor:
    """Return the images with 0 where `inside`, which broadcasts to them.

    >>> blanked(torch.tensor([True, False]), torch.tensor([5, 7], dtype=torch.uint8))
    tensor([0, 7], dtype=torch.uint8)
    """
    if images.dtype == torch.uint8:
        return images & _bits(~inside)
    return torch.where(inside, images.new_zeros(()), images)


def _bits(chosen: Tensor) -> Tensor:
    return chosen.to(torch.uint8) * _LEVELS  # all eight, or none


@dataclass(frozen=True, kw_only=True)
class ImageTransform(Transform, abstract=True):
    """A random edit of images, drawn for each row anew; targets and row weights stay as they are.

    Where the batch has visits, a draw is a function of seed, member, sample id, epoch and part, so that the same sample
    gets the same picture in any batch. Else it is one of seed, member, step and the row's place in the batch: the same
    image elsewhere in a batch gets another draw. The size of the images stays, and so does their type. Neighbours of
    this kind in a recipe are done at once: `poise.batch.together`.
    """

    together = staticmethod(_together)

    @abstractmethod
    def edit(self, images: Tensor, draw: Any) -> Tensor:
        """Return the edited images (B, C, H, W); no randomness here."""

    def program(self, images: Tensor, draw: Any) -> Tensor | None:
        """Return the same edit as steps (B, K, 8) of `poise.kernels.images`, or None where only torch does it."""
        return None

    def steps(self, images: Tensor, draw: Any) -> Tensor | None:
        """Return `program` where the kernels take these images as they are, else None."""
        return self.program(images, draw) if kernels.serves(images) else None

    def check(self, images: Tensor) -> None:
        """Raise ArgumentError for images that this part cannot edit."""

    def pixels_of(self) -> str:
        """Return the name to give where floats are no pixels in [0, 1], or "" if they may be of any scale."""
        return ""

    def apply(self, batch: Batch, draw: Any, ctx: Context) -> Batch:
        images = images_of(type(self).__name__, batch)
        self.check(images)
        steps = self.steps(images, draw)
        edited = self.edit(images, draw) if steps is None else run_programs(images, [(steps, self.pixels_of())])
        return batch._replace(inputs=edited)


@dataclass(frozen=True, kw_only=True)
class PixelTransform(ImageTransform, abstract=True):
    """A random edit whose arithmetic needs pixels in [0, 1], or bytes: subclasses give `edit_pixels`.

    For images standardised as (pixel - mean) / deviation, `mean` and `deviation` hold a number for each channel, or
    one for all; they are undone before and done again after. Bytes are edited as level / 255 and rounded after. Rows
    that the edit leaves alone come back bit for bit.
    """

    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for field, above in (("mean", -math.inf), ("deviation", 0.0)):
            given = getattr(self, field)
            numbers = isinstance(given, (tuple, list)) and all(
                isinstance(number, (int, float)) and not isinstance(number, bool) and above < number < math.inf
                for number in given
            )
            # Lengths are compared at the second, when both are known to have one.
            if not numbers or (field == "deviation" and len(self.mean) != len(given)):
                raise ArgumentError(
                    f"`{type(self).__name__}.{field}` must be a tuple of finite numbers{' > 0' * (above == 0)}, as "
                    f"many as the other's; got {shown(given)}. Leave mean and deviation out for pixels in [0, 1]."
                )
            object.__setattr__(self, field, tuple(given))  # a file's list

    @abstractmethod
    def edit_pixels(self, pixels: Tensor, draw: Any) -> Tensor:
        """Return the edited pixels, in [0, 1] as given; bit for bit as given where the draw says nothing."""

    def steps(self, images: Tensor, draw: Any) -> Tensor | None:
        return None if self.mean else super().steps(images, draw)

    def pixels_of(self) -> str:
        return type(self).__name__

    def edit(self, images: Tensor, draw: Any) -> Tensor:
        pixels = self.pixels(images)
        if images.dtype != torch.uint8:
            # Levels of bytes as floats would otherwise be clamped to white without a word.
            behind_vmap(partial(_in_range, type(self).__name__), pixels)
        return self.edited(images, pixels, draw)

    def edited(self, images: Tensor, pixels: Tensor, draw: Any) -> Tensor:
        """Return the images of `pixels` after the edit, in the images' scale and type."""
        before = pixels.clamp(0, 1)
        after = self._after(before, draw)
        changed = (after != before).flatten(1).any(1)
        if images.dtype == torch.uint8:
            after = (after * _LEVELS).round()
        if self.mean:
            mean, deviation = self._scale(pixels)
            after = (after - mean) / deviation
        return rows_where(changed, after.to(images.dtype), images)

    def _after(self, pixels: Tensor, draw: Any) -> Tensor:
        steps = super().steps(pixels, draw)
        return self.edit_pixels(pixels, draw) if steps is None else run_programs(pixels, [(steps, "")])

    def check(self, images: Tensor) -> None:
        """Raise ArgumentError for other than 1 or 3 channels, or a mean and deviation that do not fit."""
        owner, channels = type(self).__name__, images.shape[1]
        if channels not in (1, 3):
            raise ArgumentError(
                f"`{owner}` must have grey or colour images, 1 or 3 channels; got {channels}, shape "
                f"{tuple(images.shape)}. Leave this part out for other channels; geometry takes any."
            )
        if len(self.mean) not in (0, 1, channels):
            raise ArgumentError(
                f"`{owner}.mean` must have one number for each of the {channels} channels; got {len(self.mean)}."
            )
        if self.mean and images.dtype == torch.uint8:
            raise ArgumentError(
                f"`{owner}.mean` must be left out for bytes, whose pixels are known; got {shown(self.mean)}."
            )

    def pixels(self, images: Tensor) -> Tensor:
        """Return the pixels in [0, 1], in float32 at least. Raises ArgumentError as `check`."""
        self.check(images)
        if images.dtype == torch.uint8:
            return images.float() / _LEVELS
        wide = images if images.dtype.itemsize > 2 else images.float()
        if not self.mean:
            return wide
        mean, deviation = self._scale(wide)
        return wide * deviation + mean

    def _scale(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        mean, deviation = (
            placed(given, pixels, pixels.dtype).reshape(-1, 1, 1) for given in (self.mean, self.deviation)
        )
        return mean, deviation


def _in_range(owner: str, pixels: Tensor) -> tuple[Tensor, ...]:
    """Raise ArgumentError for pixels outside [0, 1]; not on an accelerator, where a look would wait for the device."""
    if pixels.device.type == "cpu" and not torch.compiler.is_compiling() and pixels.numel():
        _check_range(owner, *(float(end) for end in pixels.aminmax()))
    return (pixels,)


def _check_range(owner: str, low: float, high: float) -> None:
    if low < -_SLACK or high > 1 + _SLACK:
        raise ArgumentError(
            f"`{owner}` must have pixels in [0, 1]; got {low:.4g} to {high:.4g}. Divide levels of bytes by 255 or give "
            "them as uint8; of standardised images give the mean and deviation: mean=(0.5,), deviation=(0.25,)."
        )
