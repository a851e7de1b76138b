"""CutMix for images: the authors' boxes, pixels and targets to the bit, and the share that is really taken."""

import math

import pytest
import torch
from torch import Tensor

from poise.batch import CutMix
from poise.core.context import Batch, Context
from poise.core.recipe import Recipe
from poise.core.rng import Rng, key
from poise.testing import check_regularizer
from poise.testing.samples import color_sample

pytestmark = pytest.mark.usefixtures("seeded")

ROWS = 120
CTX = Context(0, Rng(key(0)))


def tagged(rows: int = ROWS, height: int = 9, width: int = 14) -> Tensor:
    """Images in which every pixel names its row."""
    return torch.arange(rows, dtype=torch.float64)[:, None, None, None].expand(rows, 3, height, width)


def test_battery() -> None:
    check_regularizer(CutMix(0.8, 0.7), sample=color_sample())


def test_equals_the_loop_of_the_authors() -> None:
    images, labels = torch.rand(ROWS, 3, 9, 14), torch.rand(ROWS, 4, dtype=torch.float64)
    batch, part = Batch(images, labels), CutMix()
    partner, taken = part.draw(CTX.rng, batch, CTX)
    mixed = part.apply(batch, (partner, taken), CTX)
    planned = CTX.rng.symmetric_beta("columns", (ROWS,), 1.0)  # the area of the box: 1 - lambda
    centre = CTX.rng.uniform("centre", (ROWS, 2))
    for row in range(ROWS):
        root = math.sqrt(float(planned[row]))
        half_height, half_width = int(0.5 * root * 9), int(0.5 * root * 14)
        y, x = int(centre[row, 0] * 9), int(centre[row, 1] * 14)
        top, bottom = max(0, y - half_height), min(9, y + half_height)
        left, right = max(0, x - half_width), min(14, x + half_width)
        expected = images[row].clone()
        expected[:, top:bottom, left:right] = images[partner[row], :, top:bottom, left:right]
        assert torch.equal(mixed.inputs[row], expected)
        share = (bottom - top) * (right - left) / (9 * 14)
        assert torch.equal(mixed.targets[row], torch.lerp(labels[row], labels[partner[row]], share))


def test_the_targets_share_is_the_share_of_pixels_after_clipping_exactly(run) -> None:  # type: ignore[no-untyped-def]
    number, weights = torch.arange(float(ROWS), dtype=torch.float64), torch.rand(ROWS, dtype=torch.float64)
    mixed = run(CutMix(), tagged(), number, weights)
    other = torch.where(mixed.inputs != tagged(), mixed.inputs, -1).amax((1, 2, 3))
    count = (mixed.inputs != tagged())[:, 0].sum((1, 2)).double()
    partner = torch.where(other >= 0, other, number)
    assert torch.equal(mixed.targets, torch.lerp(number, partner, count / (9 * 14)))
    assert torch.equal(mixed.weights, torch.lerp(weights, weights[partner.long()], count / (9 * 14)))
    # The planned share is another for boxes that are cut off: it would be wrong here.
    assert len(count.unique()) > 20


def test_the_mean_area_is_that_of_clipped_boxes_and_a_wrong_law_is_caught() -> None:
    """A side r is r - r^2 / 4 on average after clipping; over uniform areas r^2 the mean is 1/2 - 1/5 + 1/48."""
    batch = Batch(torch.zeros(2000, 1, 100, 100), torch.zeros(2000))
    boxes = CutMix().draw(CTX.rng, batch, CTX)[1].double()
    area = float((boxes[:, 2:] - boxes[:, :2]).prod(1).mean()) / 1e4
    assert abs(area - (1 / 2 - 1 / 5 + 1 / 48)) < 0.03
    assert abs(area - (1 / 3 - 1 / 8 + 1 / 80)) > 0.06  # uniform sides
    assert abs(area - 1 / 2) > 0.1  # boxes that are never cut off


def test_images_and_tables_need_no_setting(run) -> None:  # type: ignore[no-untyped-def]
    part = CutMix()
    images = run(part, tagged(), torch.zeros(ROWS)).inputs
    table = run(part, tagged()[:, 0, 0], torch.zeros(ROWS)).inputs
    assert images.shape == (ROWS, 3, 9, 14)
    assert table.shape == (ROWS, 14)
    assert bool((images[:, :1] == images).all())  # a box goes through all channels
    assert Recipe(part).spec() == Recipe(CutMix()).spec()


@pytest.mark.parametrize("part", [CutMix(0.0), CutMix(alpha=0.0)])
def test_share_zero_and_alpha_zero_are_the_identity_to_the_bit(part: CutMix, run, one_hot) -> None:  # type: ignore[no-untyped-def]
    mixed = run(part, tagged(), one_hot(ROWS, 3))
    assert torch.equal(mixed.inputs, tagged())
    assert torch.equal(mixed.targets, one_hot(ROWS, 3))


def test_targets_of_several_tasks_take_the_same_share(run) -> None:  # type: ignore[no-untyped-def]
    number = torch.arange(float(ROWS), dtype=torch.float64)
    part = CutMix()
    ctx = CTX.within(part.name)
    mixed, _ = part.batch(Batch(tagged(), {"a": number, "b": 2 * number}), {}, ctx)  # type: ignore[arg-type]
    assert torch.equal(mixed.targets["b"], 2 * mixed.targets["a"])  # type: ignore[call-overload]
    assert torch.equal(mixed.targets["a"], run(part, tagged(), number).targets)  # type: ignore[call-overload]
