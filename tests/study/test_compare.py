"""The comparison on test rows: which arms, scored on which rows, and boosting treated as the networks are."""

import numpy as np
import pytest

from poise.study.clock import Clock, parse_budget
from poise.study.compare import _of_boosting, compare
from poise.study.fit import Fitted, Settings, fit
from poise.study.gap import model_of, predictions_of
from poise.study.metrics import Predictions, bootstrap
from poise.study.prepare import Prepared
from poise.study.space import Space

SPACE = Space(["dropout", "patience"])


@pytest.fixture(scope="module")
def fitted(ready: Prepared, short: None) -> Fitted:
    codes = ready.strata
    return fit(ready.problem, codes, SPACE, Clock(parse_budget("2trials")), Settings())


@pytest.mark.parametrize("plain", [True, False])
def test_each_arm_is_scored_on_the_test_rows_in_every_metric(plain: bool, fitted: Fitted, ready: Prepared) -> None:
    model, told = model_of(ready, fitted.stack, fitted.shares, fitted.temperatures), list[str]()
    arms = compare(ready, fitted, model, Clock(parse_budget("2trials")), 3, told.append, plain=plain)
    baselines = ["unregularized network", "tuned dropout"] if plain else []
    assert [arm.name for arm in arms] == [*baselines, "gradient boosting", "poise network", "poise ensemble"]
    assert bool(told) == plain
    products = {"poise network": model.single(0), "poise ensemble": model}
    for arm in arms:
        assert [score.metric for score in arm.scores] == ["log_loss", "balanced_accuracy"]
        assert arm.seconds >= 0
        if arm.name in products:
            own = predictions_of(ready, products[arm.name], ready.parts.test)
            assert [score.value for score in arm.scores] == [bootstrap(s.metric, own, 3)[0] for s in arm.scores]


def test_boosting_is_scored_by_its_own_probabilities_and_decides_as_the_networks_do(ready: Prepared) -> None:
    rows = ready.parts.test
    raw = np.tile([0.6, 0.4], (len(rows), 1))
    found = _of_boosting(ready, [raw], rows)
    assert isinstance(found, Predictions)
    assert ready.problem.heads[0].class_weights is not None
    assert ready.problem.heads[0].decision_weights is not None
    oracle = raw / ready.problem.heads[0].class_weights.numpy()
    oracle /= oracle.sum(1, keepdims=True)
    assert found.chances is not None
    np.testing.assert_allclose(found.chances, oracle, rtol=1e-6)
    assert set(found.decided) == {int((oracle[0] * ready.problem.heads[0].decision_weights).argmax())}
    assert np.array_equal(found.truth, ready.codes[0][rows])


def test_boosted_numbers_are_in_the_targets_units(numbers: Prepared) -> None:
    rows = numbers.parts.test
    found = _of_boosting(numbers, [numbers.codes[0][rows]], rows)
    assert isinstance(found, Predictions)
    np.testing.assert_allclose(found.decided, found.truth)
    assert found.truth.mean() > 80  # the amounts are around 100
