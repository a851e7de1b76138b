"""The learning rates of several steps at once are those of each step by itself; a seed makes a network."""

import pytest
import torch
from torch import nn

from poise.core.recipe import Recipe
from poise.core.schedule import Constant, Cosine, CosineCycles, Linear, OneCycle, Schedule, SwitchOff, WarmUp
from poise.train.members import build_members, member_seed, step_rates

BASE = torch.tensor([1e-3, 0.1, 0.02], dtype=torch.float64)
SCHEDULES = [
    Constant(0.5), Linear(1.0, 0.1, 20), Cosine(1.0, 0.0, 20), CosineCycles(1.0, 0.2, 7), WarmUp(1.0, 9),
    SwitchOff(1.0, 12), OneCycle(1.0, 20), Linear(torch.tensor([1.0, 0.5, 0.2]), 0.0, 20),
]  # fmt: skip


def test_every_kind_of_schedule_is_here() -> None:
    own = {kind for kind in Schedule.kinds.values() if kind.__module__ == "poise.core.schedule"}
    assert {type(schedule) for schedule in SCHEDULES} == own


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda one: type(one).__name__)
def test_rates_of_several_steps_are_those_of_each(schedule: Schedule) -> None:
    found = step_rates(BASE, schedule, 5, 17)
    assert (found.shape, found.dtype) == ((17, 3), torch.float64)
    torch.testing.assert_close(found, torch.stack([BASE * schedule(5 + step) for step in range(17)]), rtol=1e-6, atol=0)


def test_without_a_schedule_rates_stay() -> None:
    assert torch.equal(step_rates(BASE, None, 5, 4), BASE.expand(4, 3))


def test_weights_are_those_of_the_members_seed_and_the_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    _, params, _ = build_members(lambda: nn.Linear(3, 2), Recipe(), 7, [4, 9])
    assert torch.equal(torch.get_rng_state(), before)
    for place, member in enumerate([4, 9]):
        torch.manual_seed(member_seed(7, member))
        alone = nn.Linear(3, 2)
        assert torch.equal(params["weight"][place], alone.weight)
        assert torch.equal(params["bias"][place], alone.bias)
    torch.set_rng_state(before)
