"""Ensembles against a hand loop."""

import math

import pytest
import torch

from poise.core.errors import ArgumentError
from poise.predict import Ensemble, average_probabilities


def outputs(members: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return 3 * torch.randn(members, 20, 5, dtype=dtype, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 5.0, 0.0]])
def test_probabilities_are_the_mean_of_the_members(weights: list[float] | None) -> None:
    given = outputs(4)
    slow = torch.zeros(20, 5, dtype=torch.float64)
    for member, share in zip(given, weights or [1.0] * 4, strict=True):
        odds = member.double().exp()
        slow += share / sum(weights or [1.0] * 4) * odds / odds.sum(1, keepdim=True)
    torch.testing.assert_close(average_probabilities(given, weights).double(), slow, rtol=2e-6, atol=1e-7)


def test_a_single_member_is_returned_bit_for_bit() -> None:
    given = outputs(1)
    assert torch.equal(average_probabilities(given), torch.softmax(given[0], dim=-1))
    assert torch.equal(average_probabilities(given, [7.0]), torch.softmax(given[0], dim=-1))
    assert torch.equal(Ensemble((lambda x: x,), space="output")(given[0]), given[0])


def test_rows_sum_to_one() -> None:
    torch.testing.assert_close(average_probabilities(outputs(7)).sum(-1), torch.ones(20))


def test_order_of_members_does_not_matter() -> None:
    given, weights = outputs(4, torch.float64), [1.0, 2.0, 3.0, 4.0]
    torch.testing.assert_close(
        average_probabilities(given, weights), average_probabilities(given.flip(0), weights[::-1]), rtol=1e-13, atol=0
    )


def test_averaging_outputs_is_not_averaging_probabilities() -> None:
    members = (lambda x: x, lambda x: -x)
    x = torch.tensor([[2.0, 0.0, 1.0]])
    assert Ensemble(members, space="output")(x).tolist() == [[0.0, 0.0, 0.0]]
    expected = (torch.softmax(x, -1) + torch.softmax(-x, -1)) / 2
    torch.testing.assert_close(Ensemble(members)(x).exp(), expected)


def test_weights_are_relative() -> None:
    given = outputs(3, torch.float64)
    torch.testing.assert_close(average_probabilities(given, [1, 2, 3]), average_probabilities(given, [2, 4, 6]))


def test_a_member_without_weight_has_no_say_even_if_it_diverged() -> None:
    given = outputs(2)
    given[1] = math.nan
    assert torch.equal(average_probabilities(given, [1.0, 0.0]), torch.softmax(given[0], dim=-1))


def test_half_precision_is_averaged_in_float32_and_returned_in_half() -> None:
    given = outputs(64).to(torch.bfloat16)
    found = average_probabilities(given)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), average_probabilities(given.float()), rtol=4e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"predictors": ()}, "at least one predictor"),
        ({"predictors": (abs,), "space": "logit"}, '`Ensemble.space` must be "probability" or "output"; got \'logit\''),
        ({"predictors": (abs, abs), "weights": [1.0]}, "`Ensemble.weights` must be one finite number >= 0"),
        ({"predictors": (abs, abs), "weights": [1.0, -1.0]}, "`Ensemble.weights` must be"),
        ({"predictors": (abs, abs), "weights": [0.0, 0.0]}, "`Ensemble.weights` must be"),
        ({"predictors": (abs, abs), "weights": [1.0, math.nan]}, "`Ensemble.weights` must be"),
    ],
)
def test_settings_that_make_no_mean_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Ensemble(**settings)
