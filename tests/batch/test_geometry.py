"""Geometry composed, against matrices multiplied and pixels interpolated in float64, one by one in Python."""

import math

import pytest
import torch
from torch import Tensor

from poise import Affine, Crop, Cutout, Flip, RandomResizedCrop, Recipe
from poise.batch.geometry import Composition, GeometricTransform, composed
from poise.batch.images import run_programs
from poise.core.context import Batch, Context
from poise.core.rng import Rng, key
from poise.kernels import available, native

pytestmark = pytest.mark.usefixtures("seeded")

TIERS = [
    pytest.param(False, id="torch"),
    pytest.param(True, id="native", marks=pytest.mark.skipif(not available(), reason="no native kernels")),
]
CHAINS = [
    (Flip(0.5, 0.5), Crop(3.0), Affine(40.0, 0.2, 0.3, 20.0)),
    (Flip(0.5, 0.5), RandomResizedCrop(0.3)),
    (Flip(), Crop(3.0, "reflect"), RandomResizedCrop(0.3), Affine(30.0, 0.1, 0.1, 5.0, "edge")),
    (Affine(25.0, 0.1, 0.1, 5.0, "reflect"), Affine(10.0, 0.0, 0.2, 0.0, "symmetric", name="second")),
    (Crop(2.0, "symmetric"), RandomResizedCrop(0.5)),
]


def drawn(parts: tuple[GeometricTransform, ...], images: Tensor, seed: int = 3) -> Composition:
    batch, ctx = Batch(images, torch.zeros(len(images))), Context(0, Rng(key(seed)))
    draws = [part.draw(ctx.within(part.name).rng, batch, ctx.within(part.name)) for part in parts]
    return Composition(parts, draws)


def some(dtype: torch.dtype, channels: int = 3, rows: int = 12) -> Tensor:
    smooth = torch.rand(rows, channels, 5, 6)
    images = torch.nn.functional.interpolate(smooth, (15, 22), mode="bilinear")
    return (images * 255).round().to(torch.uint8) if dtype == torch.uint8 else images.to(dtype)


def folded(place: float, size: int, padding: str) -> float:
    """A real place brought into the image."""
    if padding == "edge":
        return min(max(place, 0.0), size - 1.0)
    low, span = (0.0, size - 1.0) if padding == "reflect" else (-0.5, float(size))
    turns, rest = divmod(abs(place - low), span)
    inside = (span - rest if int(turns) % 2 else rest) + low
    return min(max(inside, 0.0), size - 1.0)


def read(image: Tensor, x: float, y: float, padding: str) -> Tensor:
    """The pixel (C,) of an image (C, H, W) at a real place, bilinear, from the four around it."""
    height, width = image.shape[-2:]
    if padding != "zero":
        x, y = folded(x, width, padding), folded(y, height, padding)
    left, top, value = math.floor(x), math.floor(y), torch.zeros(image.shape[0], dtype=torch.float64)
    for i, down in ((top, 1 - (y - top)), (top + 1, y - top)):
        for j, across in ((left, 1 - (x - left)), (left + 1, x - left)):
            if 0 <= i < height and 0 <= j < width:
                value += down * across * image[:, i, j].double()
    return value


def matrix(part: GeometricTransform, images: Tensor, draw: object, row: int) -> Tensor:
    """The map of one row in homogeneous coordinates: of flips and crops written anew, as they are defined."""
    whole = torch.eye(3, dtype=torch.float64)
    if isinstance(part, Flip):
        across, down = draw  # type: ignore[misc]
        whole[0, 0], whole[1, 1] = 1 - 2.0 * across[row], 1 - 2.0 * down[row]
    elif isinstance(part, Crop):
        whole[0, 2], whole[1, 2] = float(draw[row, 1]), float(draw[row, 0])  # type: ignore[index]
    else:
        whole[:2] = draw[row].double()  # type: ignore[index]
    return whole


def slow(composition: Composition, images: Tensor) -> Tensor:
    """Every pixel by the product of the matrices; the padding of the last part with one that moved the row."""
    rows, channels, height, width = images.shape
    found = torch.zeros(rows, channels, height, width, dtype=torch.float64)
    for row in range(rows):
        whole, padding = torch.eye(3, dtype=torch.float64), "edge"
        for part, draw in zip(composition.parts, composition.draws, strict=True):
            own = matrix(part, images, draw, row)
            whole = whole @ own
            if isinstance(part, (Crop, Affine)) and not torch.equal(own, torch.eye(3, dtype=torch.float64)):
                padding = part.padding
        for i in range(height):
            for j in range(width):
                place = torch.tensor([j - (width - 1) / 2, i - (height - 1) / 2, 1.0], dtype=torch.float64)
                x, y, _ = (whole @ place).tolist()
                found[row, :, i, j] = read(images[row], x + (width - 1) / 2, y + (height - 1) / 2, padding)
    return found


@pytest.mark.parametrize("native_tier", TIERS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
@pytest.mark.parametrize("parts", CHAINS, ids=lambda parts: "-".join(part.name for part in parts))
def test_the_image_is_read_once_at_the_product_of_the_maps(
    parts: tuple[GeometricTransform, ...], dtype: torch.dtype, native_tier: bool
) -> None:
    images = some(dtype, rows=4)
    composition = drawn(parts, images)
    ctx = Context(0, Rng(key(3)))
    with native(native_tier):
        batch, _ = Recipe(*parts).fold("batch", Batch(images, torch.zeros(4)), Recipe(*parts).remember({}), ctx)
    gap = (batch.inputs.double() - slow(composition, images)).abs()
    # A byte is rounded; a place within 1e-5 of a border of zeros may fall to its other side.
    assert float(gap.max()) <= (0.6 if dtype == torch.uint8 else 1e-4)
    assert not torch.equal(batch.inputs, images)


def test_maps_compose_as_matrices_do() -> None:
    first, second = torch.randn(2, 7, 2, 3, dtype=torch.float64)
    last = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(7, 1, 3)
    whole = torch.cat([first, last], 1) @ torch.cat([second, last], 1)
    torch.testing.assert_close(composed(first, second), whole[:, :2])


@pytest.mark.parametrize("native_tier", TIERS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("padding", ["zero", "edge", "reflect", "symmetric"])
def test_flips_and_crops_alone_are_one_after_the_other_bit_for_bit(
    padding: str, dtype: torch.dtype, native_tier: bool
) -> None:
    images = some(dtype)
    parts = (Flip(0.5, 0.5), Crop(5.0, padding), Crop(2.0, "zero", name="crop_2"))
    composition = drawn(parts, images)
    expected = images
    for part, draw in zip(parts, composition.draws, strict=True):
        expected = part.edit(expected, draw)
    with native(native_tier):
        recipe = Recipe(*parts)
        found, _ = recipe.fold("batch", Batch(images, torch.zeros(12)), recipe.remember({}), Context(0, Rng(key(3))))
    assert torch.equal(found.inputs, expected)


@pytest.mark.parametrize("native_tier", TIERS)
def test_a_part_at_neutral_leaves_the_others_bit_for_bit(native_tier: bool) -> None:
    images = some(torch.uint8)
    ctx = Context(0, Rng(key(3)))
    found = []
    for recipe in (
        Recipe(Flip(), Crop(4.0, "reflect")),
        Recipe(Flip(), Crop(4.0, "reflect"), Affine().neutral(), RandomResizedCrop().neutral()),
    ):
        with native(native_tier):
            found.append(recipe.fold("batch", Batch(images, torch.zeros(12)), recipe.remember({}), ctx)[0].inputs)
    assert torch.equal(found[0], found[1])


def test_one_border_shows_what_a_crop_pushed_out() -> None:
    """A shift and its return: one after the other loses a column to the crop's zeros, composed it is the image."""
    image = torch.arange(1.0, 26.0).reshape(1, 1, 5, 5)
    away = torch.tensor([[0, 2]])
    back = torch.tensor([[[1.0, 0.0, -2.0], [0.0, 1.0, 0.0]]])
    composition = Composition((Crop(2.0), Affine()), (away, back))
    torch.testing.assert_close(composition.edit(image), image)
    stepwise = Affine().edit(Crop(2.0).edit(image, away), back)
    assert float(stepwise[0, 0, 0, 0]) == 0.0
    torch.testing.assert_close(stepwise[..., 2:], image[..., 2:])


@pytest.mark.parametrize("native_tier", TIERS)
def test_a_part_that_does_not_move_a_row_leaves_its_border(native_tier: bool) -> None:
    """The left half, enlarged, begins a quarter of a pixel beyond the border: Affine's zeros would darken it."""
    image = torch.tensor([[[[1.0, 2.0, 3.0, 4.0]] * 4]])
    left_half = torch.tensor([[[0.5, 0.0, -1.0], [0.0, 1.0, 0.0]]])
    still = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    composition = Composition((RandomResizedCrop(), Affine()), (left_half, still))
    with native(native_tier):
        steps = composition.steps(image)
        found = composition.edit(image) if steps is None else run_programs(image, [(steps, "")])
    torch.testing.assert_close(found[0, 0, 1], torch.tensor([1.0, 1.25, 1.75, 2.25]))


def test_other_parts_see_the_composed_picture() -> None:
    images = some(torch.float32)
    parts = (Flip(), Affine(), Cutout(0.4))
    ctx = Context(0, Rng(key(3)))
    recipe = Recipe(*parts)
    found = recipe.fold("batch", Batch(images, torch.zeros(12)), recipe.remember({}), ctx)[0].inputs
    moved = drawn(parts[:2], images)
    box = parts[2].draw(ctx.within("cutout").rng, Batch(images, torch.zeros(12)), ctx.within("cutout"))
    torch.testing.assert_close(found, parts[2].edit(moved.edit(images), box), atol=2e-5, rtol=0)
