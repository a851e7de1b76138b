"""The gap over rows and steps, and the check of memory, on scikit-learn's digits."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.datasets import load_digits
from torch import Tensor, nn

from poise import ArgumentError, Dropout, GapMeter, PoiseWarning, Recipe, WeightNoise, learning_curve, memorization
from poise.diagnosis.curves import _T, over_seeds

Data = tuple[Tensor, Tensor]


@pytest.fixture(scope="module")
def digits() -> tuple[Data, Data]:
    x, y = load_digits(return_X_y=True)
    inputs, targets = torch.from_numpy(x).float() / 16, torch.from_numpy(y)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    inputs, targets = inputs[order], targets[order]
    return (inputs[:400], targets[:400]), (inputs[400:1000], targets[400:1000])


def dense() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTM(8, 8, batch_first=True), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.cell(x.reshape(-1, 8, 8))[0][:, -1])


@pytest.fixture(scope="module")
def curve(digits: Any) -> Any:
    return learning_curve(dense, *digits, sizes=(50, 400), seeds=4, steps=150)


def test_more_rows_help_and_narrow_the_gap(curve: Any) -> None:
    validation = [one.value for one in curve.validation]
    assert validation == sorted(validation, reverse=True)
    gaps = [two.value - one.value for one, two in zip(curve.train, curve.validation, strict=True)]
    assert gaps[0] > 1.3 * gaps[-1] > 0
    assert curve.more.low > 0
    assert "more rows help" in str(curve)
    assert curve.best_step in curve.steps


def test_the_curve_repeats(curve: Any, digits: Any) -> None:
    again = learning_curve(dense, *digits, sizes=(50, 400), seeds=4, steps=150)
    assert again == curve


def test_unseen_rows_may_lack_the_last_class(digits: Any) -> None:
    train, (x, y) = digits
    found = learning_curve(dense, train, (x[y < 9], y[y < 9]), sizes=(50, 400), seeds=2, steps=5)
    assert np.isfinite(found.validation[-1].value)


def test_plots_show_both_losses(curve: Any) -> None:
    figure = curve.plot()
    assert [axis.get_legend_handles_labels()[1] for axis in figure.axes] == [["train", "validation"]] * 2


def test_intervals_over_seeds_are_students() -> None:
    values = np.array([1.0, 2.0, 4.0, 4.5])
    low, high = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    assert over_seeds(values).low == pytest.approx(low, rel=3e-3)
    assert over_seeds(values).high == pytest.approx(high, rel=3e-3)
    assert [*_T[:-1]] == pytest.approx(stats.t.ppf(0.975, np.arange(1, len(_T))).tolist(), abs=6e-4)


def test_a_network_that_vmap_cannot_map_has_a_curve_too(digits: Any) -> None:
    with pytest.warns(PoiseWarning, match="torch.vmap cannot map 'cell'"):
        found = learning_curve(Recurrent, *digits, sizes=(50, 100), seeds=2, steps=20)
    assert len(found.validation) == 2


def test_a_dense_network_memorises_shuffled_digits_and_regularized_it_does_not(digits: Any) -> None:
    train = digits[0][0][:120], digits[0][1][:120]
    free = memorization(dense, train, steps=500)
    assert free.true == 1.0
    assert free.share > 0.8
    assert free.steps_true is not None
    assert free.steps_true < (free.steps_shuffled or free.steps + 1)
    held = memorization(dense, train, steps=500, recipe=Recipe(Dropout(0.5), WeightNoise(0.05)))
    assert held.true > 0.9
    assert held.share < 0.75 * free.share
    assert "can store its training rows" in str(free)


def test_a_meter_in_a_loop_records_and_finds_the_best(digits: Any) -> None:
    meter = GapMeter(*digits, rows=200)
    torch.manual_seed(0)
    model = dense()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(1, 61):
        loss = nn.functional.cross_entropy(model(digits[0][0]), digits[0][1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            meter(model, step)
    assert [point.step for point in meter.points] == [20, 40, 60]
    assert meter.best_step == min(meter.points, key=lambda point: point.validation.value).step
    assert len(meter.plot().axes) == 1


def test_an_empty_meter_says_so() -> None:
    with pytest.raises(ArgumentError, match="must have been called once"):
        _ = GapMeter((torch.zeros(1, 1), torch.zeros(1, 1)), (torch.zeros(1, 1), torch.zeros(1, 1))).best_step


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": (10,)}, "two or more growing numbers from 1 to 400"),
        ({"sizes": (10, 500)}, "two or more growing numbers"),
        ({"sizes": (20, 10)}, "two or more growing numbers"),
        ({"seeds": 1}, "must be an int >= 2; got 1"),
    ],
)
def test_wrong_arguments_are_refused(change: dict[str, Any], message: str, digits: Any) -> None:
    with pytest.raises(ArgumentError, match=message):
        learning_curve(dense, *digits, **change)
