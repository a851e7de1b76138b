"""Targets of several tasks through the batch stage: each as if it were alone, and missing labels stay missing."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from poise.batch import CutMix, LabelSmoothing, Mixup
from poise.core.context import Batch, Context
from poise.core.recipe import Recipe
from poise.core.rng import Rng, key
from poise.network import MultiTask

NAN = float("nan")
CTX = Context(0, Rng(key(0)).fold("part"), columns=torch.arange(3), classes={"species": 3})
CASES = [Mixup(0.4, share=0.7), CutMix(1.0)]


def targets(missing: bool = True) -> dict[str, Tensor]:
    species = torch.eye(3)[torch.arange(40) % 3]
    age, size = torch.linspace(-1, 1, 40), torch.linspace(2, 9, 80).reshape(40, 2)
    if missing:
        species[::4], age[1::5], size[2::7] = NAN, NAN, NAN
    return {"species": species, "age": age, "size": size}


def inputs() -> Tensor:
    return torch.randn(40, 3, generator=torch.Generator().manual_seed(0))


def same(first: Tensor, second: Tensor) -> bool:
    return torch.equal(first.nan_to_num(1e9), second.nan_to_num(1e9))


@pytest.mark.parametrize("part", CASES, ids=lambda part: part.name)
def test_each_task_is_mixed_as_if_it_were_alone(part: Any) -> None:
    given = targets(missing=False)
    mixed, _ = part.batch(Batch(inputs(), given), {}, CTX)
    for task, own in given.items():
        alone, _ = part.batch(Batch(inputs(), own), {}, CTX)
        assert torch.equal(mixed.targets[task], alone.targets)
        assert torch.equal(mixed.inputs, alone.inputs)


@pytest.mark.parametrize("part", CASES, ids=lambda part: part.name)
def test_a_label_is_missing_where_one_of_the_mixed_rows_lacks_it_and_nowhere_else(part: Any) -> None:
    given, whole = targets(), targets(missing=False)
    batch = Batch(inputs(), given)
    partner, taken = part.draw(CTX.rng, batch, CTX)
    mixed = part.apply(batch, (partner, taken), CTX).targets
    expected = part.apply(Batch(inputs(), whole), (partner, taken), CTX).targets
    moved = (taken > 0) if taken.dim() == 1 else taken.any(-1)
    for task, own in given.items():
        gone = own.reshape(40, -1).isnan().any(-1)
        lacking = gone | (moved & gone[partner])
        found = mixed[task].reshape(40, -1)
        assert torch.equal(found.isnan().all(-1), lacking)
        assert torch.equal(found[~lacking], expected[task].reshape(40, -1)[~lacking])
    assert bool(moved.any())
    assert not bool(moved.all())


@pytest.mark.parametrize("part", [Mixup(0.4, share=0.0), CutMix(share=0.0)], ids=lambda part: part.name)
def test_at_neutral_a_partner_without_a_label_takes_none_away(part: Any) -> None:
    mixed, _ = part.batch(Batch(inputs(), targets()), {}, CTX)
    assert all(same(mixed.targets[task], own) for task, own in targets().items())


def test_class_tasks_are_smoothed_over_their_own_classes_and_missing_rows_stay() -> None:
    smooth, _ = LabelSmoothing(0.3).batch(Batch(inputs(), targets()), {}, CTX)
    given = targets()
    assert same(smooth.targets["species"], 0.7 * given["species"] + 0.1)
    assert same(smooth.targets["age"], given["age"])


@pytest.mark.usefixtures("seeded")
def test_a_run_encodes_class_indices_by_the_width_of_their_heads() -> None:
    model = MultiTask(nn.Linear(3, 4), {"species": nn.Linear(4, 3), "age": nn.Linear(4, 1)})
    run = Recipe(LabelSmoothing(0.3)).start(model)
    classes, age = torch.tensor([0, 2, -1, 1]), torch.tensor([1.0, NAN, 2.0, 3.0])
    _, found = run.batch(torch.randn(4, 3), {"species": classes, "age": age})
    expected = 0.7 * torch.eye(3)[[0, 2, 0, 1]] + 0.1
    expected[2] = NAN
    torch.testing.assert_close(found["species"], expected, equal_nan=True)
    assert same(found["age"], age)
    assert run.classes == {"species": 3}


@pytest.mark.usefixtures("seeded")
def test_distributions_are_smoothed_where_the_run_knows_that_they_are() -> None:
    model = MultiTask(nn.Linear(3, 4), {"species": nn.Linear(4, 3), "size": nn.Linear(4, 2)})
    run = Recipe(LabelSmoothing(0.3)).start(model, classes={"species": 3})
    _, found = run.batch(inputs(), targets())
    assert same(found["species"], 0.7 * targets()["species"] + 0.1)
    assert same(found["size"], targets()["size"])
