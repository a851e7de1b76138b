"""Schedules begin, pass and end where they say, also when mapped."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from poise.core.errors import ArgumentError
from poise.core.schedule import Constant, Cosine, CosineCycles, Linear, OneCycle, Schedule, SwitchOff, WarmUp

MOVING: list[tuple[Schedule, float, float, float]] = [
    # schedule, at step 0, half way, at the end and ever after
    (Linear(1.0, 3.0, steps=10), 1.0, 2.0, 3.0),
    (Cosine(1.0, 3.0, steps=10), 1.0, 2.0, 3.0),
    (WarmUp(4.0, steps=10), 0.0, 2.0, 4.0),
    (SwitchOff(0.5, steps=10), 0.5, 0.5, 0.0),
    (SwitchOff(0.5, steps=10, after=0.25), 0.5, 0.5, 0.25),
    (Constant(0.5), 0.5, 0.5, 0.5),
]


@pytest.mark.parametrize(("schedule", "first", "middle", "last"), MOVING, ids=lambda v: type(v).__name__)
def test_a_schedule_passes_its_landmarks(schedule: Schedule, first: float, middle: float, last: float) -> None:
    for step, expected in ((0, first), (5, middle), (10, last), (11, last), (10**9, last)):
        assert float(schedule(step)) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(("schedule", "first", "middle", "last"), MOVING, ids=lambda v: type(v).__name__)
def test_a_mapped_step_gives_what_the_number_gives(schedule: Any, first: float, middle: float, last: float) -> None:
    steps = torch.tensor([0, 3, 5, 10, 12])
    mapped = torch.vmap(lambda s: torch.as_tensor(schedule(s)) + 0.0 * s)(steps)
    assert mapped.dtype == torch.float32
    assert mapped.tolist() == pytest.approx([float(schedule(int(s))) for s in steps], abs=1e-7)


def test_cosine_is_the_formula() -> None:
    ours = [float(Cosine(2.0, 0.5, steps=7)(t)) for t in range(8)]
    theirs = [0.5 + 1.5 * (1 + math.cos(math.pi * t / 7)) / 2 for t in range(8)]
    assert ours == pytest.approx(theirs, abs=1e-6)


def test_cosine_cycles_are_torchs_warm_restarts() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=7, eta_min=0.5)
    for step in range(30):
        assert float(CosineCycles(2.0, 0.5, steps=7)(step)) == pytest.approx(theirs.get_last_lr()[0], rel=1e-6)
        optimizer.step()
        theirs.step()


def test_every_cosine_cycle_is_the_first_one_also_when_mapped() -> None:
    schedule = CosineCycles(0.4, 0.1, steps=5)
    first = [float(schedule(step)) for step in range(5)]
    mapped = torch.vmap(lambda s: torch.as_tensor(schedule(s)))(torch.arange(15))
    assert mapped.tolist() == first * 3
    assert first[0] == pytest.approx(0.4)
    assert first == sorted(first, reverse=True)
    assert {float(end) for end in schedule.ends()} == {0.4, 0.1}


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 1000), st.integers(0, 2000))
def test_no_value_leaves_the_ends(start: float, stop: float, steps: int, step: int) -> None:
    for schedule in (Linear(start, stop, steps), Cosine(start, stop, steps), SwitchOff(start, steps, stop)):
        low, high = min(start, stop), max(start, stop)
        assert low - 1e-6 <= float(schedule(step)) <= high + 1e-6
        assert {float(e) for e in schedule.ends()} == {start, stop}


def test_a_schedule_of_members_keeps_them_apart() -> None:
    schedule = Linear(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 3.0]), steps=2)
    assert torch.as_tensor(schedule(1)).tolist() == [0.5, 2.0]


@pytest.mark.parametrize("steps", [0, -1, 1.5, True, "3", None])
@pytest.mark.parametrize("make", [Linear, Cosine, CosineCycles], ids=lambda k: k.__name__)
def test_steps_that_count_nothing_are_refused(make: Any, steps: object) -> None:
    with pytest.raises(ArgumentError, match=rf"`{make.__name__}.steps` must be an int >= 1; got "):
        make(0.0, 1.0, steps=steps)


@pytest.mark.parametrize("warm_up", [1.0, -0.1, 2, math.nan, "0.1", True])
def test_a_warm_up_that_leaves_no_fall_is_refused(warm_up: Any) -> None:
    with pytest.raises(ArgumentError, match=r"`OneCycle.warm_up` must be in \[0, 1\); got "):
        OneCycle(1.0, steps=10, warm_up=warm_up)


@pytest.mark.parametrize("warm_up", [0.0, 0.05, 0.5, 0.99])
def test_one_cycle_rises_to_its_value_and_falls_to_zero(warm_up: float) -> None:
    rates = [float(OneCycle(2.0, steps=200, warm_up=warm_up)(t)) for t in range(201)]
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(2.0, rel=0.01)
    assert rates[0] > 0
    assert rates[-1] == 0
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
