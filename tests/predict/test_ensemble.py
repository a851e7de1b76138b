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


def test_log_probabilities_are_those_of_the_mean_also_far_down() -> None:
    members = (lambda x: x, lambda x: x - 3 * x.flip(-1))
    x = torch.tensor([[0.0, 300.0], [0.0, -0.5]])
    exact = torch.stack([torch.softmax(member(x).double(), -1) for member in members]).mean(0).log()
    found = Ensemble(members)(x)
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-6)
    assert torch.isfinite(found).all()
    assert not torch.isfinite(torch.softmax(x, -1).log()).all()  # which the plain way in float32 is not


def test_modules_are_children_and_other_predictors_are_not() -> None:
    ensemble = Ensemble([torch.nn.Linear(2, 3), torch.nn.Linear(2, 3)])
    assert len(list(ensemble.parameters())) == 4
    assert "predictors.1.weight" in ensemble.state_dict()
    assert not list(Ensemble([torch.nn.Linear(2, 3), abs]).parameters())


def test_an_ensemble_of_equal_ensembles_is_the_ensemble_of_all() -> None:
    given = outputs(4, torch.float64)
    members = [lambda _, one=one: one for one in given]
    nested = Ensemble([Ensemble(members[:2]), Ensemble(members[2:])])
    torch.testing.assert_close(nested(None), Ensemble(members)(None), rtol=1e-12, atol=1e-12)


def test_a_loss_takes_the_log_probabilities_as_logits() -> None:
    given, targets = outputs(3, torch.float64), torch.arange(20) % 5
    mean = Ensemble([lambda _, one=one: one for one in given])(None)
    by_hand = -average_probabilities(given)[torch.arange(20), targets].log().mean()
    torch.testing.assert_close(torch.nn.functional.cross_entropy(mean, targets), by_hand)


def test_disagreement_of_classes_is_the_slow_loops_divergence() -> None:
    given, weights = outputs(3, torch.float64), [1.0, 2.0, 1.0]
    odds = torch.softmax(given, -1)
    mean = sum(w / 4 * p for w, p in zip(weights, odds, strict=True))
    slow = sum(w / 4 * (p * (p.log() - mean.log())).sum(-1) for w, p in zip(weights, odds, strict=True))
    found = Ensemble([lambda _, one=one: one for one in given], weights).disagreement(None)
    torch.testing.assert_close(found, slow, rtol=1e-10, atol=1e-12)


def test_disagreement_runs_from_none_to_log_members() -> None:
    same, sure = torch.zeros(1, 3), 1000 * torch.eye(3)[:, None]
    assert float(Ensemble([lambda _: same] * 3).disagreement(None)) == pytest.approx(0, abs=1e-6)
    assert float(Ensemble([lambda _, s=s: s for s in sure]).disagreement(None)) == pytest.approx(math.log(3), rel=1e-6)


def test_disagreement_of_numbers_is_what_the_mean_gains() -> None:
    given, targets = outputs(4, torch.float64), outputs(1, torch.float64)[0]
    ensemble = Ensemble([lambda _, one=one: one for one in given], [1.0, 2.0, 3.0, 4.0], space="output")
    each = sum(w / 10 * (one - targets).square().mean(-1) for w, one in zip([1, 2, 3, 4], given, strict=True))
    gained = each - (ensemble(None) - targets).square().mean(-1)
    torch.testing.assert_close(ensemble.disagreement(None), gained, rtol=1e-10, atol=1e-12)


def test_probabilities_of_a_single_output_are_refused() -> None:
    with pytest.raises(ArgumentError, match='Set space="output" for a regression'):
        Ensemble((lambda x: x, lambda x: -x))(torch.zeros(4, 1))


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
