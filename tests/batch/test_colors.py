"""Edits of pixels against Pillow on bytes, colorsys, and one another; bounds are in levels of a byte."""

import colorsys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from poise.batch import colors

pytestmark = pytest.mark.usefixtures("seeded")

Edit = Callable[[Image.Image], Image.Image]


def photographs(rows: int = 4, height: int = 33, width: int = 40, channels: int = 3) -> Tensor:
    """Bytes with the whole range of levels, unevenly used, and a different cast of each channel."""
    smooth = (
        torch.rand(rows, channels, height, width).square() * torch.tensor([200.0, 255.0, 150.0])[:channels, None, None]
    )
    return smooth.to(torch.uint8)


def pillow(images: Tensor, edit: Edit) -> Tensor:
    """Pillow's edit of each image, as levels in float64."""
    found = []
    for image in images:
        grey = image.shape[0] == 1
        array = image[0].numpy() if grey else image.permute(1, 2, 0).numpy()
        after = torch.from_numpy(np.array(edit(Image.fromarray(array)))).double()
        found.append(after[None] if grey else after.permute(2, 0, 1))
    return torch.stack(found)


def levels(pixels: Tensor) -> Tensor:
    return pixels * 255


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("factor", [0.0, 0.3, 1.0, 1.8])
@pytest.mark.parametrize(
    ("ours", "theirs", "bound"),
    [
        (colors.brightness, ImageEnhance.Brightness, 1.0),
        (colors.contrast, ImageEnhance.Contrast, 1.5),  # Pillow rounds the mean to a level
        (colors.saturation, ImageEnhance.Color, 1.5),  # and the luma
        (colors.sharpness, ImageEnhance.Sharpness, 2.0),  # and the smoothed image, twice
    ],
)
def test_factors_are_pillows_to_rounding(ours, theirs, bound: float, factor: float, channels: int) -> None:  # type: ignore[no-untyped-def]
    images = photographs(channels=channels)
    expected = pillow(images, lambda image: theirs(image).enhance(factor))
    found = levels(ours(images.double() / 255, torch.full((4,), factor)))
    assert float((found - expected).abs().max()) <= bound


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [0, 1, 4, 7])
def test_posterize_is_pillows(bits: int, channels: int) -> None:
    images = photographs(channels=channels)
    expected = pillow(images, lambda image: ImageOps.posterize(image, 8 - bits))
    found = levels(colors.posterize(images.double() / 255, torch.full((4,), float(bits))))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("threshold", [0, 1, 128, 255, 256])
def test_solarize_is_pillows(threshold: int) -> None:
    images = photographs()
    expected = pillow(images, lambda image: ImageOps.solarize(image, threshold))
    for dtype, bound in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        found = levels(colors.solarize(images.to(dtype) / 255, torch.full((4,), threshold / 255)))
        assert float((found - expected).abs().max()) < bound


@pytest.mark.parametrize("channels", [1, 3])
def test_autocontrast_is_pillows_to_rounding(channels: int) -> None:
    images = photographs(channels=channels) // 2 + 30
    expected = pillow(images, ImageOps.autocontrast)
    assert float((levels(colors.autocontrast(images.double() / 255)) - expected).abs().max()) <= 1.0


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(33, 40), (9, 9)])  # few pixels: Pillow then leaves the image alone
def test_equalize_is_pillows(channels: int, size: tuple[int, int]) -> None:
    images = photographs(8, *size, channels)
    images[0] = 7  # one level only
    images[1, :, :2] = 250
    expected = pillow(images, ImageOps.equalize)
    torch.testing.assert_close(levels(colors.equalize(images.double() / 255)), expected, rtol=0, atol=1e-9)
    single = colors.equalize(images.float() / 255)
    torch.testing.assert_close(levels(single).double(), expected, rtol=0, atol=1e-4)


def test_hsv_is_colorsys_for_colours_and_greys() -> None:
    steps = torch.tensor([0.0, 0.2, 0.5, 1.0], dtype=torch.float64)
    pixels = torch.cartesian_prod(steps, steps, steps).T.reshape(1, 3, 8, 8)
    found = colors.to_hsv(pixels).reshape(3, -1).T.tolist()
    expected = [colorsys.rgb_to_hsv(*pixel) for pixel in pixels.reshape(3, -1).T.tolist()]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-12)
    torch.testing.assert_close(colors.from_hsv(colors.to_hsv(pixels)), pixels)


def test_hue_moves_as_colorsys_says_and_leaves_greys() -> None:
    pixels = torch.rand(3, 3, 5, 5, dtype=torch.float64)
    pixels[:, :, 0] = 0.4
    turns = torch.tensor([0.3, -0.45, 0.0], dtype=torch.float64)
    found = colors.hue(pixels, turns)
    for row in range(3):
        for i in range(5):
            for j in range(5):
                h, s, v = colorsys.rgb_to_hsv(*pixels[row, :, i, j].tolist())
                expected = colorsys.hsv_to_rgb((h + float(turns[row])) % 1.0, s, v)
                assert found[row, :, i, j].tolist() == pytest.approx(expected, abs=1e-12)
    assert torch.equal(found[2], pixels[2])


def test_grey_images_have_no_saturation_and_no_hue() -> None:
    grey = torch.rand(2, 1, 4, 4)
    assert torch.equal(colors.saturation(grey, torch.full((2,), 0.3)), grey)
    assert torch.equal(colors.hue(grey, torch.full((2,), 0.3)), grey)


@pytest.mark.parametrize(
    ("edit", "neutral"),
    [
        (colors.brightness, 1.0), (colors.contrast, 1.0), (colors.saturation, 1.0), (colors.sharpness, 1.0),
        (colors.hue, 0.0), (colors.posterize, 0.0), (colors.solarize, 256 / 255),
    ],
)  # fmt: skip
def test_neutral_strengths_are_the_identity_to_the_bit(edit, neutral: float) -> None:  # type: ignore[no-untyped-def]
    pixels = torch.rand(5, 3, 7, 6)
    pixels[0, :, 0, 0] = 1.0
    assert torch.equal(edit(pixels, torch.full((5,), neutral)), pixels)
