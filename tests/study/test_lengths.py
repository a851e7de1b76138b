"""Which lengths of training a search goes through, by what it sees."""

import math

import pytest

from poise.study.cohort import Plan
from poise.study.lengths import Lengths

FULL = Plan(steps=400, batch=32, every=16, rungs=(50, 100, 200))


@pytest.mark.parametrize(
    ("gains", "steps"),  # what a longer bracket gained, if one was tried
    [
        ([None, 1.0, 1.0, None], [100, 200, 400, 400, 400]),  # longer helps, twice
        ([None, 1.0, -1.0, None], [100, 200, 400, 200, 200]),  # once
        ([None, -1.0, None, None, -1.0, None], [100, 200, 100, 100, 200, 100, 100]),  # never
        ([None, -1.0, None, None, 1.0], [100, 200, 100, 100, 200, 400]),  # not yet, but later
        ([None, math.nan, None], [100, 200, 100, 100]),  # one diverged
        ([None, 0.0, None], [100, 200, 100, 100]),  # nothing was there to make again
    ],
)
def test_longer_trainings_stay_where_they_help(gains: list[float | None], steps: list[int]) -> None:
    lengths, seen = Lengths(FULL), []
    for gain in gains:
        assert lengths.trying == (gain is not None)
        seen.append(lengths.begin().steps)
        lengths.close(gain)
    assert [*seen, lengths.begin().steps] == steps


def test_a_short_training_keeps_the_rungs_that_lie_within_it() -> None:
    assert [plan.rungs for plan in Lengths(FULL).plans] == [(50,), (50, 100), (50, 100, 200)]
    assert [plan.every for plan in Lengths(FULL).plans] == [4, 8, 16]


def test_lengths_that_would_be_the_same_are_one() -> None:
    assert [plan.steps for plan in Lengths(Plan(20, 8, 1)).plans] == [20]
    assert [plan.steps for plan in Lengths(Plan(40, 8, 1)).plans] == [20, 40]


def test_full_length_from_the_start_stays() -> None:
    lengths = Lengths(FULL)
    lengths.only_full()
    lengths.close()
    assert lengths.begin().steps == 400


def test_a_stretched_search_goes_beyond_the_full_training_until_it_is_settled() -> None:
    lengths, seen = Lengths(FULL), []
    lengths.stretch()
    lengths.close()
    for _ in range(3):
        seen.append((lengths.plan_of_next.steps, lengths.beyond))
        lengths.begin()
        lengths.close(1.0)
    assert seen == [(200, False), (400, False), (800, True)]
    assert lengths.beyond
    lengths.settle()
    assert not lengths.beyond
    assert lengths.begin().steps == 800
    lengths.close()
    assert lengths.begin().steps == 800


def test_where_nothing_improves_a_longer_training_is_tried_once_a_length() -> None:
    lengths = Lengths(FULL)
    lengths.close()
    lengths.begin()
    lengths.close(-1.0)  # so that the next try is only due after four brackets
    assert not lengths.trying
    assert lengths.dare()
    assert lengths.begin().steps == 200
    lengths.close(-1.0)
    assert not lengths.dare()
    for gain in (1.0, 1.0):  # later, both longer ones pay
        lengths.trying = True
        lengths.close(gain)
    assert not lengths.dare()  # there is no longer one
    lengths.only_full()
    assert not lengths.dare()


def test_a_longer_training_is_tried_once_there_are_brackets_enough_and_by_one_at_a_time() -> None:
    lengths, seen = Lengths(FULL, next_try=2), []
    lengths.close()
    seen.append(lengths.begin().steps)
    lengths.close()
    seen += [lengths.begin().steps, lengths.begin().steps]
    lengths.close()  # of another bracket, while the longer one is in training
    seen.append(lengths.begin().steps)
    lengths.close(1.0)
    seen += [lengths.begin().steps, lengths.begin().steps]
    assert seen == [100, 200, 100, 100, 400, 200]


def test_a_stretched_plan_has_a_rung_where_the_full_one_ends() -> None:
    assert FULL.stretched(2) == Plan(steps=800, batch=32, every=33, rungs=(50, 100, 200, 400))
    assert FULL.stretched(2).work(8) == 8 * 50 + 4 * 50 + 2 * 100 + 1 * 200 + 1 * 400
