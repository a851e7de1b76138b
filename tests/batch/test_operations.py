"""The list of operations: each row gets its own, as the edit alone does it, and the sign turns it round."""

import math

import pytest
import torch
from torch import Tensor

from poise.batch import colors
from poise.batch.operations import CORRUPTION_FREE, OPERATIONS, STANDARD, WIDE, Choice, Ranges, choose, operate
from poise.batch.resampling import affine
from poise.core.rng import Rng, key
from poise.testing.oracles import chi_square

pytestmark = pytest.mark.usefixtures("seeded")


def alone(name: str, pixels: Tensor, signed: float, ranges: Ranges) -> Tensor:
    """One operation on one image (1, C, H, W), by a branch."""
    height, width = pixels.shape[-2:]
    size = abs(signed)

    def moved(a: float, b: float, c: float, d: float, e: float, f: float) -> Tensor:
        maps = torch.tensor([[[a, b, c], [d, e, f]]], dtype=pixels.dtype)
        return affine(pixels, maps, "zero")

    def strength(value: float) -> Tensor:
        return torch.tensor([value], dtype=pixels.dtype)

    angle = math.radians(signed * ranges.rotation)
    by_name = {
        "identity": lambda: pixels,
        "shear_x": lambda: moved(1, -signed * ranges.shear, 0, 0, 1, 0),
        "shear_y": lambda: moved(1, 0, 0, -signed * ranges.shear, 1, 0),
        "translate_x": lambda: moved(1, 0, -signed * ranges.translation * width, 0, 1, 0),
        "translate_y": lambda: moved(1, 0, 0, 0, 1, -signed * ranges.translation * height),
        "rotate": lambda: moved(math.cos(angle), -math.sin(angle), 0, math.sin(angle), math.cos(angle), 0),
        "brightness": lambda: colors.brightness(pixels, strength(1 + ranges.factor * signed)),
        "saturation": lambda: colors.saturation(pixels, strength(1 + ranges.factor * signed)),
        "contrast": lambda: colors.contrast(pixels, strength(1 + ranges.factor * signed)),
        "sharpness": lambda: colors.sharpness(pixels, strength(1 + ranges.factor * signed)),
        "posterize": lambda: colors.posterize(pixels, strength(round(ranges.bits * size))),
        "solarize": lambda: colors.solarize(pixels, strength((1 - size) * 256 / 255)),
        "autocontrast": lambda: colors.autocontrast(pixels),
        "equalize": lambda: colors.equalize(pixels),
    }
    return by_name[name]()


@pytest.mark.parametrize("ranges", [STANDARD, WIDE])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_of_all_operations_equals_each_alone(ranges: Ranges, channels: int) -> None:
    magnitudes = [-0.9, -0.4, 0.0, 0.3, 0.9]
    rows = [(name, m) for name in OPERATIONS for m in magnitudes]
    pixels = torch.rand(len(rows), channels, 21, 16, dtype=torch.float64)
    choice = Choice(
        torch.tensor([OPERATIONS.index(name) for name, _ in rows]),
        torch.tensor([m for _, m in rows], dtype=torch.float64),
    )
    found = operate(pixels, choice, ranges)
    for row, (name, m) in enumerate(rows):
        expected = alone(name, pixels[row : row + 1], m, ranges)[0]
        torch.testing.assert_close(found[row], expected, rtol=0, atol=1e-12, msg=f"{name} at {m}")


def test_without_magnitude_only_autocontrast_and_equalize_act() -> None:
    pixels = 0.2 + 0.5 * torch.rand(len(OPERATIONS), 3, 20, 20)
    found = operate(pixels, Choice(torch.arange(len(OPERATIONS)), torch.zeros(len(OPERATIONS))), WIDE)
    acting = {name for row, name in enumerate(OPERATIONS) if not torch.equal(found[row], pixels[row])}
    assert acting == {"autocontrast", "equalize"}


def test_geometry_of_opposite_sign_is_the_mirror_image() -> None:
    pixels = torch.rand(1, 3, 12, 12, dtype=torch.float64)
    for name in ("shear_x", "translate_x", "rotate"):
        number = torch.tensor([OPERATIONS.index(name)])
        right = operate(pixels, Choice(number, torch.tensor([0.6])), STANDARD)
        left = operate(pixels.flip(-1), Choice(number, torch.tensor([-0.6])), STANDARD).flip(-1)
        torch.testing.assert_close(right, left)


def test_choices_are_uniform_over_the_allowed_with_a_random_sign_and_a_wrong_law_is_caught() -> None:
    rows = 90_000
    choice = choose(Rng(key(0)), (rows,), CORRUPTION_FREE, torch.full((rows,), 0.5))
    counts = torch.bincount(choice.operation, minlength=len(OPERATIONS))
    assert {int(k) for k in counts.nonzero()} == set(CORRUPTION_FREE)
    each = [int(counts[k]) for k in CORRUPTION_FREE]
    assert chi_square(each, [rows / 9] * 9) > 1e-6
    assert chi_square([int(counts[0]), *each], [rows / 10] * 10) < 1e-6  # as if the identity were allowed
    positive = int((choice.magnitude > 0).sum())
    assert chi_square([positive, rows - positive], [rows / 2, rows / 2]) > 1e-6
    assert set(choice.magnitude.abs().tolist()) == {0.5}
