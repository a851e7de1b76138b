"""The n-grams that a network of characters must beat."""

from __future__ import annotations

import math

import numpy as np

from poise.data.characters import START
from poise.study.metrics import measure
from poise.study.ngrams import NGrams, best_order

SIZE = 6


def windows(rows: int, seed: int) -> np.ndarray:
    found = np.random.default_rng(seed).integers(2, SIZE, (rows, 9))
    found[:, 0] = START
    return found


def slow(train: list[list[int]], context: list[int], order: int) -> np.ndarray:
    """Witten and Bell's formula by search through the windows, shortest context first."""
    found = np.array([0.0 if code == START else 1 / (SIZE - 1) for code in range(SIZE)])
    for length in range(order):
        if length > len(context):
            break
        wanted = context[len(context) - length :]
        after = [row[at] for row in train for at in range(max(1, length), 9) if row[at - length : at] == wanted]
        if after:
            different = len(set(after))
            counts = np.array([after.count(code) for code in range(SIZE)])
            found = (counts + different * found) / (len(after) + different)
    return found


def test_probabilities_are_witten_and_bells() -> None:
    train = windows(12, 0)
    model = NGrams.fit(train, order=3, size=SIZE)
    for context in ([START], [START, 2], [START, 2, 3], [START, 5, 5, 4, 2, 2]):
        found = model.chances(context[-2:])
        np.testing.assert_allclose(found, slow(train.tolist(), context[-2:], 3), rtol=1e-12)
        assert math.isclose(found.sum(), 1.0)
        assert found[START] == 0


def test_a_reading_is_the_mean_over_the_characters_of_a_window() -> None:
    train, other = windows(12, 0), windows(3, 1)
    model = NGrams.fit(train, order=3, size=SIZE)
    found = model.read(other)
    for row, codes in enumerate(other.tolist()):
        losses = [-math.log(slow(train.tolist(), codes[max(0, at - 2) : at], 3)[codes[at]]) for at in range(1, 9)]
        assert math.isclose(found.losses[row], float(np.mean(losses)))
    assert found.counts.tolist() == [8.0] * 3


def test_the_order_is_that_of_what_repeats() -> None:
    draw = np.random.default_rng(0)
    rows = draw.integers(2, SIZE, (600, 9))
    rows[:, 0] = START
    for place in range(3, 9):  # two codes tell the third, in three rows of four
        told = 2 + (rows[:, place - 1] + 2 * rows[:, place - 2]) % 4
        rows[:, place] = np.where(draw.random(600) < 0.75, told, rows[:, place])
    assert best_order(rows[:300], rows[300:], SIZE) == 3
    accuracy = measure("accuracy", NGrams.fit(rows[:300], order=3, size=SIZE).read(rows[300:]))
    assert abs(accuracy - (2 * 0.25 + 6 * (0.75 + 0.25 * 0.25)) / 8) < 0.04
