"""The one paragraph: it says what the numbers say."""

import pytest

from poise import Decay, Dropout, Recipe
from poise.study.finding import finding
from poise.study.metrics import METRICS
from poise.study.result import Arm, Contribution, Gap, Interval, Score, StudyResult, Together

RECIPE = Recipe(Dropout(0.3), Decay(0.1))


def at(value: float) -> Interval:
    return Interval(value, value - 1, value + 1)


def gap(train: float, test: float) -> Gap:
    return Gap("rmse", at(train), at(test), at(test), at(test - train), None, None, 1)


def worth(part: str, verdict: str) -> Contribution:
    return Contribution(part, at(0.0), (), None, (), verdict)


def arm(name: str, value: float) -> Arm:
    return Arm(name, (Score("rmse", at(value)), Score("r2", at(0.5))), 1.0, "")


def result(**fields: object) -> StudyResult:
    empty = {
        "table": "t", "target": "y", "task": "regression", "classes": (), "rows": {}, "columns": {}, "warnings": (),
        "metrics": METRICS["regression"], "before": (gap(1.25, 4.5),), "after": (gap(2.5, 3.0),), "contributions": (),
        "curves": (), "trials": (), "arms": (), "ensemble_size": 7, "finding": "", "recipe_yaml": "", "receipt": "",
        "budget": "2m", "seconds": 1.0, "seed": 0, "interrupted": False, "versions": {},
    }  # fmt: skip
    return StudyResult(**(empty | fields))  # type: ignore[arg-type]


def said(**fields: object) -> str:
    return finding(result(**fields), RECIPE).finding


def test_the_gap_before_and_after_is_told_in_the_primary_metric() -> None:
    text = said()
    assert "RMSE is 1.25 on the training rows and 4.5 on the test rows: a gap of 3.25" in text
    assert "2.5 and 3: a gap of 0.5" in text


def test_an_interrupted_study_says_that_the_gap_was_not_measured() -> None:
    assert "not measured" in said(before=(), after=(), interrupted=True)


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("helps", "Measurably helpful: dropout, decay."),
        ("hurts", "Measurably harmful: dropout, decay."),
        ("replaceable", "Helpful alone, but the others do the same work: dropout, decay."),
        ("no measurable effect", "No measurable effect here: dropout, decay."),
    ],
)
def test_each_verdict_is_told_with_its_parts_and_the_others_are_not(verdict: str, words: str) -> None:
    text = said(contributions=(worth("dropout", verdict), worth("decay", verdict)))
    assert words in text
    assert sum(word in text for word in ("helpful:", "harmful:", "Helpful alone", "No measurable")) == 1


def test_the_ensemble_is_told_beside_the_best_baseline_also_where_that_one_is_better() -> None:
    arms = (
        arm("unregularized network", 5.0),
        arm("gradient boosting", 2.0),
        arm("poise network", 1.0),
        arm("poise ensemble", 3.0),
    )
    text = said(arms=arms)
    assert "The ensemble of 7 networks reaches 3 on the test rows; the best baseline, gradient boosting, 2." in text


def test_an_ensemble_of_one_is_one_network() -> None:
    assert "The ensemble of 1 network reaches 3 on" in said(arms=(arm("poise ensemble", 3.0),), ensemble_size=1)


def test_the_recipe_names_its_parts_and_the_rest_of_the_result_is_untouched() -> None:
    before = result()
    after = finding(before, RECIPE)
    assert "dropout, decay" in after.finding
    assert after.trials is before.trials


def test_a_recipe_of_nothing_is_told_as_such() -> None:
    assert finding(result(), Recipe()).finding


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("helps", "Learning the targets together helped a, b."),
        ("hurts", "Learning the targets together harmed a, b: consider studies of one target."),
        ("no measurable effect", "Learning together made no measurable difference for a, b."),
    ],
)
def test_what_learning_together_was_worth_is_told_by_verdict(verdict: str, words: str) -> None:
    metric = METRICS["regression"][0]
    pairs = tuple(Together(name, metric, 1.0, 2.0, at(1.0), (0.5, 1.5), verdict) for name in "ab")
    assert words in said(together=pairs)
    assert "together" not in said()
