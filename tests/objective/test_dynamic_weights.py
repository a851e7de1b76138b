"""Dynamic weight average against a slow loop over recorded losses."""

import math
from collections.abc import Callable

import pytest
import torch

from poise.core.context import Context
from poise.core.errors import ArgumentError
from poise.core.rng import Rng, key
from poise.objective import DynamicWeights

PARAMS = {"w": torch.zeros(1, dtype=torch.float64)}


def ours(losses: list[list[float]], window: int, temperature: float = 2.0) -> list[list[float]]:
    part = DynamicWeights(temperature, tasks=("a", "b", "c")[: len(losses[0])], window=window)
    memory, found = part.remember(PARAMS), []
    for step, row in enumerate(losses):
        weights, memory = part.weigh(torch.tensor(row, dtype=torch.float64), memory, Context(step, Rng(key(0))))
        found.append(weights.tolist())
    return found


def slow(losses: list[list[float]], window: int, temperature: float) -> list[list[float]]:
    """Equation 7, from the list of all losses."""
    found = []
    for step in range(len(losses)):
        epoch = step // window
        ratios = []
        for task in range(len(losses[0])):

            def mean(number: int, task: int = task) -> float:
                rows = losses[number * window : (number + 1) * window]
                return sum(row[task] for row in rows) / window

            ratios.append(mean(epoch - 1) / mean(epoch - 2) if epoch >= 2 else 1.0)
        powers = [math.exp(ratio / temperature) for ratio in ratios]
        found.append([len(powers) * power / sum(powers) for power in powers])
    return found


def recorded(rows: int = 23, tasks: int = 3) -> list[list[float]]:
    generator = torch.Generator().manual_seed(1)
    return (torch.rand(rows, tasks, generator=generator, dtype=torch.float64) + 0.1).tolist()


@pytest.mark.parametrize("window", [1, 4, 30])
@pytest.mark.parametrize("temperature", [0.2, 2.0, math.inf])
def test_it_is_the_slow_loop(window: int, temperature: float) -> None:
    expected = slow(recorded(), window, temperature)
    torch.testing.assert_close(torch.tensor(ours(recorded(), window, temperature)), torch.tensor(expected))


def test_weights_sum_to_the_number_of_tasks() -> None:
    assert [sum(row) for row in ours(recorded(), 3)] == pytest.approx([3.0] * 23)


def test_the_task_that_falls_more_slowly_counts_more() -> None:
    falling: Callable[[int], list[float]] = lambda step: [0.99**step, 0.8**step]  # noqa: E731
    fast, slowly = ours([falling(step) for step in range(6)], 1)[-1][::-1]
    assert slowly > 1 > fast


def test_a_units_scale_does_not_matter() -> None:
    scaled = [[1000 * a, b, c] for a, b, c in recorded()]
    torch.testing.assert_close(torch.tensor(ours(scaled, 2)), torch.tensor(ours(recorded(), 2)))


def test_a_task_without_labels_for_a_window_keeps_its_means() -> None:
    losses = [[4.0, 4.0], [2.0, 4.0], [0.0, 4.0], [0.0, 4.0], [1.0, 4.0], [1.0, 4.0]]
    found = ours(losses, 1)
    assert found[3] == found[2]
    assert found[5][0] == pytest.approx(found[2][0])  # 1 / 2, as 2 / 4 before


def test_a_mean_is_over_the_steps_that_have_a_label() -> None:
    losses = [[4.0, 1.0], [4.0, 1.0], [0.0, 1.0], [2.0, 1.0], [9.0, 1.0]]
    expected = 2 * math.exp(0.5 / 2) / (math.exp(0.5 / 2) + math.exp(1 / 2))
    assert ours(losses, 2)[4][0] == pytest.approx(expected)


def test_several_objectives_of_one_step_belong_to_one_window() -> None:
    part = DynamicWeights(2.0, tasks=("a",), window=1)
    memory = part.remember(PARAMS)
    for loss in (2.0, 4.0):
        _, memory = part.weigh(torch.tensor([loss], dtype=torch.float64), memory, Context(0, Rng(key(0))))
    _, memory = part.weigh(torch.tensor([9.0], dtype=torch.float64), memory, Context(1, Rng(key(0))))
    assert memory["last"].tolist() == [3.0]


@pytest.mark.parametrize("window", [0, -1, 1.5, True, "10"])
def test_a_window_that_is_no_number_of_steps_is_refused(window: object) -> None:
    with pytest.raises(ArgumentError, match=r"`DynamicWeights.window` must be an int >= 1; got .*\. Give the steps"):
        DynamicWeights(tasks=("a",), window=window)  # type: ignore[arg-type]
