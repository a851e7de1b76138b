"""Label smoothing: torch's own smoothed loss, and that it commutes with mixup."""

import math

import pytest
import torch
from torch.nn import functional as F

from poise.batch import LabelSmoothing, Mixup
from poise.core.context import Batch, Context
from poise.core.errors import ArgumentError
from poise.core.recipe import Recipe
from poise.core.rng import Rng, key
from poise.testing import check_regularizer

pytestmark = pytest.mark.usefixtures("seeded")


def test_battery() -> None:
    check_regularizer(LabelSmoothing(0.2))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
@pytest.mark.parametrize("amount", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_the_loss_is_torchs_smoothed_loss(run, amount, reduction, dtype, tolerance) -> None:  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 4, generator=generator, dtype=dtype)
    labels = torch.arange(50) % 4
    smooth = run(LabelSmoothing(amount), logits, torch.eye(4, dtype=dtype)[labels]).targets
    ours = F.cross_entropy(logits, smooth, reduction=reduction)
    theirs = F.cross_entropy(logits, labels, label_smoothing=amount, reduction=reduction)
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    soft = torch.rand(50, 4, generator=generator, dtype=dtype).softmax(-1)
    ours = F.cross_entropy(logits, run(LabelSmoothing(amount), logits, soft).targets, reduction=reduction)
    theirs = F.cross_entropy(logits, soft, label_smoothing=amount, reduction=reduction)
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def test_with_class_weights_and_soft_targets_the_loss_is_torchs_too(run) -> None:  # type: ignore[no-untyped-def]
    logits = torch.randn(20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    soft, weight = logits.flip(0).softmax(-1), torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    ours = F.cross_entropy(logits, run(LabelSmoothing(0.1), logits, soft).targets, weight=weight)
    theirs = F.cross_entropy(logits, soft, weight=weight, label_smoothing=0.1)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_zero_is_the_identity_to_the_bit_and_one_is_uniform(run, one_hot) -> None:  # type: ignore[no-untyped-def]
    y = one_hot(6, 3)
    assert torch.equal(run(LabelSmoothing(0.0), y, y).targets, y)
    torch.testing.assert_close(run(LabelSmoothing(1.0), y, y).targets, torch.full_like(y, 1 / 3))


def test_one_class_stays_certain(run) -> None:  # type: ignore[no-untyped-def]
    y = torch.ones(4, 1, dtype=torch.float64)
    assert torch.equal(run(LabelSmoothing(0.25), y, y).targets, y)


@pytest.mark.parametrize("shape", [(5,), (5, 2)])
def test_regression_targets_are_left_as_they_are(run, shape) -> None:  # type: ignore[no-untyped-def]
    y = torch.rand(shape)
    assert run(LabelSmoothing(0.5), torch.rand(5, 2), y, classes=None).targets is y


@pytest.mark.parametrize("mixup_first", [True, False])
def test_with_mixup_the_listing_order_does_not_matter(one_hot, mixup_first) -> None:  # type: ignore[no-untyped-def]
    parts = (Mixup(1.0), LabelSmoothing(0.4))
    listed = Recipe(*parts) if mixup_first else Recipe(*reversed(parts))
    y, ctx = one_hot(6, 3), Context(0, Rng(key(2)), classes=3)
    batch, _ = listed.fold("batch", Batch(y, y), listed.remember({}), ctx)
    mixed, _ = parts[0].batch(Batch(y, y), {}, ctx.within("mixup"))
    torch.testing.assert_close(batch.targets, 0.6 * mixed.targets + 0.4 / 3, rtol=1e-12, atol=1e-12)


def test_with_mixup_the_order_of_acting_does_not_matter_either(run, one_hot) -> None:  # type: ignore[no-untyped-def]
    y = one_hot(6, 3)
    first = run(LabelSmoothing(0.4), y, run(Mixup(1.0), y, y).targets).targets
    second = run(Mixup(1.0), y, run(LabelSmoothing(0.4), y, y).targets).targets
    torch.testing.assert_close(first, second, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("amount", [-0.1, 1.1, math.nan, "0.1", True])
def test_an_amount_outside_its_range_is_refused(amount: object) -> None:
    with pytest.raises(ArgumentError, match=r"`LabelSmoothing\.amount` must be in \[0, 1\]; got"):
        LabelSmoothing(amount)  # type: ignore[arg-type]
