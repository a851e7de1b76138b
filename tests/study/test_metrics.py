"""Metrics against scikit-learn, intervals against SciPy and against the coverage that they promise."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as oracle

from poise.data import Target
from poise.study.metrics import METRICS, Predictions, Several, bootstrap, measure, metrics_of, over_seeds, range_of


def of_classes(rows: int = 200, classes: int = 3, seed: int = 0) -> Predictions:
    draw = np.random.default_rng(seed)
    chances = draw.dirichlet(np.ones(classes), rows)
    truth = (draw.random((rows, 1)) > chances.cumsum(1)).sum(1)
    return Predictions(truth, chances.argmax(1), chances)


def of_numbers(rows: int = 200, seed: int = 0, offset: float = 0.0) -> Predictions:
    draw = np.random.default_rng(seed)
    truth = draw.normal(size=rows) + offset
    return Predictions(truth, truth + 0.5 * draw.normal(size=rows))


def test_metrics_of_classes_are_scikit_learns() -> None:
    found = of_classes()
    assert measure("log_loss", found) == pytest.approx(oracle.log_loss(found.truth, found.chances), rel=1e-12)
    wanted = oracle.balanced_accuracy_score(found.truth, found.decided)
    assert measure("balanced_accuracy", found) == pytest.approx(wanted, rel=1e-12)


def test_a_class_without_a_true_row_does_not_count_in_balanced_accuracy() -> None:
    found = Predictions(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]), np.full((4, 3), 1 / 3))
    assert measure("balanced_accuracy", found) == 0.75


def test_a_probability_of_0_for_the_truth_costs_a_finite_log_loss() -> None:
    found = Predictions(np.array([0]), np.array([1]), np.array([[0.0, 1.0]]))
    assert measure("log_loss", found) == pytest.approx(15 * math.log(10))


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e8])
def test_metrics_of_numbers_are_scikit_learns_also_far_from_zero(offset: float) -> None:
    found = of_numbers(offset=offset)
    wanted = oracle.root_mean_squared_error(found.truth, found.decided)
    assert measure("rmse", found) == pytest.approx(wanted, rel=1e-9)
    assert measure("r2", found) == pytest.approx(oracle.r2_score(found.truth, found.decided), rel=1e-6)


@pytest.mark.parametrize(("decided", "wanted"), [([2.0, 2.0], 1.0), ([1.0, 3.0], 0.0)])
def test_r2_of_equal_amounts_is_scikit_learns_convention(decided: list[float], wanted: float) -> None:
    truth = np.array([2.0, 2.0])
    assert measure("r2", Predictions(truth, np.array(decided))) == wanted == oracle.r2_score(truth, decided)
    interval, _ = bootstrap("r2", Predictions(truth, np.array(decided)))
    assert (interval.low, interval.high) == (wanted, wanted)


@pytest.mark.parametrize("metric", [metric.name for metrics in METRICS.values() for metric in metrics])
def test_each_resample_is_the_metric_of_the_rows_that_it_drew(metric: str) -> None:
    classes = metric in ("log_loss", "balanced_accuracy")
    found = of_classes(30) if classes else of_numbers(30)
    interval, values = bootstrap(metric, found, seed=4)
    assert len(values) == 500
    assert (interval.low, interval.high) == tuple(np.percentile(values, [2.5, 97.5]))
    assert interval.value == measure(metric, found)
    generator = np.random.default_rng(4)
    for value in values[:20]:
        rows = generator.integers(0, 30, 30)
        chances = None if found.chances is None else found.chances[rows]
        own = Predictions(found.truth[rows], found.decided[rows], chances)
        assert value == pytest.approx(measure(metric, own), rel=1e-9)


@pytest.mark.parametrize("metric", ["rmse", "log_loss"])
def test_intervals_hold_the_truth_as_often_as_they_promise_and_narrower_ones_do_not(metric: str) -> None:
    make = of_numbers if metric == "rmse" else of_classes
    everywhere = measure(metric, make(400_000, seed=1))
    held = wrong = 0
    for seed in range(300):
        interval, _ = bootstrap(metric, make(120, seed=1000 + seed), seed)
        half = (interval.value - interval.low) / 2, (interval.high - interval.value) / 2
        held += interval.low <= everywhere <= interval.high
        wrong += interval.value - half[0] <= everywhere <= interval.value + half[1]
    # 95 % promised; a percentile interval of 120 rows gives 92 to 95. Half as wide would hold it in two of three.
    assert stats.binom.sf(held - 1, 300, 0.90) > 1e-6
    assert stats.binom.cdf(held, 300, 0.92) > 1e-6
    assert stats.binom.cdf(wrong, 300, 0.92) < 1e-6


def test_the_interval_over_seeds_is_students() -> None:
    values = np.array([0.3, 0.5, 0.1, 0.45])
    found = over_seeds(values)
    assert found is not None
    low, high = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    assert (found.value, found.low, found.high) == pytest.approx((values.mean(), low, high), rel=1e-12)


def test_over_seeds_leaves_out_what_is_not_finite_and_needs_two() -> None:
    assert over_seeds([1.0, math.nan, 3.0]) == over_seeds([1.0, 3.0])
    assert over_seeds([1.0, math.inf]) is None
    assert over_seeds([]) is None


def several(rows: int = 60) -> Several:
    draw = np.random.default_rng(3)
    kind, size = draw.random(rows) < 0.6, draw.random(rows) < 0.3
    numbers = of_numbers(int(size.sum()))
    scaled = Predictions(numbers.truth, numbers.decided, scale=2.0)
    return Several({"kind": of_classes(int(kind.sum())), "size": scaled}, {"kind": kind, "size": size})


def test_a_targets_metric_is_that_of_its_own_predictions() -> None:
    found = several()
    for target, part in found.parts.items():
        for metric in METRICS["classification" if target == "kind" else "regression"]:
            assert measure(f"{metric.name}/{target}", found) == measure(metric.name, part)


def test_the_mean_loss_is_that_of_log_loss_and_squares_over_the_variance() -> None:
    found = several()
    squares = measure("rmse", found.parts["size"]) ** 2 / 2.0**2
    assert measure("mean_loss", found) == pytest.approx((measure("log_loss", found.parts["kind"]) + squares) / 2)


def test_resamples_draw_rows_of_all_targets_at_once() -> None:
    found = several()
    _, values = bootstrap("mean_loss", found, seed=4)
    generator = np.random.default_rng(4)
    for value in values[:20]:
        rows = generator.integers(0, 60, 60)
        own = {}
        for name, part in found.parts.items():
            at = (np.cumsum(found.known[name]) - 1)[rows[found.known[name][rows]]]
            own[name] = Predictions(
                part.truth[at], part.decided[at], None if part.chances is None else part.chances[at]
            )
        squares = np.mean((own["size"].truth - own["size"].decided) ** 2) / 4
        assert value == pytest.approx((measure("log_loss", own["kind"]) + squares) / 2, rel=1e-9)


def test_a_target_without_a_known_row_has_no_score_and_no_interval() -> None:
    none = np.zeros(3, bool)
    found = Several({"size": Predictions(np.zeros(0), np.zeros(0))}, {"size": none})
    interval, _ = bootstrap("rmse/size", found)
    assert all(math.isnan(value) for value in (interval.value, interval.low, interval.high))
    assert range_of(np.array([math.nan, 1.0, 1.0])) == (1.0, 1.0)


def test_one_target_has_its_tasks_metrics_and_several_begin_with_the_mean_loss() -> None:
    numbers, classes = Target.fit([1.5, 2.5], name="a"), Target.fit(["x", "y"], name="b/c")
    assert metrics_of([numbers]) == METRICS["regression"]
    found = metrics_of([numbers, classes])
    assert [metric.name for metric in found] == [
        "mean_loss", "rmse/a", "r2/a", "log_loss/b/c", "balanced_accuracy/b/c",
    ]  # fmt: skip
    assert [metric.lower_is_better for metric in found] == [True, True, False, True, False]


def test_targets_that_no_row_knows_may_be_left_out_of_the_mean() -> None:
    none, every = np.zeros(60, bool), np.ones(60, bool)
    empty, size = Predictions(np.zeros(0), np.zeros(0)), of_numbers(60)
    found = Several({"kind": empty, "size": size}, {"kind": none, "size": every})
    assert math.isnan(measure("mean_loss", found))
    squares = oracle.mean_squared_error(size.truth, size.decided)
    assert measure("mean_loss", found.of_known()) == pytest.approx(squares, rel=1e-12)
    assert len(Several({"kind": empty}, {"kind": none}).of_known()) == 60
