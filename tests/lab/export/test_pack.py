"""Packed frames come back: words exactly, coordinates within the error that is stated."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise.lab.export.pack import SPAN, WIDE, Packer, unpacked

NUMBERS = st.one_of(
    st.none(),
    st.integers(-(10**9), 10**9),
    st.floats(-1e12, 1e12, allow_nan=False),
    st.floats(1e-12, 1e12),
    st.just(0.0),
)
VALUES = st.recursive(
    st.one_of(NUMBERS, st.booleans(), st.text(max_size=300)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=9), st.dictionaries(st.text("abc", min_size=1), inner, max_size=4)
    ),
    max_leaves=30,
)


def back(*messages: Any) -> list[Any]:
    packer = Packer()
    for message in messages:
        packer.add(message)
    return unpacked(packer.text())


def close(found: Any, expected: Any) -> bool:
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(close(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        numbers = len(expected) >= 6 and all(not isinstance(v, bool | str | list | dict) for v in expected)
        if numbers:
            return within(found, expected)
        # Rows are stored by columns, and a column of numbers is a series.
        rows = len(expected) >= 6 and all(isinstance(row, list) and len(row) == len(expected[0]) for row in expected)
        if rows and 1 <= len(expected[0]) <= 64:
            return all(close(list(a), list(b)) for a, b in zip(zip(*found), zip(*expected), strict=True))  # noqa: B905
        return len(found) == len(expected) and all(close(a, b) for a, b in zip(found, expected, strict=True))
    return bool(found == expected)


def within(found: list[Any], expected: list[Any]) -> bool:
    """The stated error: half a step of the series' range, or of its logarithms' if they span a factor of 1000."""
    if [value is None for value in found] != [value is None for value in expected]:
        return False
    known = np.array([value for value in expected if value is not None], dtype=float)
    got = np.array([value for value in found if value is not None], dtype=float)
    if not len(known):
        return True
    positive = known[known > 0]
    if len(positive) and known.min() >= 0 and positive.max() / positive.min() > WIDE:
        reach = math.log(positive.max() / positive.min()) / SPAN / 2
        zeros = known == 0
        return bool(
            (got[zeros] == 0).all() and np.allclose(np.log(got[~zeros]), np.log(positive), 0, reach * 1.01 + 1e-12)
        )
    reach = (known.max() - known.min()) / SPAN / 2
    return bool(np.abs(got - known).max() <= reach * 1.01 + 1e-12 * np.abs(known).max())


@given(st.lists(VALUES.map(lambda value: {"a": value}), min_size=1, max_size=5))
def test_any_messages_come_back_within_the_stated_error(messages: list[Any]) -> None:
    for found, expected in zip(back(*messages), messages, strict=True):
        assert close(found, expected)


def test_the_comparison_above_notices_a_wrong_coordinate() -> None:
    values = [float(value) for value in np.linspace(0, 1, 50)]
    assert within(values, values)
    assert not within([*values[:-1], values[-1] + 2 / SPAN], values)


def test_whole_numbers_are_exact() -> None:
    values = [3, -7, 60_000, 0, 12, 5, 5]
    assert back({"y": values})[0]["y"] == values


def test_gaps_stay_gaps() -> None:
    assert back({"y": [1.0, None, 2.0, None, 3.0, 4.0]})[0]["y"][1] is None


def test_equal_series_and_texts_are_stored_once() -> None:
    x, text = np.random.default_rng(0).normal(size=400).tolist(), "words " * 100
    one, many = Packer(), Packer()
    one.add({"x": x, "t": text})
    for number in range(200):
        many.add({"x": x, "t": text, "n": number})
    assert len(many.text()) < 2 * len(one.text())


def test_equal_frames_give_equal_bytes() -> None:
    texts = set()
    for _ in range(2):
        packer = Packer()
        packer.add({"x": [0.1 * at for at in range(30)], "n": 1})
        texts.add(packer.text())
    assert len(texts) == 1


@pytest.mark.parametrize("factor", [10.0, 1e7])
def test_small_values_of_a_wide_series_survive(factor: float) -> None:
    values = np.geomspace(1e-9, 1e-9 * factor, 40).tolist()
    assert np.allclose(back({"y": values})[0]["y"], values, rtol=2e-4 if factor > WIDE else 1e-3)
