"""Confusion and calibration against scikit-learn and by hand; the strip of pictures read back by Pillow."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix

from poise import Flip, Mixup, Recipe
from poise.data.images import Images
from poise.study.answers_seen import calibration_of, confusion_of, expected_calibration_error
from poise.study.image_network import ImageDesign
from poise.study.metrics import Predictions, Several
from poise.study.pictures import pictures_of, png
from poise.study.prepare import Prepared
from poise.study.prepare_images import prepare_images


def predictions(rows: int = 200, classes: int = 4) -> Predictions:
    draw = np.random.default_rng(0)
    chances = draw.dirichlet(np.ones(classes), rows)
    return Predictions(draw.integers(0, classes, rows), draw.integers(0, classes, rows), chances)


def test_the_confusion_is_scikit_learns() -> None:
    found = predictions()
    np.testing.assert_array_equal(confusion_of(found, 4), confusion_matrix(found.truth, found.decided))


def test_a_class_that_no_test_row_has_keeps_its_row_and_column() -> None:
    found = Predictions(np.array([0, 2]), np.array([0, 0]), np.eye(3)[[0, 0]])
    assert confusion_of(found, 3) == ((1, 0, 0), (0, 0, 0), (1, 0, 0))


def test_calibration_groups_are_even_and_hold_every_row_once() -> None:
    bins = calibration_of(predictions(205))
    assert [one.rows for one in bins] == [21] * 5 + [20] * 5
    assert [one.probability for one in bins] == sorted(one.probability for one in bins)


def test_the_error_by_hand() -> None:
    # Ten rows that say 0.6 and are right in 6, ten that say 0.9 and are right in 5: (10 * 0 + 10 * 0.4) / 20 = 0.2.
    chances = np.array([[0.6, 0.4]] * 10 + [[0.9, 0.1]] * 10)
    truth = np.array([0] * 6 + [1] * 4 + [0] * 5 + [1] * 5)
    bins = calibration_of(Predictions(truth, np.zeros(20, int), chances))
    assert [(round(one.probability, 9), one.right, one.rows) for one in bins] == [(0.6, 0.6, 10), (0.9, 0.5, 10)]
    assert expected_calibration_error(bins) == pytest.approx(0.2)


def test_probabilities_that_hold_have_a_small_error_and_sharpened_ones_a_large_one() -> None:
    draw = np.random.default_rng(1)
    chances = draw.dirichlet(np.ones(3), 20_000)
    truth = np.array([draw.choice(3, p=row) for row in chances])
    honest = expected_calibration_error(calibration_of(Predictions(truth, truth, chances)))
    sharp = chances**4 / (chances**4).sum(1, keepdims=True)
    assert honest < 0.02
    assert expected_calibration_error(calibration_of(Predictions(truth, truth, sharp))) > 0.1


def test_numbers_and_several_targets_have_neither() -> None:
    amounts = Predictions(np.zeros(3), np.zeros(3))
    many = Several({"a": predictions(3)}, {"a": np.ones(3, bool)})
    for found in (amounts, many):
        assert confusion_of(found, 0) == ()
        assert calibration_of(found) == ()


# ---- pictures ----


@pytest.mark.parametrize("channels", [1, 3])
def test_a_strip_is_the_pictures_side_by_side(channels: int) -> None:
    draw = torch.Generator().manual_seed(0)
    strip = torch.randint(0, 256, (3, channels, 5, 4), generator=draw).float() / 255
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(png(strip)))))
    wanted = (strip * 255).round().byte().permute(2, 0, 3, 1).reshape(5, 12, channels).numpy()
    np.testing.assert_array_equal(image.reshape(5, 12, channels), wanted)


@pytest.fixture(scope="module")
def ready() -> Prepared:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (60, 1, 8, 8), dtype=np.uint8)
    images = Images("noise", pixels, np.array(["a", "b", "c"] * 20), ("x",) * 60)
    return prepare_images(images, seed=0, class_weight=None, design=ImageDesign(width=4, depth=1), per_class=None)


def test_each_class_shows_a_training_picture_as_it_is_and_draws_of_it(ready: Prepared) -> None:
    found = pictures_of(ready, Recipe(Flip(0.5)), seed=0)
    assert [one.label for one in found] == ["a", "b", "c"]
    for place, one in enumerate(found):
        strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(one.png)))).reshape(8, one.count, 8).swapaxes(0, 1)
        first = ready.problem.rows.inputs[torch.nonzero(ready.problem.rows.targets[:, place]).flatten()[0], 0]
        np.testing.assert_array_equal(strip[0], (first * 255).round().byte().numpy())
        assert all(np.array_equal(own, strip[0]) or np.array_equal(own, strip[0][:, ::-1]) for own in strip[1:])
    assert found == pictures_of(ready, Recipe(Flip(0.5)), seed=0)
    assert found != pictures_of(ready, Recipe(Mixup(1.0)), seed=0)


def test_a_recipe_that_leaves_the_inputs_shows_none(ready: Prepared) -> None:
    assert pictures_of(ready, Recipe(), seed=0) == ()
