"""The same picture for a sample and an epoch, in any batch and any order; and alternating flips."""

import pytest
import torch
from torch import Tensor, nn

from poise import (
    Affine,
    ArgumentError,
    AugMix,
    Blur,
    ColorJitter,
    Crop,
    CutMix,
    Cutout,
    Flip,
    GridMask,
    InputNoise,
    Mixup,
    MixupOrCutMix,
    RandAugment,
    RandomErasing,
    RandomResizedCrop,
    Recipe,
    Sharpness,
    Solarize,
    TrivialAugment,
)
from poise.core.regularizer import Regularizer

pytestmark = pytest.mark.usefixtures("seeded")

ROWS = 12
ALONE: list[Regularizer] = [
    Flip(), Flip(alternating=True), Crop(), Affine(), RandomResizedCrop(), ColorJitter(), Cutout(0.4),
    RandomErasing(0.9), RandomErasing(0.9, fill="uniform"), GridMask(), Blur(), Sharpness(), Solarize(),
    RandAugment(), TrivialAugment(), AugMix(share=1.0), InputNoise(),
]  # fmt: skip
MIXING: list[Regularizer] = [Mixup(1.0), CutMix(), MixupOrCutMix(mixup_alpha=1.0)]


def images() -> Tensor:
    return torch.rand(ROWS, 3, 16, 20, generator=torch.Generator().manual_seed(1))


def seen(part: Regularizer, ids: list[int], epoch: int = 0, seed: int = 5, before: int = 0) -> Tensor:
    """The pictures of samples in one batch of a new run, after `before` other batches."""
    run = Recipe(part).start(nn.Sequential(nn.Flatten(), nn.Linear(960, 3)), seed=seed)
    whole, labels = images(), torch.arange(ROWS) % 3
    for _ in range(before):
        run.batch(whole, labels, ids=torch.arange(ROWS), epoch=9)
        run.draws += 1
    x, _ = run.batch(whole[ids], labels[ids], ids=torch.tensor(ids), epoch=epoch)
    return x  # type: ignore[no-any-return]


@pytest.mark.parametrize("part", ALONE, ids=repr)
def test_a_samples_picture_is_its_own_in_any_batch_order_and_step(part: Regularizer) -> None:
    whole = seen(part, list(range(ROWS)), epoch=3)
    assert not torch.equal(whole, images())
    assert torch.equal(seen(part, [7, 2, 9], epoch=3, before=2), whole[[7, 2, 9]])


@pytest.mark.parametrize("part", ALONE, ids=repr)
def test_another_epoch_and_another_seed_show_others(part: Regularizer) -> None:
    whole = seen(part, list(range(ROWS)), epoch=3)
    assert not torch.equal(seen(part, list(range(ROWS)), epoch=4), whole)
    if part != Flip(alternating=True):  # whose epochs differ by more than a seed may
        assert not torch.equal(seen(part, list(range(ROWS)), epoch=3, seed=6), whole)


@pytest.mark.parametrize("part", MIXING, ids=repr)
def test_mixed_rows_move_with_the_order_of_the_batch(part: Regularizer) -> None:
    ids = [4, 8, 1, 6, 3]
    turned = [6, 4, 3, 8, 1]
    first, second = seen(part, ids), seen(part, turned)
    assert torch.equal(second, first[[ids.index(one) for one in turned]])
    assert not torch.equal(first, images()[ids])


def test_alternating_flips_show_both_ways_in_two_epochs() -> None:
    part, whole = Flip(alternating=True), images()
    epochs = [seen(part, list(range(ROWS)), epoch) for epoch in range(4)]
    flipped = [(epoch != whole).flatten(1).any(1) for epoch in epochs]
    assert bool((flipped[0] ^ flipped[1]).all())
    assert torch.equal(flipped[0], flipped[2])
    assert torch.equal(flipped[1], flipped[3])
    assert 0 < int(flipped[0].sum()) < ROWS
    never, always = (seen(Flip(p, alternating=True), list(range(ROWS)), epoch=1) for p in (0.0, 1.0))
    assert torch.equal(never, whole)
    assert torch.equal(always, whole.flip(-1))


def test_alternating_flips_need_ids() -> None:
    run = Recipe(Flip(alternating=True)).start(nn.Linear(2, 2))
    with pytest.raises(ArgumentError, match=r"`Flip.alternating` must have the rows' ids; got a batch without"):
        run.batch(images(), torch.zeros(ROWS, 2))


def test_weights_come_back_and_ids_do_not() -> None:
    run = Recipe(Flip()).start(nn.Sequential(nn.Flatten(), nn.Linear(960, 3)))
    found = run.batch(images(), torch.arange(ROWS) % 3, torch.ones(ROWS), ids=range(ROWS), epoch=0)
    assert [tuple(one.shape) for one in found] == [(ROWS, 3, 16, 20), (ROWS, 3), (ROWS,)]


def test_the_two_views_of_aug_mix_are_those_of_the_sample() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(960, 3))
    whole, labels = images(), torch.arange(ROWS) % 3
    terms = []
    for ids in ([3, 5], [5, 3]):
        run = Recipe(AugMix()).start(model, seed=5)
        x, y = run.batch(whole[ids], labels[ids], ids=torch.tensor(ids), epoch=0)
        out = run.model(x)
        run.objective(nn.functional.cross_entropy(out, y), outputs=out)
        terms.append(float(run.terms["aug_mix"]))
    assert terms[0] == pytest.approx(terms[1], rel=1e-5)
    assert terms[0] > 0
