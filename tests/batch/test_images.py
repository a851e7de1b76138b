"""What all edits of images hold: what they refuse, what they leave alone, and what scale their pixels have."""

import pytest
import torch
from torch import Tensor

from poise.batch import (
    Affine,
    AugMix,
    ColorJitter,
    Crop,
    Cutout,
    Flip,
    RandAugment,
    RandomErasing,
    RandomResizedCrop,
    TrivialAugment,
)
from poise.core.context import Batch, Context
from poise.core.errors import ArgumentError
from poise.core.recipe import Recipe
from poise.core.regularizer import Regularizer
from poise.core.rng import Rng, key
from poise.testing.samples import changed

pytestmark = pytest.mark.usefixtures("seeded")

GEOMETRY = [Flip(0.5, 0.5), Crop(3.0), RandomResizedCrop(), Affine(shear=10.0), Cutout(0.4), RandomErasing(fill="mean")]
PIXELS = [ColorJitter(0.4, 0.4, 0.4, 0.1), RandAugment(), TrivialAugment(), AugMix(share=1.0)]
PARTS = [*GEOMETRY, *PIXELS]
NAMES = [type(part).__name__ for part in PARTS]
MEAN, DEVIATION = (0.4, 0.5, 0.3), (0.2, 0.3, 0.25)


def standardised(pixels: Tensor) -> Tensor:
    mean, deviation = (pixels.new_tensor(v).reshape(-1, 1, 1) for v in (MEAN, DEVIATION))
    return (pixels - mean) / deviation


@pytest.mark.parametrize("part", PARTS, ids=NAMES)
@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 6), (4, 3, 6, 6, 6)], ids=str)
def test_other_ranks_are_refused_by_name(part: Regularizer, shape: tuple[int, ...], run) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ArgumentError, match=rf"`{type(part).__name__}` must have images .*; got shape \(4, "):
        run(part, torch.rand(shape), torch.ones(4))


@pytest.mark.parametrize("part", PARTS, ids=NAMES)
def test_whole_numbers_and_trees_are_refused(part: Regularizer, run) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ArgumentError, match=r"must have images of bytes \(uint8\) or floats; got torch.int64. Convert"):
        run(part, torch.zeros(4, 3, 6, 6, dtype=torch.int64), torch.ones(4))
    with pytest.raises(ArgumentError, match=rf"`{type(part).__name__}` must have images .*; got dict"):
        run(part, {"image": torch.rand(4, 3, 6, 6)}, torch.ones(4))


@pytest.mark.parametrize("part", PARTS, ids=NAMES)
def test_targets_of_every_form_and_row_weights_stay(part: Regularizer, one_hot) -> None:  # type: ignore[no-untyped-def]
    images, weights = torch.rand(5, 3, 9, 7), torch.rand(5)
    ctx = Context(0, Rng(key(0)), classes=3).within(part.name)
    forms = [torch.arange(5), one_hot(5, 3), torch.rand(5), torch.rand(5, 2), {"a": torch.rand(5)}]
    for targets in forms:
        edited, _ = part.batch(Batch(images, targets, weights), {}, ctx)
        assert edited.targets is targets
        assert edited.weights is weights


@pytest.mark.parametrize("part", PARTS, ids=NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_colour_keep_shape_type_and_range(part: Regularizer, channels: int, run) -> None:  # type: ignore[no-untyped-def]
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        images = torch.rand(33, channels, 11, 17).to(dtype)
        edited = run(part, images, torch.ones(33)).inputs
        assert edited.shape == images.shape
        assert edited.dtype == dtype
        assert float(edited.min()) >= 0
        assert float(edited.max()) <= 1
        assert not torch.equal(edited, images)


@pytest.mark.parametrize("part", GEOMETRY, ids=NAMES[: len(GEOMETRY)])
def test_geometry_takes_any_channels_and_any_scale(part: Regularizer, run) -> None:  # type: ignore[no-untyped-def]
    images = 1000 * torch.randn(33, 5, 11, 17)
    assert run(part, images, torch.ones(33)).inputs.shape == images.shape


@pytest.mark.parametrize("part", PARTS, ids=NAMES)
def test_equal_rows_are_edited_apart_and_the_next_step_again(part: Regularizer, run) -> None:  # type: ignore[no-untyped-def]
    images = torch.rand(1, 3, 16, 20).expand(12, -1, -1, -1)
    first, second = (run(part, images, torch.ones(12), seed=seed).inputs for seed in (0, 1))
    assert len({tuple(row.flatten().tolist()) for row in first}) > 2
    assert not torch.equal(first, second)


@pytest.mark.parametrize("part", PARTS, ids=NAMES)
@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (3, 3, 1, 1), (3, 1, 1, 9), (2, 3, 2, 2)], ids=str)
def test_no_rows_and_tiny_images_pass(part: Regularizer, shape: tuple[int, ...], run) -> None:  # type: ignore[no-untyped-def]
    edited = run(part, torch.rand(shape), torch.ones(shape[0])).inputs
    assert edited.shape == shape
    assert bool(torch.isfinite(edited).all())


@pytest.mark.parametrize("part", PIXELS, ids=NAMES[len(GEOMETRY) :])
def test_pixels_outside_the_unit_interval_are_refused_not_clamped(part: Regularizer, run) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ArgumentError, match=r"must have pixels in \[0, 1\]; got .* to 2\d\d.*Divide levels of bytes"):
        run(part, 255 * torch.rand(4, 3, 8, 8), torch.ones(4))
    with pytest.raises(ArgumentError, match=r"1 or 3 channels; got 2, shape \(4, 2, 8, 8\)"):
        run(part, torch.rand(4, 2, 8, 8), torch.ones(4))


@pytest.mark.parametrize("part", PIXELS, ids=NAMES[len(GEOMETRY) :])
def test_standardised_images_are_edited_as_their_pixels(part: Regularizer, run) -> None:  # type: ignore[no-untyped-def]
    pixels = torch.rand(12, 3, 9, 9, dtype=torch.float64)
    expected = standardised(run(part, pixels, torch.ones(12)).inputs)
    told = changed(part, mean=MEAN, deviation=DEVIATION)
    found = run(told, standardised(pixels), torch.ones(12)).inputs
    # A pixel that falls on a byte's edge may round to the other level on the way back.
    assert float(((found - expected).abs() > 1e-9).double().mean()) < 0.01


@pytest.mark.parametrize("part", PIXELS, ids=NAMES[len(GEOMETRY) :])
def test_standardised_rows_that_are_left_alone_stay_bit_for_bit(part: Regularizer, run) -> None:  # type: ignore[no-untyped-def]
    images = standardised(torch.rand(6, 3, 9, 9))
    neutral = part.neutral().at({"mean": MEAN, "deviation": DEVIATION})
    assert torch.equal(run(neutral, images, torch.ones(6)).inputs, images)


@pytest.mark.parametrize(
    ("mean", "deviation"), [((0.5,), ()), ((0.5,), (0.0,)), (0.5, 0.5), ((True,), (1.0,)), (("a",), (1.0,))]
)
def test_a_wrong_mean_or_deviation_is_refused(mean: object, deviation: object) -> None:
    with pytest.raises(ArgumentError, match=r"`ColorJitter.(mean|deviation)` must be a tuple of finite numbers"):
        ColorJitter(mean=mean, deviation=deviation)  # type: ignore[arg-type]


def test_a_mean_for_other_channels_is_refused(run) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ArgumentError, match=r"`ColorJitter.mean` must have one number for each of the 1 channels"):
        run(ColorJitter(mean=MEAN, deviation=DEVIATION), torch.rand(2, 1, 4, 4), torch.ones(2))


def test_mean_and_deviation_go_through_a_file() -> None:
    recipe = Recipe(ColorJitter(mean=MEAN, deviation=DEVIATION))
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
