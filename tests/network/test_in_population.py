"""Parts at residual branches and shared ensembles in a population: a member is what it is alone."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from poise import BatchEnsemble, Dropout, DropPath, Recipe, ShakeDrop, ShakeShake
from poise.testing.residual_networks import residual_network
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows

RECIPES = [
    Recipe(DropPath(0.5), Dropout(0.2, where="residual branches")),
    Recipe(ShakeDrop(0.5), ShakeShake()),
    Recipe(BatchEnsemble(members=2)),
]


def trained(recipe: Recipe, members: list[int], rates: list[float]) -> dict[str, torch.Tensor]:
    own = torch.Generator().manual_seed(0)
    rows = Rows(torch.randn(24, 5, generator=own), torch.eye(3)[torch.arange(24) % 3])
    population = Population(
        partial(residual_network, 5, 3), recipe, CrossEntropy(), lr=rates, members=members, seed=3, classes=3
    )
    population.train(rows, steps=5, batch_size=8)
    return population.weights()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.parts[0].name)
def test_a_member_of_a_population_is_what_it_is_alone(recipe: Recipe) -> None:
    together = trained(recipe, [0, 1, 2], [0.01, 0.02, 0.03])
    alone = trained(recipe, [1], [0.02])
    for name, weights in together.items():
        torch.testing.assert_close(weights[1], alone[name][0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(*(next(iter(together.values()))[:2]))
