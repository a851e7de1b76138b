"""Augmented passes against the moments of the noise and a loop by hand."""

import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from poise import L2, ArgumentError, AugmentationAtTest, CutMix, InputNoise, Linear, Mixup, Recipe, SwapNoise
from poise.batch import Flip
from poise.core.context import Batch
from poise.core.rng import Rng
from poise.testing import check_regularizer

X = torch.tensor([[1.0, -2.0], [0.5, 3.0], [0.0, 0.0]])


class Square(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x**2


def test_it_passes_the_battery() -> None:
    assert check_regularizer(AugmentationAtTest((InputNoise(0.3),), samples=3)).count >= 15


def test_the_mean_of_noisy_squares_is_the_square_and_the_variance(context: Callable) -> None:
    passes = AugmentationAtTest((InputNoise(0.5),), samples=40, space="output").predict(Square(), context())
    found = passes(X.repeat(500, 1)).reshape(500, 3, 2).mean(0)
    assert float((found - (X**2 + 0.25)).abs().max()) < 0.1
    assert float((found - X**2).abs().max()) > 0.15  # noise that is left out is caught
    spread = passes.answers(torch.zeros(500, 2)).std(0).mean(0)
    assert float(spread.min()) > 0.3  # sqrt(2) / 4; one draw for all passes would give 0


def test_flipped_images_are_averaged_with_themselves(context: Callable) -> None:
    images = torch.tensor([1.0, 4.0]).reshape(1, 1, 1, 2)
    passes = AugmentationAtTest((Flip(),), samples=400, space="output").predict(nn.Flatten(), context())
    assert sorted(set(passes.answers(images)[:, 0, 0].tolist())) == [1.0, 4.0]
    assert passes(images)[0].tolist() == pytest.approx([2.5, 2.5], abs=0.25)


def test_it_is_the_loop_by_hand(context: Callable) -> None:
    transforms, ctx = (InputNoise(0.5), SwapNoise(0.5)), context(seed=4)
    passes = AugmentationAtTest(transforms, samples=3, space="output").predict(Square(), ctx)
    for number, answer in enumerate(passes.answers(X)):
        here = dataclasses.replace(ctx, rng=Rng(ctx.rng.keys, f"/pass/{number}"))
        batch = Batch(X, torch.zeros(3))
        for part in sorted(transforms, key=lambda part: (part.rank, part.name)):
            batch, _ = part.batch(batch, {}, here.within(part.name))
        assert torch.equal(answer, batch.inputs**2)


def test_probabilities_are_averaged_for_classes(context: Callable) -> None:
    passes = AugmentationAtTest((InputNoise(1.0),), samples=5).predict(nn.Identity(), context())
    torch.testing.assert_close(passes(X).exp(), torch.softmax(passes.answers(X), -1).mean(0))


def test_the_same_rows_get_the_same_answer_and_another_seed_another(context: Callable, rng_untouched: None) -> None:
    first, again, other = (
        AugmentationAtTest((InputNoise(1.0),)).predict(nn.Identity(), context(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first(X), again(X))
    assert torch.equal(first(X), first(X))
    assert not torch.equal(first(X), other(X))


def test_columns_of_a_run_reach_the_transforms(context: Callable) -> None:
    ctx = context(columns=torch.tensor([0, 0]))  # two columns of one category, which numeric noise leaves alone
    passes = AugmentationAtTest((InputNoise(1.0),), space="output").predict(nn.Identity(), ctx)
    assert torch.equal(passes.answers(X)[0], X)


def test_a_schedule_stands_at_its_last_step(context: Callable) -> None:
    part = AugmentationAtTest((InputNoise(Linear(1.0, 0.0, steps=10)),), space="output")
    assert torch.equal(part.predict(nn.Identity(), context(step=10)).answers(X)[0], X)
    assert not torch.equal(part.predict(nn.Identity(), context(step=0)).answers(X)[0], X)


@pytest.mark.parametrize("part", [Mixup(), CutMix()], ids=lambda p: p.name)
def test_a_part_that_mixes_rows_is_refused(part: Any, context: Callable) -> None:
    passes = AugmentationAtTest((part,)).predict(nn.Identity(), context())
    with pytest.raises(ArgumentError, match=f"must edit inputs only; got {type(part).__name__}"):
        passes(X)


def test_parts_within_a_part_come_back_from_yaml() -> None:
    part = AugmentationAtTest((InputNoise(Linear(1.0, 0.0, steps=10), name="first"), SwapNoise(0.2)), samples=3)
    (again,) = Recipe.from_yaml(Recipe(part).to_yaml())
    assert again == part


def test_a_wrong_part_within_a_part_is_named_when_read() -> None:
    text = "format: 1\nparts:\n  augmentation_at_test: {transforms: {input_nois: {}}}\n"
    with pytest.raises(ArgumentError, match="no regularizer is called 'input_nois'"):
        Recipe.from_yaml(text)


def test_it_can_be_saved(context: Callable) -> None:
    passes = AugmentationAtTest((InputNoise(1.0),)).predict(nn.Identity(), context())
    assert torch.equal(pickle.loads(pickle.dumps(passes))(X), passes(X))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"transforms": ()}, "`AugmentationAtTest.transforms` must be a tuple of one or more parts"),
        ({"transforms": InputNoise(0.1)}, "`AugmentationAtTest.transforms` must be a tuple"),
        ({"transforms": (L2(0.1),)}, "parts of the batch stage"),
        ({"transforms": (InputNoise(0.1), InputNoise(0.2))}, "distinct names"),
        ({"transforms": (InputNoise(0.1),), "samples": 0}, "`AugmentationAtTest.samples` must be an int >= 1; got 0"),
        ({"transforms": (InputNoise(0.1),), "space": "x"}, "`AugmentationAtTest.space` must be"),
    ],
)
def test_settings_that_augment_nothing_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        AugmentationAtTest(**settings)
