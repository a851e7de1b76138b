"""Single edits of pixels: Pillow's on bytes, SciPy-like loops, and what share of rows is edited."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from poise import Blur, Equalize, Grayscale, GridMask, Posterize, Sharpness, Solarize
from poise.core.context import Batch, Context
from poise.core.errors import ArgumentError
from poise.core.regularizer import Regularizer
from poise.core.rng import Rng, key
from poise.kernels import native
from poise.testing.oracles import chi_square, kolmogorov

pytestmark = pytest.mark.usefixtures("seeded")
CTX = Context(0, Rng(key(0)))
ALL = torch.ones(6, dtype=torch.bool)


@pytest.fixture(params=["native", "eager"], autouse=True)
def tier(request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    with native(request.param == "native"):
        yield


def pictures(dtype: torch.dtype = torch.uint8) -> Tensor:
    smooth = torch.nn.functional.interpolate(torch.rand(6, 3, 4, 5), (19, 23), mode="bilinear")
    levels = (smooth * 255).round().to(torch.uint8)
    return levels if dtype == torch.uint8 else levels.to(dtype) / 255


def after(part: Regularizer, images: Tensor, draw: Tensor) -> Tensor:
    edited: Tensor = part.apply(Batch(images, torch.ones(len(images))), draw, CTX).inputs  # type: ignore[attr-defined]
    return edited


def pillow(images: Tensor, edit) -> Tensor:  # type: ignore[no-untyped-def]
    made = [np.asarray(edit(Image.fromarray(one.permute(1, 2, 0).numpy()))) for one in images]
    return torch.stack([torch.from_numpy(one.copy()).reshape(19, 23, -1).permute(2, 0, 1) for one in made])


@pytest.mark.parametrize(
    ("part", "edit", "levels"),
    [
        (Solarize(threshold=0.5), lambda image: ImageOps.solarize(image, 128), 0),
        (Solarize(threshold=0.25), lambda image: ImageOps.solarize(image, 64), 0),
        (Posterize(bits=3.0), lambda image: ImageOps.posterize(image, 5), 0),
        (Equalize(), ImageOps.equalize, 0),
        (Grayscale(), lambda image: ImageOps.grayscale(image).convert("RGB"), 1),
    ],
    ids=["solarize 128", "solarize 64", "posterize", "equalize", "grayscale"],
)
def test_bytes_are_edited_as_pillow_does(part: Regularizer, edit, levels: int) -> None:  # type: ignore[no-untyped-def]
    images = pictures()
    expected = pillow(images, edit)
    found = after(part, images, ALL)
    assert found.dtype == torch.uint8
    assert int((found.int() - expected.int()).abs().max()) <= levels
    floats = after(part, images.float() / 255, ALL)
    assert float((floats * 255 - expected).abs().max()) <= levels + 1e-3


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.8])
def test_sharpness_is_pillows_to_a_level(factor: float) -> None:
    images = pictures()
    expected = pillow(images, lambda image: ImageEnhance.Sharpness(image).enhance(factor))
    found = after(Sharpness(), images, torch.full((6,), factor))
    assert int((found.int() - expected.int()).abs().max()) <= 2  # Pillow rounds the smoothed image first


def test_blur_is_the_sum_over_the_window_with_the_border_repeated() -> None:
    images, width, reach = pictures(torch.float64), torch.tensor([0.0, 0.3, 0.8, 1.0, 1.7, 2.5]), 3
    found = after(Blur(reach=reach), images, width)
    places = np.arange(-reach, reach + 1)
    for row, deviation in enumerate(width.tolist()):
        weights = np.exp(-0.5 * (places / deviation) ** 2) if deviation else (places == 0).astype(float)
        wide = np.pad(images[row].numpy(), ((0, 0), (reach, reach), (reach, reach)), mode="edge")
        window = np.lib.stride_tricks.sliding_window_view(wide, (2 * reach + 1, 2 * reach + 1), axis=(1, 2))
        expected = (window * np.outer(weights, weights) / weights.sum() ** 2).sum((-1, -2))
        np.testing.assert_allclose(found[row].numpy(), expected, atol=1e-6)
    assert torch.equal(found[0], images[0])


def test_grid_mask_is_the_slow_loop_to_the_bit() -> None:
    images = pictures()
    part = GridMask(0.9, 0.6, (0.2, 0.7))
    draw = part.draw(CTX.rng, Batch(images, torch.ones(6)), CTX)
    found = after(part, images, draw)
    for row, (period, side, down, across) in enumerate(draw.tolist()):
        expected = images[row].clone()
        for i in range(19):
            for j in range(23):
                if (i + down) % period < side and (j + across) % period < side:
                    expected[:, i, j] = 0
        assert torch.equal(found[row], expected)


def test_the_law_of_the_grid_and_a_wrong_one_is_caught() -> None:
    rows = 20_000
    batch = Batch(torch.zeros(rows, 1, 20, 30), torch.zeros(rows))
    period, side, down, across = GridMask(0.4, 0.5, (0.2, 0.5)).draw(CTX.rng, batch, CTX).unbind(1)
    counts = torch.bincount(period - 4, minlength=7).tolist()  # 4 .. 10 pixels of the shorter side
    assert len(counts) == 7
    assert chi_square(counts, [rows / 7] * 7) > 1e-6
    hit = int((side > 0).sum())
    assert chi_square([hit, rows - hit], [0.4 * rows, 0.6 * rows]) > 1e-6
    assert chi_square([hit, rows - hit], [0.43 * rows, 0.57 * rows]) < 1e-6
    eights = period == 8
    for offset in (down, across):
        found = torch.bincount(offset[eights], minlength=8).tolist()
        assert chi_square(found, [int(eights.sum()) / 8] * 8) > 1e-6
    assert int(side[eights].max()) == 4


@pytest.mark.parametrize(
    "part", [Solarize(0.3), Posterize(0.3), Equalize(0.3), Grayscale(0.3)], ids=lambda part: part.name
)
def test_share_is_the_rate_of_rows(part: Regularizer) -> None:
    rows = 30_000
    draw = part.draw(CTX.rng, Batch(torch.zeros(rows, 1, 1, 1), torch.zeros(rows)), CTX)  # type: ignore[attr-defined]
    hit = int(draw.sum())
    assert chi_square([hit, rows - hit], [0.3 * rows, 0.7 * rows]) > 1e-6
    assert chi_square([hit, rows - hit], [0.32 * rows, 0.68 * rows]) < 1e-6


def test_factors_and_widths_are_uniform_and_a_wrong_law_is_caught() -> None:
    rows = 5000
    batch = Batch(torch.zeros(rows, 1, 1, 1), torch.zeros(rows))
    factor = Sharpness(0.8).draw(CTX.rng, batch, CTX).double()
    assert kolmogorov((factor - 0.2) / 1.6) > 1e-6
    assert kolmogorov(factor.clamp(max=1.8) / 1.8) < 1e-6
    width = Blur(0.5, 2.0).draw(CTX.rng, batch, CTX).double()
    assert kolmogorov(width[width > 0] / 2) > 1e-6
    assert kolmogorov((width[width > 0] / 2) ** 2) < 1e-6


@pytest.mark.parametrize("reach", [0, 65, 1.5, True])
def test_another_reach_is_refused(reach: object) -> None:
    with pytest.raises(ArgumentError, match=r"`Blur.reach` must be an int of 1 .. 64; got"):
        Blur(reach=reach)  # type: ignore[arg-type]


@pytest.mark.parametrize("period", [0.5, (0.5,), (0.6, 0.3), (0.0, 0.5), (0.5, 1.5), ("a", "b"), (True, 1.0)])
def test_another_period_is_refused(period: object) -> None:
    with pytest.raises(ArgumentError, match=r"`GridMask.period` must be two ascending numbers in \(0, 1\]; got"):
        GridMask(period=period)  # type: ignore[arg-type]
