"""Messages stay readable whatever the value."""

from __future__ import annotations

import pytest

from poise.core import errors
from poise.core.errors import ArgumentError, CheckpointError, DataError, PoiseError, StudyError, shown


@pytest.mark.parametrize("value", [0.1, "x", None, True, [1, 2], {"a": 1}, (1,), float("nan")], ids=repr)
def test_a_short_value_is_its_repr(value: object) -> None:
    assert shown(value) == repr(value)


def test_a_long_value_is_cut() -> None:
    assert len(shown("x" * 1_000_000)) == 80
    assert shown("x" * 100, limit=10) == "'xxxxxx..."
    assert len(shown(list(range(10**6)))) <= 80


def test_values_that_cannot_be_printed_are_told_apart() -> None:
    assert shown(10**5000) == "a int too long to print"
    bomb: list[object] = []
    for _ in range(60):
        bomb = [bomb, bomb]
    assert len(shown(bomb)) <= 80


def test_every_error_is_a_poise_error_and_wrong_values_are_value_errors() -> None:
    for kind in (ArgumentError, DataError, StudyError, CheckpointError):
        assert issubclass(kind, PoiseError)
    assert issubclass(ArgumentError, ValueError)
    assert issubclass(DataError, ValueError)
    assert issubclass(errors.PoiseWarning, UserWarning)
