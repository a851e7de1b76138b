"""The fourteen operations that augmentation policies choose from, each row its own, without a loop over rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from poise.batch import colors
from poise.batch.images import rows_where, run_programs
from poise.batch.resampling import affine, identity_maps
from poise.core.placed import placed
from poise.core.rng import Rng
from poise.kernels import images as kernels

__all__ = ["CORRUPTION_FREE", "OPERATIONS", "STANDARD", "WIDE", "Choice", "Ranges", "choose", "operate", "program"]

OPERATIONS = (
    "identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "saturation", "contrast",
    "sharpness", "posterize", "solarize", "autocontrast", "equalize",
)  # fmt: skip
"""The list of RandAugment and TrivialAugment; a choice is a number in it."""

CORRUPTION_FREE = tuple(
    OPERATIONS.index(name)
    for name in (
        "autocontrast", "equalize", "posterize", "rotate", "solarize", "shear_x", "shear_y", "translate_x",
        "translate_y",
    )
)  # fmt: skip
"""AugMix's list: without the edits that the benchmarks of corrupted images test."""


class Ranges(NamedTuple):
    """What magnitude 1 means: slope, share of the side, degrees, change of a factor from 1, bits cleared."""

    shear: float
    translation: float
    rotation: float
    factor: float
    bits: float


STANDARD = Ranges(shear=0.3, translation=150 / 331, rotation=30.0, factor=0.9, bits=4.0)
"""Of AutoAugment (Cubuk et al. 2019), whose images have 331 pixels a side, and of RandAugment."""

WIDE = Ranges(shear=0.99, translation=1.0, rotation=135.0, factor=0.99, bits=6.0)
"""Of TrivialAugment's wide space, whose translation is 32 pixels: here a whole side."""


class Choice(NamedTuple):
    """What is done to each row: an operation's number and its signed magnitude in -1 .. 1, both (B, ...)."""

    operation: Tensor
    magnitude: Tensor


def choose(rng: Rng, shape: tuple[int, ...], allowed: tuple[int, ...], magnitude: Tensor) -> Choice:
    """Return an operation out of `allowed`, each as likely, and the magnitude under a random sign."""
    place = (rng.uniform("operation", shape, torch.float64) * len(allowed)).floor().to(torch.int64)
    sign = torch.where(rng.uniform("sign", shape) < 0.5, -1.0, 1.0)
    return Choice(placed(allowed, place)[place], sign * magnitude)


def operate(pixels: Tensor, choice: Choice, ranges: Ranges) -> Tensor:
    """Return pixels in [0, 1] after each row's operation.

    The sign turns geometry round, and a factor 1 + m ranges.factor below or above 1; the others go by |m|. Geometry is
    about the centre, bilinear, and shows black from beyond the border. Shapes: pixels (B, C, H, W), choice (B,) each.

    >>> inverted = Choice(torch.tensor([OPERATIONS.index("solarize")]), torch.tensor([-1.0]))
    >>> operate(torch.tensor([[[[0.25, 1.0]]]]), inverted, STANDARD)
    tensor([[[[0.7500, 0.0000]]]])
    """
    if kernels.serves(pixels):
        return run_programs(pixels, [(program(pixels, choice, ranges)[:, None], "")])
    number, signed = choice.operation, choice.magnitude.to(pixels.dtype)
    size = signed.abs()
    factor = 1 + ranges.factor * signed
    pixels = affine(pixels, _maps(number, signed, pixels, ranges), "zero")
    edited = {
        "brightness": colors.brightness(pixels, factor),
        "saturation": colors.saturation(pixels, factor),
        "contrast": colors.contrast(pixels, factor),
        "sharpness": colors.sharpness(pixels, factor),
        "posterize": colors.posterize(pixels, ranges.bits * size),
        # From above white, where nothing is inverted, to 0, where all is.
        "solarize": colors.solarize(pixels, (1 - size) * (256 / 255)),
        "autocontrast": colors.autocontrast(pixels),
        "equalize": colors.equalize(pixels),
    }
    result = pixels
    for name, after in edited.items():
        result = rows_where(number == OPERATIONS.index(name), after, result)
    return result


_STEPS = ("nothing", *["affine"] * 5, *["color"] * 3, "sharpen", "posterize", "solarize", "autocontrast", "equalize")
_DIGITS = {"brightness": 1.0, "contrast": 2.0, "saturation": 3.0}  # of the step "color"


def program(images: Tensor, choice: Choice, ranges: Ranges) -> Tensor:
    """Return what `operate` does as one step of `poise.kernels.images` for each row (B, 8)."""
    number, signed = choice.operation, choice.magnitude.to(torch.float32)
    size, factor = signed.abs(), 1 + ranges.factor * signed

    def table(values: Sequence[float]) -> Tensor:
        return placed(values, number, torch.float32)[number]

    maps = _maps(number, signed, images, ranges).flatten(1)
    first = {
        "affine": maps[:, 0],
        "color": factor,
        "sharpen": factor,
        "posterize": ranges.bits * size,
        "solarize": (1 - size) * (256 / 255),
    }
    numbers = [torch.zeros_like(signed)] * 7
    for name, value in first.items():
        numbers[0] = torch.where(table([float(one == name) for one in _STEPS]) > 0, value, numbers[0])
    moves, colours = (table([float(one == name) for one in _STEPS]) > 0 for name in ("affine", "color"))
    digit = table([_DIGITS.get(name, 0.0) for name in OPERATIONS])
    rest = [factor, factor, torch.zeros_like(signed), digit, torch.zeros_like(signed)]
    for k, value in enumerate(rest, 1):
        numbers[k] = torch.where(moves, maps[:, k], torch.where(colours, value, 0.0))
    kinds = table([kernels.OPERATIONS[name] for name in _STEPS])
    return torch.stack([kinds, *numbers], -1)


def _maps(number: Tensor, signed: Tensor, pixels: Tensor, ranges: Ranges) -> Tensor:
    """Return each row's map from the result to the image: the identity where its operation moves nothing."""
    height, width = pixels.shape[-2:]
    rest = identity_maps(signed.shape[0], signed)

    def of(name: str, value: Tensor) -> Tensor:
        return torch.where(number == OPERATIONS.index(name), value, 0.0)

    angle = of("rotate", signed * (ranges.rotation * math.pi / 180))
    sine, cosine = angle.sin(), angle.cos()
    across, down = (of(f"translate_{axis}", signed * ranges.translation) for axis in "xy")
    slope_x, slope_y = (of(f"shear_{axis}", signed * ranges.shear) for axis in "xy")
    top = torch.stack([cosine - rest[:, 0, 0], -sine - slope_x, -across * width], -1)
    bottom = torch.stack([sine - slope_y, cosine - rest[:, 1, 1], -down * height], -1)
    return rest + torch.stack([top, bottom], -2)
