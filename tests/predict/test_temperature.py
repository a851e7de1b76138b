"""Temperature against scipy's minimiser, calibration error against a slow loop."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch.nn import functional

from poise import ArgumentError, DataError, Recipe, SnapshotEnsemble, Temperature
from poise.predict import calibrate, expected_calibration_error, fit_temperature
from poise.testing import check_regularizer


def rows(scale: float, count: int = 4000, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are `scale` times those which the targets were drawn from."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, 4, dtype=torch.float64, generator=generator)
    targets = torch.multinomial(torch.softmax(logits, 1), 1, generator=generator)[:, 0]
    return scale * logits, targets


def loss(logits: torch.Tensor, targets: torch.Tensor, temperature: float) -> float:
    return float(functional.cross_entropy(logits / temperature, targets))


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.5])
def test_it_is_scipys_minimum(scale: float) -> None:
    logits, targets = rows(scale)
    found = fit_temperature(logits, targets)
    reference = minimize_scalar(
        lambda t: loss(logits, targets, math.exp(t)), bounds=(-3, 3), method="bounded", options={"xatol": 1e-10}
    )
    assert math.log(found) == pytest.approx(reference.x, abs=1e-6)
    assert found == pytest.approx(scale, rel=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_never_worse_than_one_on_the_rows_given(seed: int) -> None:
    logits, targets = rows(1.0, count=7, seed=seed)
    assert loss(logits, targets, fit_temperature(logits, targets)) <= loss(logits, targets, 1.0)


def test_the_derivative_vanishes_there() -> None:
    logits, targets = rows(2.5)
    inverse = torch.tensor(1 / fit_temperature(logits, targets), dtype=torch.float64, requires_grad=True)
    functional.cross_entropy(logits * inverse, targets).backward()
    assert abs(float(inverse.grad)) < 1e-10


def test_rows_that_are_always_right_or_always_wrong_end_at_the_bounds() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    assert fit_temperature(logits, torch.tensor([0, 1])) == pytest.approx(0.05)
    assert fit_temperature(logits, torch.tensor([1, 0])) == pytest.approx(20.0)


def test_constant_logits_leave_temperature_without_effect() -> None:
    assert fit_temperature(torch.zeros(3, 2), torch.tensor([0, 1, 0])) == 1


def test_a_weight_of_two_is_the_row_twice() -> None:
    logits, targets = rows(2.0, count=50)
    weights = torch.ones(50)
    weights[:10] = 2
    twice = fit_temperature(torch.cat([logits, logits[:10]]), torch.cat([targets, targets[:10]]))
    assert fit_temperature(logits, targets, weights) == pytest.approx(twice, rel=1e-9)


def test_distributions_are_targets_too() -> None:
    logits, targets = rows(2.0, count=50)
    assert fit_temperature(logits, functional.one_hot(targets, 4)) == fit_temperature(logits, targets)


def test_float32_logits_are_fitted_in_float64() -> None:
    logits, targets = rows(2.0)
    assert fit_temperature(logits.float(), targets) == pytest.approx(fit_temperature(logits, targets), rel=1e-6)


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_calibration_error_is_the_slow_loops(bins: int) -> None:
    logits, targets = rows(2.0, count=500)
    probabilities = torch.softmax(logits, 1)
    slow = 0.0
    confidence, chosen = (v.numpy() for v in probabilities.max(1))
    for b in range(bins):
        own = (confidence > b / bins) & (confidence <= (b + 1) / bins)
        if own.any():
            slow += own.mean() * abs(np.mean(chosen[own] == targets.numpy()[own]) - confidence[own].mean())
    assert expected_calibration_error(probabilities, targets, bins) == pytest.approx(slow, rel=1e-12)


def test_calibration_error_falls_with_the_right_temperature() -> None:
    logits, targets = rows(3.0)
    before = expected_calibration_error(torch.softmax(logits, 1), targets)
    after = expected_calibration_error(torch.softmax(logits / fit_temperature(logits, targets), 1), targets)
    assert after < 0.03
    assert before > 0.1


def test_sure_and_right_is_calibrated_sure_and_wrong_is_not() -> None:
    sure = torch.eye(3, dtype=torch.float64)
    assert expected_calibration_error(sure, torch.tensor([0, 1, 2])) == 0
    assert expected_calibration_error(sure, torch.tensor([1, 2, 0])) == 1


@pytest.mark.parametrize(
    ("values", "targets", "message"),
    [
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), "at least one of each"),
        (torch.zeros(3), torch.zeros(3, dtype=torch.int64), r"predictions must be \(rows, classes\)"),
        (torch.zeros(2, 3), torch.tensor([0, 3]), r"targets must be in 0 .. 2; got 0 .. 3"),
        (torch.zeros(2, 3), torch.zeros(2), r"targets must be \(2,\) classes"),
        (torch.tensor([[0.0, math.nan]]), torch.tensor([0]), "must be finite"),
        (torch.full((2, 2), 0.5), torch.tensor([[0.5, 0.5], [1.0, 1.0]]), "targets must be .* got row 1 .* a sum of 2"),
    ],
)
def test_rows_that_cannot_be_used_are_refused(values: torch.Tensor, targets: torch.Tensor, message: str) -> None:
    for function in (fit_temperature, expected_calibration_error):
        with pytest.raises(DataError, match=message):
            function(values, targets)


@pytest.mark.parametrize("weights", [[1.0, -1.0], [1.0, math.nan], [1.0, math.inf]])
def test_weights_below_0_or_beyond_numbers_are_refused(weights: list[float]) -> None:
    with pytest.raises(DataError, match="weights must be finite numbers >= 0"):
        fit_temperature(torch.eye(2), torch.tensor([0, 1]), torch.tensor(weights))


def test_the_part_divides_the_logits_and_comes_last() -> None:
    assert check_regularizer(Temperature(2.0)).count >= 18
    logits, _ = rows(1.0, count=6)
    run = Recipe(Temperature(4.0), SnapshotEnsemble(1, 1)).start(torch.nn.Linear(4, 4).double())
    predictor = run.recipe["temperature"].predict(torch.nn.Identity(), None)
    assert torch.equal(predictor(logits), logits / 4)
    assert [part.name for part in run.recipe.stage("predict")] == ["snapshot_ensemble", "temperature"]


def test_calibrating_is_fitting_the_temperature() -> None:
    logits, targets = rows(3.0)
    found = calibrate(torch.nn.Identity().eval(), logits, targets)
    assert found.temperature == fit_temperature(logits, targets)
    torch.testing.assert_close(found.predictor(logits), logits / found.temperature)
    assert found.before.error == expected_calibration_error(torch.softmax(logits, 1), targets)
    assert found.after.error == expected_calibration_error(torch.softmax(logits / found.temperature, 1), targets)
    assert found.after.error < 0.03
    assert found.before.error > 0.1
    assert found.after.log_loss < found.before.log_loss
    assert found.after.accuracy == found.before.accuracy


def test_the_temperature_is_saved_with_the_predictor() -> None:
    predictor = Temperature(2.5).predict(torch.nn.Identity(), None)
    assert float(predictor.state_dict()["temperature"]) == 2.5


def test_a_predictor_in_training_mode_is_not_calibrated() -> None:
    with pytest.raises(ArgumentError, match="must be in evaluation mode; got 'Linear'"):
        calibrate(torch.nn.Linear(2, 2), torch.zeros(2, 2), torch.tensor([0, 1]))


def test_bins_must_be_a_count() -> None:
    with pytest.raises(ArgumentError, match="bins` must be an int >= 1; got 0"):
        expected_calibration_error(torch.eye(2), torch.tensor([0, 1]), bins=0)
