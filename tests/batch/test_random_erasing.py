"""Random erasing: rectangles whole and inside, and what fills them."""

import pytest
import torch

from poise.batch import RandomErasing
from poise.batch.boxes import inside_boxes
from poise.core.context import Batch, Context
from poise.core.errors import ArgumentError
from poise.core.rng import Rng, key
from poise.testing.oracles import chi_square, kolmogorov

pytestmark = pytest.mark.usefixtures("seeded")

CTX = Context(0, Rng(key(0)))


def erased(part: RandomErasing, rows: int = 400, height: int = 40, width: int = 30) -> torch.Tensor:
    box = part.draw(CTX.rng, Batch(torch.zeros(rows, 1, height, width), torch.zeros(rows)), CTX)[0]
    return inside_boxes(box, height, width)


def test_what_is_erased_is_one_rectangle_of_a_legal_area() -> None:
    inside = erased(RandomErasing(1.0, 0.4))
    tall, wide = inside.any(2).sum(1), inside.any(1).sum(1)
    assert torch.equal(inside.sum((1, 2)), tall * wide)
    area, ratio = tall * wide / 1200, (wide / 30) / (tall / 40)
    assert float(area.min()) > 0.02 - 0.01  # sides are rounded to pixels
    assert float(area.max()) < 0.4 + 0.03
    assert float(ratio.max()) < 1.35 / 0.3
    assert float(ratio.min()) > 0.3 / 1.35
    assert len({(int(t), int(w)) for t, w in zip(tall, wide, strict=True)}) > 100


def test_area_is_uniform_and_a_wrong_law_is_caught() -> None:
    inside = erased(RandomErasing(1.0, 0.2), rows=2000, height=200, width=200)  # small enough that all draws fit
    area = inside.double().mean((1, 2))
    assert kolmogorov((area - 0.02) / 0.18) > 1e-6
    assert kolmogorov((area.sqrt() - 0.02**0.5) / (0.2**0.5 - 0.02**0.5)) < 1e-6


def test_the_place_is_uniform_over_where_the_rectangle_is_whole() -> None:
    rows = 4000
    inside = erased(RandomErasing(1.0, 0.02), rows=rows, height=100, width=100)
    tall = inside.any(2).sum(1)
    top = inside.any(2).to(torch.int64).argmax(1)
    assert kolmogorov((top.double() + torch.rand(rows)) / (101 - tall)) > 1e-6
    assert kolmogorov((top.double() + torch.rand(rows)) / 100) < 1e-6  # places at which it would be cut off


@pytest.mark.parametrize("fill", ["noise", "uniform", "mean", "zero"])
def test_the_fill_stands_where_erased_and_nothing_else_changes(fill: str, run) -> None:  # type: ignore[no-untyped-def]
    images = torch.rand(300, 3, 20, 20, dtype=torch.float64) + 5
    part = RandomErasing(1.0, 0.3, fill)
    ctx = CTX.within(part.name)
    batch = Batch(images, torch.ones(300))
    draw = part.draw(ctx.rng, batch, ctx)
    edited = part.apply(batch, draw, ctx).inputs
    where = inside_boxes(draw[0], 20, 20)[:, None].expand_as(images)
    assert torch.equal(edited[~where], images[~where])
    new = edited[where]
    if fill == "noise":
        assert kolmogorov(torch.special.ndtr(new[:5000])) > 1e-6
    elif fill == "uniform":
        assert kolmogorov(new[:5000]) > 1e-6
    else:
        expected = images.mean((2, 3), keepdim=True) if fill == "mean" else torch.zeros(300, 3, 1, 1)
        assert torch.equal(new, expected.double().expand_as(images)[where])


def test_share_is_the_rate_of_rows() -> None:
    rows = 50_000
    hit = int(erased(RandomErasing(0.3, 0.4), rows, 10, 10).flatten(1).any(1).sum())
    assert chi_square([hit, rows - hit], [0.3 * rows, 0.7 * rows]) > 1e-6
    assert chi_square([hit, rows - hit], [0.315 * rows, 0.685 * rows]) < 1e-6


def test_another_fill_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"`RandomErasing.fill` must be noise, uniform, mean or zero; got 'black'"):
        RandomErasing(fill="black")
