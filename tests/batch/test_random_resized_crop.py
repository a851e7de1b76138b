"""Random resized crop: torch's own enlargement of the box, and the laws of its boxes."""

import pytest
import torch
from torch.nn import functional as F

from poise.batch import RandomResizedCrop
from poise.batch.boxes import first_fitting
from poise.core.context import Batch, Context
from poise.core.rng import Rng, key
from poise.testing.oracles import kolmogorov

pytestmark = pytest.mark.usefixtures("seeded")

CTX = Context(0, Rng(key(0)))


def boxes(part: RandomResizedCrop, rows: int, height: int = 30, width: int = 20) -> torch.Tensor:
    """(B, 4): top, left, height and width of each box, in pixels."""
    maps = part.draw(CTX.rng, Batch(torch.zeros(rows, 1, height, width), torch.zeros(rows)), CTX).double()
    tall, wide = maps[:, 1, 1] * height, maps[:, 0, 0] * width
    top, left = maps[:, 1, 2] + (height - tall) / 2, maps[:, 0, 2] + (width - wide) / 2
    return torch.stack([top, left, tall, wide], -1)


def test_a_box_on_whole_pixels_is_enlarged_as_torch_does() -> None:
    """Away from the box's border, where torch's enlargement does not know the pixels beyond."""
    image = torch.rand(1, 3, 16, 24, dtype=torch.float64)
    box = image[..., 4:12, 6:18]
    expected = F.interpolate(box, (16, 24), mode="bilinear", align_corners=False)
    maps = torch.tensor([[[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]], dtype=torch.float64)
    found = RandomResizedCrop().edit(image, maps)
    torch.testing.assert_close(found[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1])


def test_boxes_lie_in_the_image_and_keep_the_bounds() -> None:
    found = boxes(RandomResizedCrop(0.1, 2.0), 5000)
    top, left, tall, wide = found.unbind(-1)
    for low, high, size in ((top, top + tall, 30), (left, left + wide, 20)):
        assert float(low.min()) >= -1e-4
        assert float(high.max()) <= size + 1e-4
    area, ratio = tall * wide / 600, (wide / 20) / (tall / 30)
    assert float(area.min()) >= 0.1 - 1e-5
    assert float(ratio.max()) <= 2 + 1e-5
    assert float(ratio.min()) >= 0.5 - 1e-5


def test_areas_are_uniform_where_every_draw_fits_and_a_wrong_law_is_caught() -> None:
    found = boxes(RandomResizedCrop(0.2, 1.0), 5000)  # of the image's own ratio of sides, every area fits
    area = found[:, 2] * found[:, 3] / 600
    assert kolmogorov((area - 0.2) / 0.8) > 1e-6
    assert kolmogorov((found[:, 2] / 30 - 0.2**0.5) / (1 - 0.2**0.5)) < 1e-6  # uniform sides would be another law


def test_the_first_of_ten_draws_that_fits_is_taken() -> None:
    """Against the loop that the paper's implementations have."""
    rows, rng = 300, Rng(key(3))
    down, across, fits = first_fitting(rng, rows, 0.6, 1.0, 4.0)
    areas, ratios = rng.uniform("area", (rows, 10)).double(), 2 * rng.uniform("ratio", (rows, 10)).double() - 1
    for row in range(rows):
        for area, ratio in zip(areas[row].tolist(), ratios[row].tolist(), strict=True):
            root, skew = (0.6 + 0.4 * area) ** 0.5, 4.0 ** (0.5 * ratio)
            if root / skew <= 1 and root * skew <= 1:
                assert bool(fits[row])
                assert float(down[row]) == pytest.approx(root / skew, rel=1e-5)
                assert float(across[row]) == pytest.approx(root * skew, rel=1e-5)
                break
        else:
            assert not bool(fits[row])
    assert 0 < int((~fits).sum()) < rows


def test_rows_without_a_fitting_draw_stay_whole() -> None:
    found = boxes(RandomResizedCrop(1.0, 1e6), 200)  # no area of 1 fits but the image's own
    assert bool((found == torch.tensor([0.0, 0.0, 30.0, 20.0])).all())
