"""Temperatures of many at once: what bisection in float64 finds for each, and nothing that one does to another."""

import math

import pytest
import torch
from torch import Tensor

from poise.predict import fit_temperature, fit_temperatures

SHARPNESS = (0.02, 0.3, 1.0, 4.0, 15.0)  # of logits that are true at 1


def made(classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits of members that are too sure or not sure enough, their soft targets and weights."""
    generator = torch.Generator().manual_seed(classes)
    true = torch.randn(len(SHARPNESS), 300, classes, generator=generator)
    labels = torch.multinomial(torch.softmax(true, -1).flatten(0, 1), 1, generator=generator).reshape(true.shape[:2])
    targets = torch.nn.functional.one_hot(labels, classes).float() * 0.9 + 0.1 / classes
    weights = torch.rand(true.shape[:2], generator=generator)
    return true * torch.tensor(SHARPNESS)[:, None, None], targets, weights


@pytest.mark.parametrize("classes", [2, 5])
def test_each_is_what_bisection_finds_for_it_alone(classes: int) -> None:
    logits, targets, weights = made(classes)
    found = fit_temperatures(logits, targets, weights)
    alone = [fit_temperature(*one) for one in zip(logits, targets, weights, strict=True)]
    torch.testing.assert_close(found.tolist(), alone, rtol=2e-3, atol=0)
    assert found[0] < 0.3
    assert found[-1] > 3


def test_newton_does_not_go_to_and_fro_where_classes_are_many() -> None:
    rows, labels = torch.zeros(21, 126), torch.arange(21).sub(17).clamp(min=0)
    rows[:, 0] = 9.1  # right 18 times of 21: odds of 6 against 125 others together = e^(9.1 / T) / 125
    found = fit_temperatures(rows[None], torch.nn.functional.one_hot(labels, 126).float(), torch.ones(21))
    assert float(found) == pytest.approx(9.1 / math.log(6 * 125), rel=1e-4)


def test_smoothing_is_that_of_the_labels() -> None:
    logits, targets, weights = made(4)
    weights[:, 40:] = 0
    smooth = (40 * targets + 2 / 4) / 42
    found = fit_temperatures(logits, targets, weights, smoothing=2.0)
    torch.testing.assert_close(found, fit_temperatures(logits, smooth, weights), rtol=1e-4, atol=0)
    few = torch.eye(4)
    assert fit_temperatures(few[None], few, torch.ones(4))[0] < 0.07
    # Right 4.25 times of 5, where each wrong class has the same rest: odds of 4.25 / 0.25 = e^(1 / T).
    torch.testing.assert_close(
        fit_temperatures(few[None], few, torch.ones(4), smoothing=1.0), torch.tensor([1 / math.log(17)])
    )


def test_shared_targets_and_weights_are_every_members() -> None:
    logits, targets, weights = made(3)
    both = fit_temperatures(logits, targets[0], weights[0])
    torch.testing.assert_close(both, fit_temperatures(logits, targets[0].expand_as(logits), weights[0].expand(5, -1)))


def test_rows_of_no_weight_may_hold_anything() -> None:
    logits, targets, weights = made(3)
    weights[:, ::3] = 0
    expected = fit_temperatures(logits[:, weights[0] > 0], targets[:, weights[0] > 0], weights[:, weights[0] > 0])
    logits[:, ::3], targets[:, ::3] = torch.nan, torch.inf
    torch.testing.assert_close(fit_temperatures(logits, targets, weights), expected)


def test_one_that_diverged_has_1_and_changes_no_other() -> None:
    logits, targets, weights = made(3)
    before = fit_temperatures(logits, targets, weights)
    logits[2, 7, 1] = torch.nan
    after = fit_temperatures(logits, targets, weights)
    assert after[2] == 1
    assert after[[0, 1, 3, 4]].equal(before[[0, 1, 3, 4]])


def test_logits_that_are_always_right_always_wrong_or_say_nothing() -> None:
    right = torch.eye(3).repeat(4, 1)
    found = fit_temperatures(torch.stack([right, -right, torch.zeros(12, 3)]), right, torch.ones(12))
    assert 0.05 <= found[0] < 0.07  # where float32 tells no difference any more
    assert found[1:].tolist() == [20.0, 1.0]
