"""A limit on steps."""

import math

import pytest
import torch

from poise.core.context import Context
from poise.core.rng import Rng, key
from poise.stop import Budget
from poise.testing import check_regularizer


def stops(steps: float | torch.Tensor, step: int) -> bool:
    return bool(Budget(steps).stop(torch.tensor(False), {}, Context(step, Rng(key(0))))[0])


def test_it_passes_the_battery() -> None:
    assert check_regularizer(Budget(3)).count >= 18


@pytest.mark.parametrize(
    ("steps", "step", "expected"), [(3, 2, False), (3, 3, True), (0, 0, True), (math.inf, 9, False)]
)
def test_it_stops_once_the_steps_are_done(steps: float, step: int, expected: bool) -> None:
    assert stops(steps, step) is expected


def test_it_counts_beyond_float32() -> None:
    assert not stops(2**24 + 1, 2**24)


def test_members_have_their_own_budget() -> None:
    ctx = Context(5, Rng(key(0)))
    stopped = torch.vmap(lambda steps: Budget().at({"steps": steps}).stop(torch.tensor(False), {}, ctx)[0])
    assert stopped(torch.tensor([4.0, 5.0, 6.0])).tolist() == [True, True, False]
