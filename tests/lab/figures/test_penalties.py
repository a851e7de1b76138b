"""The figures of section 2 against scikit-learn, brute force, and populations trained anew."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import ElasticNet, Lasso, Ridge

from poise.lab.figures.constraint import Constraint, loss_of
from poise.lab.figures.decay_heat import RATES, STRENGTHS, DecayHeat, measured
from poise.lab.figures.path import Path, paths
from poise.lab.figures.weights import NOISE, ROWS, Weights
from poise.lab.samples import NEW, TRUE_WEIGHTS, columns
from poise.lab.scene import Bars, Dots, Frame, Heat, Line, Plot, Rule


def bars_of(frame: Frame) -> list[np.ndarray]:
    found = []
    for panel in frame.panels:
        assert isinstance(panel, Plot)
        assert isinstance(panel.marks[0], Bars)
        found.append(np.array(panel.marks[0].value))
    return found


def weights(**values: object) -> Frame:
    figure = Weights()
    return figure.compute(figure.checked(values))


@pytest.mark.parametrize(("l2", "l1", "seed"), [(1.0, 1.0, 0), (0.5, 0.8, 1), (20.0, 0.1, 2)])
def test_bars_are_scikit_learns(l2: float, l1: float, seed: int) -> None:
    x, y = columns(ROWS, NOISE, seed)
    strict = {"tol": 1e-12, "max_iter": 100_000}
    oracles = (
        Ridge(alpha=ROWS * l2 / 2),
        Lasso(alpha=l1 / 2, **strict),
        ElasticNet(alpha=(l1 + l2) / 2, l1_ratio=l1 / (l1 + l2), **strict),
    )
    frame = weights(l2=l2, l1=l1, seed=seed)
    new_x, new_y = columns(400, NOISE, seed + NEW)
    for place, (oracle, own) in enumerate(zip(oracles, bars_of(frame), strict=True)):
        oracle.fit(x, y)
        np.testing.assert_allclose(own, oracle.coef_, atol=1e-6)
        assert frame.numbers[place].value == (oracle.coef_ == 0).sum()
        error = math.sqrt(np.square(oracle.predict(new_x) - new_y.numpy()).mean())
        assert frame.numbers[3 + place].value == pytest.approx(error, rel=1e-6)


def test_crosses_stand_at_the_zeros_and_are_counted() -> None:
    frame = weights()
    for place, panel in enumerate(frame.panels):
        assert isinstance(panel, Plot)
        bars = panel.marks[0]
        assert isinstance(bars, Bars)
        assert list(bars.crossed) == [value == 0 for value in bars.value]
        assert frame.numbers[place].value == sum(bars.crossed)


@pytest.mark.parametrize("seed", range(6))
def test_l2_shrinks_and_makes_no_zero_l1_makes_zeros(seed: int) -> None:
    none, one = weights(l1=0.0, l2=0.0, seed=seed), weights(seed=seed)
    free = bars_of(none)[0]
    ridge, lasso, _ = bars_of(one)
    assert np.linalg.norm(ridge) < np.linalg.norm(free)
    assert (ridge != 0).all()
    assert (lasso == 0).sum() >= 5
    assert (free != 0).all()


def test_the_title_does_not_promise_that_l2_shrinks_each_weight() -> None:
    free, ridge = bars_of(weights(l1=0.0, l2=0.0))[0], bars_of(weights())[0]
    assert (abs(ridge) > abs(free)).any(), "columns that tell nearly the same share: one weight grows"
    assert "every weight" not in Weights.title


def test_the_sentence_tells_strengths_and_counts_apart() -> None:
    figure = Weights()
    assert "L1 of strength 1 sets 10 of 16," in figure.describe(figure.start(), figure.compute(figure.start()))


def test_the_strongest_l1_leaves_nothing_and_says_so() -> None:
    frame = weights(l1=20.0, l2=0.0)
    assert frame.numbers[1].value == 16
    assert "no weight is worth its price" in frame.notice


def test_rings_are_the_true_weights_and_can_be_hidden() -> None:
    shown, hidden = weights(truth=True).panels[0], weights(truth=False).panels[0]
    assert isinstance(shown, Plot)
    assert isinstance(hidden, Plot)
    ring = shown.marks[1]
    assert isinstance(ring, Dots)
    assert tuple(ring.y) == TRUE_WEIGHTS
    assert ring.marker == "ring"
    assert len(hidden.marks) == 1


def test_paths_go_through_the_bars_of_the_other_figure() -> None:
    figure = Path()
    frame = figure.compute(figure.checked({"strength": 0.8, "seed": 1}))
    ridge, lasso, _ = bars_of(weights(l2=0.8, l1=0.8, seed=1))
    for panel, own in zip(frame.panels, (ridge, lasso), strict=True):
        assert isinstance(panel, Plot)
        dots, rule = panel.marks[-1], panel.marks[-2]
        assert isinstance(dots, Dots)
        assert isinstance(rule, Rule)
        np.testing.assert_allclose(dots.y, own, atol=1e-9)
        assert rule.x == 0.8


def test_l1_empties_the_model_one_by_one_and_l2_never() -> None:
    ridge, lasso = paths(0)
    zeros = (lasso == 0).sum(1)
    assert int(zeros[0]) == 0
    assert int(zeros[-1]) == 16
    assert len(set(zeros.tolist())) > 8
    assert not bool((ridge == 0).any())
    assert bool((ridge.norm(dim=1).diff() < 0).all())


def constraint(**values: object) -> Frame:
    figure = Constraint()
    return figure.compute(figure.checked(values))


@pytest.mark.parametrize("angle", [0.0, 20.0, 45.0, 85.0])
@pytest.mark.parametrize("correlation", [-0.8, 0.0, 0.6])
@pytest.mark.parametrize("budget", [0.3, 1.2])
def test_no_point_within_the_budget_has_less_loss(angle: float, correlation: float, budget: float) -> None:
    numbers = [n.value for n in constraint(angle=angle, correlation=correlation, budget=budget).numbers]
    curvature, best = loss_of(angle, correlation)
    turn = torch.linspace(0, 2 * math.pi, 20_001, dtype=torch.float64)
    circle = torch.stack([turn.cos(), turn.sin()], 1)
    shapes = (circle / circle.abs().sum(1, keepdim=True), circle)

    def loss(points: torch.Tensor) -> torch.Tensor:
        return 0.5 * ((points - best) @ curvature * (points - best)).sum(-1)

    for found, shape in zip((numbers[:2], numbers[3:5]), shapes, strict=True):
        point = torch.tensor(found, dtype=torch.float64)
        brute = float(loss(budget * shape).min())
        assert float(loss(point)) == pytest.approx(brute, rel=1e-5)
    assert abs(numbers[0]) + abs(numbers[1]) == pytest.approx(budget, abs=1e-6)
    assert math.hypot(numbers[3], numbers[4]) == pytest.approx(budget, abs=1e-6)


def test_at_rest_the_diamond_makes_an_exact_zero_and_the_disc_none() -> None:
    numbers = constraint().numbers
    assert numbers[1].value == 0.0
    assert abs(numbers[4].value) > 0.1


def test_a_ring_goes_through_the_point_that_is_touched() -> None:
    frame = constraint(correlation=0.5)
    for panel in frame.panels:
        assert isinstance(panel, Plot)
        ring = next(mark for mark in panel.marks if isinstance(mark, Line) and mark.label == "equal loss")
        dot = panel.marks[-1]
        assert isinstance(dot, Dots)
        gaps = np.hypot(np.array(ring.x) - dot.x[0], np.array(ring.y) - dot.y[0])
        assert gaps.min() < 0.12


def test_a_budget_to_spare_needs_no_penalty() -> None:
    frame = constraint(budget=3.0)
    assert "no penalty is needed" in frame.notice
    assert [frame.numbers[place].value for place in (2, 5)] == [0.0, 0.0]
    assert math.hypot(frame.numbers[0].value, frame.numbers[1].value) == pytest.approx(2.0)


def heat(**values: object) -> Frame:
    figure = DecayHeat()
    return figure.compute(figure.checked(values))


def grids(frame: Frame) -> list[np.ndarray]:
    return [np.array(panel.values, dtype=float) for panel in frame.panels if isinstance(panel, Heat)]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("kind", ["L2", "decay"])
def test_the_record_is_what_training_gives(optimizer: str, kind: str) -> None:
    rates, strengths = (2, 6), (0, 5, 8)
    errors, sizes = measured(1, optimizer, kind, [RATES[k] for k in rates], [STRENGTHS[k] for k in strengths])
    for show, values in (("error", errors), ("size", sizes)):
        recorded = grids(heat(optimizer=optimizer, sample="1", show=show))[0 if kind == "L2" else 1]
        own = recorded[np.ix_(strengths, rates)].T
        np.testing.assert_allclose(own, values.numpy(), rtol=0.02)


def test_under_plain_gradient_descent_both_maps_are_one() -> None:
    first, second = grids(heat(optimizer="sgd"))
    known = np.isfinite(first) & np.isfinite(second)
    assert known.mean() > 0.8
    # Where training is tame; where it nearly diverges, a rounded digit grows.
    np.testing.assert_allclose(first[:, :8][known[:, :8]], second[:, :8][known[:, :8]], rtol=0.02)


@pytest.mark.parametrize("sample", ["0", "1", "2"])
def test_under_adam_the_best_strengths_lie_far_apart(sample: str) -> None:
    for rate in (0.00316, 0.01, 0.0316):
        l2, _, decay, _ = (number.value for number in heat(sample=sample, rate=rate).numbers)
        assert decay >= 3 * l2


def test_framed_cells_are_the_lowest_of_their_column() -> None:
    for panel, values in zip(heat(optimizer="sgd").panels, grids(heat(optimizer="sgd")), strict=False):
        assert isinstance(panel, Heat)
        for column, row in panel.marked:
            assert values[row, column] == np.nanmin(values[:, column])


def test_divergence_is_said_in_words() -> None:
    assert "diverged" in heat(rate=RATES[-1]).notice
    assert heat(rate=RATES[4]).notice == ""
