"""Budgets: what the forms mean, and what is refused."""

import math
import time

import pytest

from poise.core.errors import ArgumentError
from poise.study.clock import Budget, Clock, parse_budget


@pytest.mark.parametrize(
    ("text", "seconds", "trials"),
    [
        ("90s", 90.0, math.inf),
        ("2m", 120.0, math.inf),
        ("1.5h", 5400.0, math.inf),
        (" 2 M ", 120.0, math.inf),
        (90, 90.0, math.inf),
        (0.5, 0.5, math.inf),
        ("50trials", math.inf, 50),
        ("1 trial", math.inf, 1),
        ("3.0 trials", math.inf, 3),
    ],
)
def test_each_form_means_its_seconds_or_trials(text: str, seconds: float, trials: float) -> None:
    budget = parse_budget(text)
    assert (budget.seconds, budget.trials) == (seconds, trials)


@pytest.mark.parametrize(
    "text",
    [
        *("", "m", "0", "0s", "-5", "0trials", "2d", "2m 3s", "1e5", "nan", "inf", "2.5trials"),
        *(True, None, math.nan, math.inf, "9" * 400, "9" * 400 + "trials", b"2m", [2]),
    ],
)
def test_anything_else_is_refused_with_the_forms(text: object) -> None:
    with pytest.raises(ArgumentError, match="`budget`"):
        parse_budget(text)  # type: ignore[arg-type]


def test_the_text_of_a_budget_reads_back_as_the_same_budget() -> None:
    for text in ("90s", "2m", "1.5h", "50trials", "7"):
        budget = parse_budget(text)
        assert parse_budget(budget.text) == budget


def test_time_left_of_a_share_is_that_share_less_the_time_spent() -> None:
    clock = Clock(Budget(100.0, math.inf, "100s"), started=time.monotonic() - 30)
    assert clock.spent() == pytest.approx(30, abs=1)
    assert clock.left() == pytest.approx(70, abs=1)
    assert clock.left(0.2) == pytest.approx(-10, abs=1)


def test_a_budget_in_trials_leaves_endless_time() -> None:
    assert Clock(parse_budget("3trials")).left(0.5) == math.inf
