"""Augmented data sets: the pictures of `run.batch`, from any number of workers, in any batches."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from poise import Affine, ArgumentError, AugMix, ColorJitter, Crop, Cutout, Flip, Linear, Mixup, RandAugment, Recipe
from poise.train.augmented import Augmented

pytestmark = pytest.mark.usefixtures("seeded")

RECIPE = Recipe(Flip(), Crop(2.0), Affine(), ColorJitter(), RandAugment(), Cutout(0.3))
ROWS = 14


def pictures(dtype: torch.dtype = torch.uint8) -> Tensor:
    levels = torch.randint(0, 256, (ROWS, 3, 10, 12), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return levels if dtype == torch.uint8 else levels.to(dtype) / 255


def seen(loader: DataLoader[Any]) -> Tensor:
    """The pictures in the order of the data set; the label of a sample is its number."""
    batches = list(loader)
    labels = torch.cat([y for _, y in batches])
    return torch.cat([x for x, _ in batches])[labels.argsort()]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
def test_the_pictures_are_those_of_a_run_with_ids(dtype: torch.dtype) -> None:
    images, labels = pictures(dtype), torch.arange(ROWS)
    data = Augmented(TensorDataset(images, labels), RECIPE, seed=7)
    run = RECIPE.start(nn.Linear(2, 2), seed=7, classes=ROWS)
    for epoch in (0, 4):
        data.set_epoch(epoch)
        expected, _ = run.batch(images, labels, ids=labels, epoch=epoch)
        assert torch.equal(torch.stack([data[index][0] for index in range(ROWS)]), expected)
        assert not torch.equal(expected, images)


@pytest.mark.parametrize(("workers", "kept"), [(1, False), (2, False), (2, True)])
def test_workers_batch_sizes_and_orders_change_nothing(workers: int, kept: bool) -> None:
    data = Augmented(TensorDataset(pictures(), torch.arange(ROWS)), RECIPE, seed=7)
    loader = DataLoader(data, 5, shuffle=True, num_workers=workers, persistent_workers=kept)
    for epoch in (0, 3):
        data.set_epoch(epoch)
        assert torch.equal(seen(loader), seen(DataLoader(data, 4)))
    data.set_epoch(0)
    first = seen(DataLoader(data, ROWS))
    data.set_epoch(1)
    assert not torch.equal(first, seen(DataLoader(data, ROWS)))


class Sample(NamedTuple):
    image: Tensor
    label: int


def test_samples_of_every_form_and_of_several_sizes() -> None:
    first, second = torch.rand(3, 6, 8), torch.rand(3, 5, 5)
    forms = [first, (first, 1), [second, 2, "name"], Sample(second, 3)]
    data = Augmented(forms, Recipe(Flip(1.0)))
    found = data.__getitems__([0, 1, 2, 3])
    assert torch.equal(found[0], first.flip(-1))
    assert torch.equal(found[1][0], first.flip(-1))
    assert found[1][1] == 1
    assert isinstance(found[2], list)
    assert found[2][1:] == [2, "name"]
    assert isinstance(found[3], Sample)
    assert torch.equal(found[3].image, second.flip(-1))
    assert torch.equal(data[-1].image, found[3].image)
    assert len(data) == 4


def test_what_is_given_stays_as_it_is() -> None:
    images = pictures()
    kept = images.clone()
    data = Augmented(TensorDataset(images, torch.arange(ROWS)), RECIPE)
    data.__getitems__(range(ROWS))
    assert torch.equal(images, kept)


@pytest.mark.parametrize("recipe", [Recipe(Mixup()), Recipe(Flip(), Mixup())])
def test_parts_that_mix_rows_are_refused(recipe: Recipe) -> None:
    with pytest.raises(ArgumentError, match=r"`Augmented.recipe` must hold edits of single images; got Mixup"):
        Augmented([torch.zeros(3, 2, 2)], recipe)


@pytest.mark.parametrize("value", [Linear(0.0, 0.5, 10), torch.tensor([0.1, 0.2])], ids=["schedule", "members"])
def test_schedules_and_members_are_refused(value: Any) -> None:
    with pytest.raises(ArgumentError, match=r"`Augmented.recipe` must hold plain numbers; got flip.horizontal = "):
        Augmented([torch.zeros(3, 2, 2)], Recipe(Flip(value)))


def test_data_without_a_length_or_images_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"`Augmented.dataset` must have a length and samples by index; got gen"):
        Augmented((x for x in [1]), Recipe(Flip()))
    for sample, got in [(torch.zeros(2, 2), r"shape \(2, 2\)"), (("a", 1), "str"), ((), "tuple")]:
        with pytest.raises(ArgumentError, match=rf"must give images \(channels, height, width\).*got {got}"):
            Augmented([sample], Recipe(AugMix()))[0]


@pytest.mark.parametrize("epoch", [-1, 1.0, True, "1"])
def test_another_epoch_is_refused(epoch: Any) -> None:
    with pytest.raises(ArgumentError, match=r"`Augmented.epoch` must be an int >= 0; got"):
        Augmented([torch.zeros(3, 2, 2)], Recipe(Flip())).set_epoch(epoch)
