"""The report against scikit-learn."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss

from poise.core.errors import ArgumentError, DataError
from poise.predict import Calibration, calibration, expected_calibration_error


def rows(classes: int, count: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(count, classes, dtype=torch.float64, generator=generator)
    targets = torch.multinomial(torch.softmax(logits / 2, 1), 1, generator=generator)[:, 0]
    return torch.softmax(logits, 1), targets


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("bins", [1, 10, 15])
def test_bins_are_scikit_learns_calibration_curve_of_the_confidence(classes: int, bins: int) -> None:
    probabilities, targets = rows(classes)
    confidence, chosen = probabilities.max(1)
    accuracies, confidences = calibration_curve((chosen == targets).numpy(), confidence.numpy(), n_bins=bins)
    found = calibration(probabilities, targets, bins)
    kept = found.counts > 0
    assert found.accuracies[kept].numpy() == pytest.approx(accuracies, rel=1e-12)
    assert found.confidences[kept].numpy() == pytest.approx(confidences, rel=1e-12)
    assert found.accuracies[~kept].isnan().all()
    weights = found.counts[kept].numpy() / 400
    assert found.error == pytest.approx(float((weights * np.abs(accuracies - confidences)).sum()), rel=1e-12)
    assert found.error == expected_calibration_error(probabilities, targets, bins)


def test_brier_of_two_classes_is_twice_scikit_learns_of_one() -> None:
    probabilities, targets = rows(2)
    assert calibration(probabilities, targets).brier == pytest.approx(
        2 * brier_score_loss(targets.numpy(), probabilities[:, 1].numpy()), rel=1e-12
    )


def test_brier_of_more_classes_is_the_sum_over_them() -> None:
    probabilities, targets = rows(5)
    each = [brier_score_loss((targets == k).numpy(), probabilities[:, k].numpy()) for k in range(5)]
    assert calibration(probabilities, targets).brier == pytest.approx(sum(each), rel=1e-12)


@pytest.mark.parametrize("classes", [2, 5])
def test_log_loss_and_accuracy_are_scikit_learns(classes: int) -> None:
    probabilities, targets = rows(classes)
    found = calibration(probabilities, targets)
    assert found.log_loss == pytest.approx(log_loss(targets.numpy(), probabilities.numpy()), rel=1e-12)
    assert found.accuracy == accuracy_score(targets.numpy(), probabilities.argmax(1).numpy())


def test_distributions_are_targets_too() -> None:
    probabilities, targets = rows(3)
    one_hot = torch.nn.functional.one_hot(targets, 3)
    assert str(calibration(probabilities, one_hot)) == str(calibration(probabilities, targets))
    soft = calibration(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]]))
    assert soft.log_loss == pytest.approx(math.log(2))
    assert soft.brier == pytest.approx(0.125)


def test_a_target_of_probability_zero_costs_infinitely() -> None:
    assert calibration(torch.tensor([[1.0, 0.0]]), torch.tensor([1])).log_loss == math.inf
    assert calibration(torch.tensor([[1.0, 0.0]]), torch.tensor([0])).log_loss == 0


def test_it_prints_the_bins_that_have_rows() -> None:
    text = str(calibration(torch.tensor([[0.75, 0.25], [0.75, 0.25]]), torch.tensor([0, 1])))
    assert text.splitlines()[0] == "accuracy 0.5000, log-loss 0.8370, Brier 0.6250, calibration error 0.2500"
    assert text.splitlines()[2].split() == ["0.750", "0.500", "2"]
    assert len(text.splitlines()) == 3


@pytest.mark.parametrize("function", [calibration, expected_calibration_error])
def test_logits_are_refused_by_the_row_that_is_no_distribution(function: Any) -> None:
    for row, found in (([0.5, 2.0], "0.5 and a sum of 2.5"), ([1.5, -0.5], "-0.5 and a sum of 1")):
        with pytest.raises(DataError, match=f"sum to 1 in each row; got row 1 with a smallest number of {found}"):
            function(torch.tensor([[0.5, 0.5], row]), torch.tensor([0, 1]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_probabilities_of_half_precision_are_distributions(dtype: torch.dtype) -> None:
    probabilities, targets = rows(5)
    found = calibration(probabilities.to(dtype), targets)
    assert found.brier == pytest.approx(calibration(probabilities, targets).brier, rel=1e-2)


def test_bins_must_be_a_count() -> None:
    with pytest.raises(ArgumentError, match=r"`calibration.bins` must be an int >= 1; got 0"):
        calibration(torch.eye(2), torch.tensor([0, 1]), bins=0)


def test_the_report_is_a_frozen_record() -> None:
    report = calibration(torch.eye(2), torch.tensor([0, 1]))
    assert isinstance(report, Calibration)
    with pytest.raises(AttributeError):
        report.error = 1.0  # type: ignore[misc]
