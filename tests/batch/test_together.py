"""Image parts done at once, against the same parts one by one."""

import pytest
import torch
from torch import Tensor, nn

from poise import (
    Affine,
    ArgumentError,
    AugMix,
    Blur,
    ColorJitter,
    Crop,
    Cutout,
    Flip,
    Grayscale,
    GridMask,
    InputNoise,
    Mixup,
    Posterize,
    RandAugment,
    RandomErasing,
    RandomResizedCrop,
    Recipe,
    Sharpness,
)
from poise.core.context import Batch, Context
from poise.core.rng import Rng, key
from poise.kernels import available, native

pytestmark = pytest.mark.usefixtures("seeded")

TIERS = [
    pytest.param(False, id="torch"),
    pytest.param(True, id="native", marks=pytest.mark.skipif(not available(), reason="no native kernels")),
]
SHAPES = [(7, 3, 16, 21), (5, 1, 9, 9), (1, 3, 33, 12)]
RECIPES = [
    Recipe(Flip(), Crop(3.0), ColorJitter(0.4, 0.4, 0.4, 0.1), Cutout(0.5)),
    Recipe(RandomResizedCrop(0.3), Grayscale(0.5), Blur(0.8, 1.5), GridMask()),
    Recipe(Flip(), Posterize(0.5), Sharpness(0.9), RandomErasing(0.9, fill="uniform"), Cutout(0.3, name="second")),
    Recipe(Crop(2.0), AugMix(share=1.0, width=1, depth=1), Cutout(0.5)),
    Recipe(Flip(), Crop(3.0), InputNoise(0.1), Mixup(1.0)),
]


def some(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    rows, channels, height, width = shape
    smooth = torch.rand(rows, channels, (height + 3) // 4, (width + 3) // 4)
    images = nn.functional.interpolate(smooth, (height, width), mode="bilinear")
    return (images * 255).round().to(torch.uint8) if dtype == torch.uint8 else images.to(dtype)


def at_once(recipe: Recipe, images: Tensor, on: bool = True) -> Tensor:
    visits = torch.stack([torch.arange(len(images)) * 3, torch.full((len(images),), 2)], -1)
    batch = Batch(images, torch.ones(len(images), 2), None, visits)
    with native(on):
        return recipe.fold("batch", batch, recipe.remember({}), Context(0, Rng(key(5)), classes=2))[0].inputs  # type: ignore[no-any-return]


def one_by_one(recipe: Recipe, images: Tensor, on: bool = True) -> Tensor:
    visits = torch.stack([torch.arange(len(images)) * 3, torch.full((len(images),), 2)], -1)
    batch, ctx = Batch(images, torch.ones(len(images), 2), None, visits), Context(0, Rng(key(5)), classes=2)
    with native(on):
        for part in recipe.stage("batch"):
            batch, _ = part.batch(batch, {}, ctx.within(part.name))
    return batch.inputs  # type: ignore[no-any-return]


@pytest.mark.parametrize("on", TIERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: "-".join(part.name for part in recipe))
def test_bytes_and_floats_are_the_parts_one_by_one_to_the_bit(recipe: Recipe, shape: tuple[int, ...], on: bool) -> None:
    for dtype in (torch.uint8, torch.float32):
        if dtype == torch.uint8 and "input_noise" in recipe:
            continue  # noise is for floats
        images = some(shape, dtype)
        kept = images.clone()
        found = at_once(recipe, images, on)
        assert torch.equal(found, one_by_one(recipe, images, on))
        assert found.dtype == dtype
        assert torch.equal(images, kept)
        assert found.data_ptr() != images.data_ptr()


@pytest.mark.parametrize("on", TIERS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_halves_are_rounded_once(dtype: torch.dtype, on: bool) -> None:
    images, recipe = some((7, 3, 16, 21), dtype), RECIPES[0]
    found = at_once(recipe, images, on)
    assert found.dtype == dtype
    assert torch.equal(found, at_once(recipe, images.float(), on).to(dtype))
    step = 2**-10 if dtype == torch.float16 else 2**-7
    assert float((found.float() - one_by_one(recipe, images, on).float()).abs().max()) <= 4 * step


@pytest.mark.skipif(not available(), reason="no native kernels")
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("recipe", [RECIPES[0], Recipe(Flip(), Crop(2.0), Affine(), RandomResizedCrop(), Cutout(0.4))])
def test_both_tiers_agree(recipe: Recipe, dtype: torch.dtype) -> None:
    images = some((9, 3, 17, 26), dtype)
    gap = (at_once(recipe, images, True).double() - at_once(recipe, images, False).double()).abs()
    assert float(gap.max()) <= {torch.uint8: 1.0, torch.float32: 5e-5, torch.float16: 1e-3}.get(dtype, 8e-3)


def test_nearly_pixels_are_clamped_where_a_part_acts_as_one_by_one() -> None:
    """Rounding of halves leaves 1.001: the second of two parts of pixels must not see the first's clamp elsewhere."""
    images = some((6, 3, 8, 8), torch.float32)
    images[2, 0, 0, 0], images[4, 1, 3, 3] = 1.02, -0.01
    recipe = Recipe(Flip(), ColorJitter(0.2, 0.0, 0.0, 0.0), Posterize(0.5))
    assert torch.equal(at_once(recipe, images), one_by_one(recipe, images))


@pytest.mark.parametrize("on", TIERS)
def test_values_outside_are_refused_by_the_part_that_needs_pixels(on: bool) -> None:
    levels = torch.arange(256.0).repeat(3).reshape(1, 3, 16, 16)
    with pytest.raises(ArgumentError, match=r"`ColorJitter` must have pixels in \[0, 1\]; got 0 to 2.."):
        at_once(RECIPES[0], levels, on)
    moved = Recipe(Flip(), Crop(1.0), Cutout(0.2))
    assert float(at_once(moved, torch.full((3, 3, 8, 8), 300.0), on).max()) == 300.0


def test_standardised_images_are_edited_by_their_mean_and_deviation() -> None:
    scale = {"mean": (0.5, 0.4, 0.3), "deviation": (0.2, 0.25, 0.3)}
    recipe = Recipe(Flip(), ColorJitter(0.4, 0.4, 0.4, 0.1, **scale), Cutout(0.5))
    mean, deviation = (torch.tensor(given).reshape(3, 1, 1) for given in scale.values())
    images = (some((6, 3, 12, 12), torch.float32) - mean) / deviation
    assert torch.equal(at_once(recipe, images), one_by_one(recipe, images))


def test_wide_floats_are_edited_in_torch() -> None:
    images = some((4, 3, 10, 10), torch.float64)
    assert torch.equal(at_once(RECIPES[0], images), one_by_one(RECIPES[0], images))


def test_a_run_does_the_same_in_its_watched_steps_and_after() -> None:
    recipe = Recipe(Flip(), Crop(2.0), Affine(), ColorJitter(), RandAugment())
    images, labels = some((6, 3, 12, 12), torch.uint8), torch.arange(6) % 2
    model = nn.Sequential(nn.Flatten(), nn.Linear(432, 2))
    run = recipe.start(model, seed=5, classes=2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    found = []
    for _ in range(7):  # five are watched
        x, y = run.batch(images, labels, ids=torch.arange(6) * 3, epoch=2)
        found.append(x)
        run.objective(nn.functional.cross_entropy(model(x.float() / 255), y)).backward()
        run.update(optimizer)
    assert all(torch.equal(one, at_once(recipe, images)) for one in found)
    assert all(run.acted.values())
