"""One declaration gives the rule, the message and the check."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from poise.core.dial import Dial, at_step, check_dial, like
from poise.core.errors import ArgumentError
from poise.core.schedule import Linear
from poise.testing.checks_class import illegal_values

SHARE = Dial(0.2, 0.0, 0.0, 1.0, False, "share", (0.0, 1.0), open_high=True)
WEIGHT = Dial(1e-4, 0.0, 0.0, math.inf, True, "", (1e-6, 1.0))
POSITIVE = Dial(1.0, math.inf, 0.0, math.inf, True, "", (0.1, 10.0), open_low=True)


@pytest.mark.parametrize(
    ("declared", "rule"),
    [
        (SHARE, "in [0, 1)"),
        (WEIGHT, "a finite number >= 0"),
        (POSITIVE, "a finite number > 0, or inf for no limit"),
    ],
)
def test_the_rule_in_words(declared: Dial, rule: str) -> None:
    assert declared.rule == rule


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_allows_is_the_rule(value: float) -> None:
    assert SHARE.allows(value) == (0 <= value < 1)
    assert WEIGHT.allows(value) == (0 <= value < math.inf)
    assert POSITIVE.allows(value) == (value > 0)


@pytest.mark.parametrize("declared", [SHARE, WEIGHT, POSITIVE])
@pytest.mark.parametrize("word", illegal_values(SHARE))
def test_every_kind_of_wrong_value_is_refused(declared: Dial, word: str) -> None:
    wrong = illegal_values(declared)
    if word not in wrong:
        assert declared.allows({"inf": math.inf}.get(word, math.inf)) or word == "above"
        return
    with pytest.raises(ArgumentError, match=r"^`Part.field` .*must .*; got "):
        check_dial("Part", "field", declared, wrong[word])


LEGAL: list[Any] = [0, 0.5, torch.tensor(0.5), torch.tensor([0.1, 0.2]), torch.tensor([0]), Linear(0.0, 0.5, 3)]


@pytest.mark.parametrize("value", LEGAL, ids=str)
def test_numbers_tensors_and_schedules_are_taken(value: Any) -> None:
    check_dial("Part", "field", SHARE, value)


def test_a_wrong_member_is_shown() -> None:
    with pytest.raises(ArgumentError, match=r"must be in \[0, 1\); got 1\.5\. Check each member"):
        check_dial("Part", "field", SHARE, torch.tensor([0.5, 1.5]))


def test_a_schedule_inside_a_schedule_is_refused() -> None:
    nested: Any = Linear(Linear(0.0, 0.1, 2), 0.5, 3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="A schedule takes numbers only"):
        check_dial("Part", "field", SHARE, nested)


def test_an_int_that_no_float_holds_is_refused() -> None:
    with pytest.raises(ArgumentError, match="must be a finite number >= 0; got 1000"):
        check_dial("Part", "field", WEIGHT, 10**400)


def test_at_step_evaluates_schedules_only() -> None:
    assert float(at_step(Linear(0.0, 1.0, 4), 1)) == 0.25
    assert at_step(0.5, 3) == 0.5


def test_like_takes_the_type_of_what_the_dial_meets() -> None:
    assert torch.as_tensor(like(torch.tensor(0.5), torch.zeros(1, dtype=torch.float64))).dtype == torch.float64
    with pytest.raises(TypeError, match="Linear is a schedule"):
        like(Linear(0.0, 1.0, 4), torch.zeros(1))
