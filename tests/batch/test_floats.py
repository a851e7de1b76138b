"""Bytes as standardised floats: the formula, on every tier and type."""

import pytest
import torch

from poise.batch import Flip, to_floats
from poise.core.errors import ArgumentError
from poise.core.recipe import Recipe
from poise.kernels import native

pytestmark = pytest.mark.usefixtures("seeded")
MEAN, DEVIATION = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)


@pytest.mark.parametrize("on", [True, False], ids=["native", "eager"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_is_the_formula(on: bool, dtype: torch.dtype) -> None:
    images = torch.randint(0, 256, (5, 3, 7, 9), dtype=torch.uint8)
    mean, deviation = (torch.tensor(given, dtype=torch.float64)[:, None, None] for given in (MEAN, DEVIATION))
    expected = (images.double() / 255 - mean) / deviation
    with native(on):
        found = to_floats(images, MEAN, DEVIATION, dtype)
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), expected, rtol=0, atol={4: 1e-6, 2: 1e-2}[dtype.itemsize])
        torch.testing.assert_close(to_floats(images), images.float() / 255, rtol=0, atol=1e-7)


@pytest.mark.parametrize("images", [torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2, dtype=torch.uint8), [1]])
def test_other_images_are_refused(images: object) -> None:
    with pytest.raises(ArgumentError, match=r"`to_floats.images` must be bytes \(rows, channels, height, width\); got"):
        to_floats(images)  # type: ignore[arg-type]


@pytest.mark.parametrize(("mean", "deviation"), [((0.5, 0.5), (1.0,)), ((0.5,), (0.0,)), ((), (1.0,))])
def test_numbers_that_do_not_fit_are_refused(mean: tuple[float, ...], deviation: tuple[float, ...]) -> None:
    with pytest.raises(ArgumentError, match=r"must have 1 or 3 numbers, deviations > 0; got"):
        to_floats(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), mean, deviation)


def test_how_many_classes_there_are_must_be_said_where_bytes_stay_bytes() -> None:
    images, labels = torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1])
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    with pytest.raises(ArgumentError, match=r"`Recipe.start.classes` must be the number of classes"):
        Recipe(Flip()).start(model, seed=0).batch(images, labels)
    assert Recipe(Flip()).start(model, seed=0, classes=3).batch(images, labels)[1].shape == (2, 3)
