"""Images edited by the kernels against the same parts in torch, which have oracles of their own in tests/batch."""

import math

import pytest
import torch
from torch import Tensor

from poise import (
    Affine,
    AugMix,
    Blur,
    ColorJitter,
    Crop,
    CutMix,
    Cutout,
    Equalize,
    Flip,
    Grayscale,
    GridMask,
    Mixup,
    MixupOrCutMix,
    Posterize,
    RandAugment,
    RandomErasing,
    RandomResizedCrop,
    Sharpness,
    Solarize,
    TrivialAugment,
)
from poise.core.context import Batch, Context
from poise.core.regularizer import Regularizer
from poise.core.rng import Rng, key
from poise.kernels import available, native
from poise.kernels.images import PADDINGS, edited, serves, step

pytestmark = [
    pytest.mark.usefixtures("seeded"),
    pytest.mark.skipif(not available(), reason="the native kernels are not built: no C compiler"),
]

EXACT: list[Regularizer] = [
    Flip(0.5, 0.5),
    *[Crop(6.0, padding) for padding in PADDINGS],
    Cutout(0.6),
    RandomErasing(1.0, fill="zero"),
    CutMix(0.8),
    GridMask(0.9),
]
COMPUTED: list[Regularizer] = [
    *[Affine(60.0, 0.4, 0.5, 30.0, padding) for padding in PADDINGS],
    RandomResizedCrop(0.1),
    RandomErasing(1.0, fill="mean"),
    ColorJitter(0.8, 0.8, 0.8, 0.5),
    ColorJitter(0.8, 0.8, 0.8, 0.5, space="yiq"),
    RandAugment(0.9, count=1),
    TrivialAugment(),
    Mixup(1.0),
    MixupOrCutMix(mixup_alpha=1.0),
    Grayscale(0.5),
    Solarize(0.5),
    Posterize(0.5),
    Equalize(0.5),
    Sharpness(0.9),
    Blur(0.9, 2.0, 4),
]
SHAPES = [(3, 19, 37), (1, 16, 9), (3, 2, 1)]
TYPES = [torch.uint8, torch.float32, torch.float16, torch.bfloat16]


def some(shape: tuple[int, ...], dtype: torch.dtype, rows: int = 24) -> Tensor:
    smooth = torch.rand(rows, *shape[:1], (shape[1] + 3) // 4, (shape[2] + 3) // 4)
    images = torch.nn.functional.interpolate(smooth, shape[1:], mode="bilinear")
    return (images * 255).round().to(torch.uint8) if dtype == torch.uint8 else images.to(dtype)


def both(part: Regularizer, images: Tensor) -> tuple[Tensor, Tensor]:
    found = []
    for on in (True, False):
        ctx = Context(0, Rng(key(3)), classes=2).within(part.name)
        with native(on):
            batch, _ = part.batch(Batch(images, torch.ones(len(images), 2)), {}, ctx)
        found.append(batch.inputs)
    return found[0], found[1]


def name_of(value: object) -> str:
    return str(value).removeprefix("torch.")


@pytest.mark.parametrize("dtype", TYPES, ids=name_of)
@pytest.mark.parametrize("shape", SHAPES, ids=name_of)
@pytest.mark.parametrize("part", EXACT, ids=name_of)
def test_moved_and_blanked_pixels_are_equal_to_the_bit(
    part: Regularizer, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    images = some(shape, dtype)
    kept = images.clone()
    ours, twin = both(part, images)
    assert ours.dtype == dtype
    assert torch.equal(ours, twin)
    assert torch.equal(images, kept)


TOLERANCE = {torch.uint8: 1.0, torch.float32: 2e-5, torch.float16: 5e-4, torch.bfloat16: 4e-3}


@pytest.mark.parametrize("dtype", TYPES, ids=name_of)
@pytest.mark.parametrize("shape", SHAPES, ids=name_of)
@pytest.mark.parametrize("part", COMPUTED, ids=name_of)
def test_computed_pixels_are_equal_to_a_level_or_a_rounding(
    part: Regularizer, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    images = some(shape, dtype)
    kept = images.clone()
    ours, twin = both(part, images)
    assert ours.dtype == dtype
    assert float((ours.double() - twin.double()).abs().max()) <= TOLERANCE[dtype]
    assert torch.equal(images, kept)


@pytest.mark.parametrize("dtype", TYPES, ids=name_of)
@pytest.mark.parametrize("part", [RandAugment(0.9, count=3), AugMix(share=1.0)], ids=name_of)
def test_chains_are_equal_but_where_a_threshold_follows_a_rounding(part: Regularizer, dtype: torch.dtype) -> None:
    """A level that equalize or solarize then sees on the other side: rare, and one by one."""
    ours, twin = both(part, some((3, 19, 37), dtype, rows=100))
    gap = (ours.double() - twin.double()).abs()
    assert float((gap > 2 * TOLERANCE[dtype]).double().mean()) < 2e-3


@pytest.mark.parametrize(
    "part", [Flip(), Affine(), ColorJitter(), RandAugment(), Cutout(), Mixup(1.0), CutMix()], ids=name_of
)
def test_images_that_are_not_contiguous_are_the_same(part: Regularizer) -> None:
    images = some((3, 12, 14), torch.float32)
    last = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert not last.is_contiguous()
    assert torch.equal(both(part, last)[0], both(part, images)[0])


def test_many_rows_are_edited_alike_by_one_thread_and_by_two() -> None:
    images, part = some((3, 64, 64), torch.uint8, rows=131), ColorJitter(0.8, 0.8, 0.8, 0.5)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(both(part, images)[0])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])


def test_a_row_is_edited_alike_in_any_batch() -> None:
    images = some((3, 30, 22), torch.uint8)
    draw = torch.rand(len(images), 2, 8)
    steps = torch.cat([step("affine", images, *draw[:, 0].unbind(1)[:6]), step("sharpen", images, draw[:, 1, 0])], 1)
    steps = steps.reshape(len(images), 2, 8)
    whole = edited(images, steps)
    assert torch.equal(edited(images[5:7], steps[5:7]), whole[5:7])
    assert torch.equal(edited(images.flip(0), steps.flip(0)).flip(0), whole)


def test_the_ends_of_floats_are_reported() -> None:
    images, ends = torch.rand(5, 3, 7, 7), [math.inf, -math.inf]
    images[3, 2, 6, 6], images[0, 0, 0, 0] = 2.5, -1.25
    assert torch.equal(edited(images, step("nothing", images)[:, None], ends), images)
    assert ends == [-1.25, 2.5]


def test_a_gradient_wide_floats_and_no_kernels_are_left_to_torch() -> None:
    images, found = torch.rand(2, 3, 4, 4), []
    assert serves(images)
    assert not serves(images.double())
    wanting = images.clone().requires_grad_()
    assert not serves(wanting)
    torch.vmap(lambda row: found.append(serves(row[None])) or row)(wanting)  # type: ignore[func-returns-value]
    torch.func.grad(lambda row: found.append(serves(row)) or row.sum())(images)  # type: ignore[func-returns-value]
    assert found == [False, False]
    with native(False):
        assert not serves(images)


def test_not_a_number_neither_crashes_nor_spreads_to_other_rows() -> None:
    images = some((3, 12, 12), torch.float32)
    clean = images.clone()
    images[4] = torch.nan
    for part in (Affine(), ColorJitter(), RandAugment(count=4), AugMix(share=1.0)):
        ctx = Context(0, Rng(key(3)), classes=2).within(part.name)
        ours, without = (
            part.batch(Batch(given, torch.ones(len(given), 2)), {}, ctx)[0].inputs for given in (images, clean)
        )
        others = torch.arange(len(images)) != 4
        assert torch.equal(ours[others], without[others])
