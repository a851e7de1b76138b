"""Greedy soups against the algorithm written as a loop over lists, and on networks of a population."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from poise import ArgumentError, Recipe
from poise.average import greedy_soup
from poise.network import reestimate
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows


def states(values: list[list[float]]) -> list[dict[str, torch.Tensor]]:
    return [{"w": torch.tensor(v, dtype=torch.float64), "steps": torch.tensor(k)} for k, v in enumerate(values)]


def distance(goal: list[float]) -> Callable[[Any], float]:
    return lambda state: float((state["w"] - torch.tensor(goal, dtype=torch.float64)).square().sum())


@pytest.mark.parametrize("seed", range(6))
def test_it_is_the_papers_loop(seed: int) -> None:
    values = torch.randn(7, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()
    goal = [0.1, -0.2, 0.3]

    def score(point: list[float]) -> float:
        return sum((a - b) ** 2 for a, b in zip(point, goal, strict=True))

    def mean(places: list[int]) -> list[float]:
        return [sum(values[place][i] for place in places) / len(places) for i in range(3)]

    chosen: list[int] = []
    for place in sorted(range(7), key=lambda place: score(values[place])):
        if not chosen or score(mean([*chosen, place])) <= score(mean(chosen)):
            chosen.append(place)
    found = greedy_soup(states(values), distance(goal))
    assert found.chosen == tuple(chosen)
    assert found.model["w"].tolist() == pytest.approx(mean(chosen), rel=1e-12)
    assert found.score == pytest.approx(score(mean(chosen)), rel=1e-12)
    assert found.model["steps"] == chosen[0]  # a counter is not averaged


def test_a_tie_is_taken_in() -> None:
    assert greedy_soup(states([[1.0], [1.0], [5.0]]), distance([1.0])).chosen == (0, 1)


def test_one_network_is_returned_bit_for_bit() -> None:
    model = nn.Linear(2, 2)
    found = greedy_soup([model], lambda one: 1.0)
    assert torch.equal(found.model.weight, model.weight)
    assert found.model is not model


def test_networks_are_scored_in_evaluation_mode_and_left_alone() -> None:
    given = [nn.Linear(1, 1), nn.Linear(1, 1)]
    before = [one.weight.detach().clone() for one in given]
    modes: list[bool] = []
    found = greedy_soup(given, lambda one: modes.append(one.training) or 0.0)
    assert modes == [False] * 4  # each alone, the best again, and the pair
    assert not any(torch.equal(found.model.weight, one) for one in before)
    assert all(torch.equal(one.weight, b) for one, b in zip(given, before, strict=True))


def test_a_network_that_scores_nan_is_left_out() -> None:
    found = greedy_soup(states([[float("nan")], [2.0], [0.0]]), distance([1.0]))
    assert found.chosen == (1, 2)


def members() -> tuple[Population, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(120, 3, generator=generator) + 2
    y = torch.nn.functional.one_hot((x[:, 0] * x[:, 1] > 4).long(), 2).float()
    start = nn.Sequential(nn.Linear(3, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))

    def build() -> nn.Module:
        network = nn.Sequential(nn.Linear(3, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
        network.load_state_dict(start.state_dict())  # all begin at one place, or their mean means nothing
        return network

    population = Population(build, Recipe(), CrossEntropy(), lr=[0.003, 0.01, 0.03])
    population.train(Rows(x, y), steps=60, batch_size=24)
    return population, x, y


@pytest.mark.usefixtures("seeded")
def test_a_populations_members_make_a_soup_with_statistics_of_its_own() -> None:
    population, x, y = members()
    stack = population.stack()
    networks = [stack.network(place) for place in range(len(stack))]

    def score(network: nn.Module) -> float:
        with torch.no_grad():
            return float(nn.functional.cross_entropy(network(x), y))

    found = greedy_soup(networks, score, restate=partial(reestimate, batches=x.split(50)))
    assert found.score == pytest.approx(score(found.model))
    assert found.score <= min(map(score, networks)) + 0.02
    hidden = found.model[0](x).detach()
    torch.testing.assert_close(found.model[1].running_mean, hidden.mean(0), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.model[1].running_var, hidden.var(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("models", "settings", "message"),
    [
        ([], {}, "must hold at least one network"),
        ([{"w": torch.zeros(1)}, {"w": torch.zeros(2)}], {}, r"got 'w' as \(2,\) in model 1 and \(1,\) in model 0"),
        ([{"w": torch.zeros(1)}, {"v": torch.zeros(1)}], {}, r"got 'v' as \(1,\) in model 1 and None in model 0"),
        ([{"w": torch.zeros(1)}], {"restate": reestimate}, "must come with networks; got state dicts"),
        ([{"w": torch.tensor(float("nan"))}], {}, "must give one network a finite number; got none"),
    ],
)
def test_what_makes_no_soup_is_refused(models: list, settings: dict, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        greedy_soup(models, lambda state: float(state["w"].sum()), **settings)
